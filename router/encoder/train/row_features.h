/* What heads see of many texts: the vectors of an encoder or of the static table, then the scalars
 * of features.h. Spread over threads, each with a session of its own. */
#ifndef ROUTER_ENCODER_TRAIN_ROW_FEATURES_H
#define ROUTER_ENCODER_TRAIN_ROW_FEATURES_H

#include "router/encoder/encoder.h"
#include "router/encoder/static_table.h"

/* Exactly one of the two is set; borrowed. */
struct feature_source {
    const struct encoder *encoder;
    const struct static_table *table;
};

size_t feature_source_width(const struct feature_source *s); /* floats per text */
struct fingerprint feature_source_space(const struct feature_source *s);
const char *feature_source_name(const struct feature_source *s);   /* "static" or the model's */
const char *feature_source_layout(const struct feature_source *s); /* FEATURES_LAYOUT... */

/* x[count][width]. progress (may be NULL) is called on the caller's thread now and then, the last
 * time with done == count. */
enum err row_features(const struct feature_source *s, const struct slice *texts, size_t count,
                      float *x, int threads, void (*progress)(void *ctx, size_t done),
                      void *progress_ctx, struct err_text *t) MUST_CHECK;

#endif
