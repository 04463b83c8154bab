/* What classifies and embeds for the serving policy: opens the encoder that a policy asks for,
 * builds its classifier, and keeps both over reloads that do not change them. Control thread. */
#ifndef GATEWAY_CONTROL_ENCODER_H
#define GATEWAY_CONTROL_ENCODER_H

#include "base/stats.h"
#include "policies/policy_load.h"
#include "router/classifier.h"
#include "router/embedder.h"

struct control_encoder {         /* embedded in struct control */
    struct embedder **embedders; /* owned: the current one and those that snapshots still hold */
    size_t embedder_count;
    struct classifier *classifier; /* owned reference: the current one */
};

/* What a policy needs; NULL where it needs none. */
struct control_built {
    struct classifier *classifier; /* a reference for the caller */
    struct embedder *embedder;     /* borrowed until the sweep */
};

/* ERR_OK also when the policy needs nothing. An encoder that is open already and a classifier that
 * would come out the same are taken again; opening takes about a tenth of a second, and each
 * example a few milliseconds. Errors with t, naming the file. */
enum err control_encoder_build(struct control_encoder *ce, const struct policy *p,
                               struct control_built *out, struct err_text *t) MUST_CHECK;
/* Would building for p come out the same as what is current? */
bool control_encoder_same(const struct control_encoder *ce, const struct policy *p);
/* b serves from here on (its classifier is remembered); encoders that nobody holds any more end. */
void control_encoder_use(struct control_encoder *ce, const struct control_built *b);
/* Ends what nobody holds but `current` (may be NULL). true: some are still held. */
bool control_encoder_sweep(struct control_encoder *ce, const struct embedder *current);
void control_encoder_clear(struct control_encoder *ce); /* the snapshots are gone */

/* The encoder's counters, into a table of one answer. e may be NULL. */
void control_encoder_gauges(struct embedder *e, struct stats *s);

#endif
