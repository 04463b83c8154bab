/* Which vector space a vector lives in. Vectors of different fingerprints never meet: an index, a
 * cache entry and a trained head carry the fingerprint of the encoder that made them.
 *
 * Two strengths, for two kinds of user:
 *   space   weights, tokenizer, pooling, normalisation, prefix and maximum length. Trained heads
 * and class centroids are bound to it: they tolerate rounding. full    the space and the precision
 * class (fp32, int8, fp16, static). Stored vectors are bound to it: a similarity cut that was tuned
 * for one precision does not hold for another. Pure; plain values; any thread. */
#ifndef ROUTER_ENCODER_FINGERPRINT_H
#define ROUTER_ENCODER_FINGERPRINT_H

#include "base/digest.h"

enum encoder_precision {
    ENCODER_FP32,
    ENCODER_INT8,
    ENCODER_FP16,
    ENCODER_STATIC, /* the table of token vectors; no transformer */
    ENCODER_PRECISIONS,
};
const char *encoder_precision_name(enum encoder_precision p); /* "fp32", "int8" ... */

#define FINGERPRINT_BYTES      16
#define FINGERPRINT_TEXT_BYTES (2 * FINGERPRINT_BYTES + 1)

/* The first half of a SHA-256 over the parts, in their canonical text. */
struct fingerprint {
    uint8_t bytes[FINGERPRINT_BYTES];
};

struct fingerprint_parts {
    struct digest weights;   /* of the file that holds them */
    struct digest tokenizer; /* of the vocabulary and the options that change ids */
    const char *pooling;     /* "mean", "cls" */
    bool normalize;
    struct slice prefix; /* put before every text; "" none */
    int max_tokens;
};
struct fingerprint fingerprint_space(const struct fingerprint_parts *parts);
/* The space of the same model under a lower limit of tokens than the space was made with. */
struct fingerprint fingerprint_shortened(struct fingerprint space, int max_tokens);
struct fingerprint fingerprint_full(struct fingerprint space, enum encoder_precision precision);

bool fingerprint_eq(struct fingerprint a, struct fingerprint b);
void fingerprint_text(struct fingerprint f, char out[static FINGERPRINT_TEXT_BYTES]);
bool fingerprint_parse(struct slice hex, struct fingerprint *out);

#endif
