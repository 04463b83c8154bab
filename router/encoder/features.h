/* What a head sees of a query: the encoder's vectors, then a few scalars that no small encoder
 * holds well. Pure; any thread. Order and scaling are part of a head's file (its `features`
 * metadata names this layout), so a change here is a new layout name. */
#ifndef ROUTER_ENCODER_FEATURES_H
#define ROUTER_ENCODER_FEATURES_H

#include "base/slice.h"

#define FEATURES_SCALARS       6
#define FEATURES_LAYOUT        "mean+cls+6" /* of a transformer: [mean; CLS; scalars] */
#define FEATURES_LAYOUT_STATIC "static+6"   /* of the static table: [vector; scalars] */

/* out[FEATURES_SCALARS]: log length in bytes, fractions of digits, of code punctuation, of
 * non-ASCII, of line breaks, and of question marks; each scaled to about 0..1. */
void features_scalars(struct slice text, float *out);

#endif
