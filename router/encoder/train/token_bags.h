/* Texts as bags of tokens, and the vectors of tokens that explain the vectors of texts best. The
 * mean of a text's token vectors is a linear map (a sparse matrix A, a row per text with 1/length
 * at each of its tokens), so that fitting the tokens' vectors E to the texts' vectors Y is ridge
 * regression towards where E begins:
 *
 *     minimise |A E - Y|^2 + ridge |E - E0|^2
 *
 * solved by conjugate gradients on the normal equations (Hestenes & Stiefel 1952), each column on
 * its own, columns spread over threads; tokens that no text has stay where they were. */
#ifndef ROUTER_ENCODER_TRAIN_TOKEN_BAGS_H
#define ROUTER_ENCODER_TRAIN_TOKEN_BAGS_H

#include <stddef.h>
#include <stdint.h>

struct token_bags {
    int32_t *ids;   /* owned: of all texts, end to end */
    size_t *starts; /* owned: [count + 1] */
    size_t count, ids_cap, starts_cap;
};

void token_bags_init(struct token_bags *b);
void token_bags_clear(struct token_bags *b);
void token_bags_add(struct token_bags *b, const int32_t *ids, size_t n); /* n may be 0 */

/* out[dim] = the mean of the bag's vectors out of table[tokens][dim]; zero for an empty bag. */
void token_bags_mean(const struct token_bags *b, size_t bag, const float *table, size_t dim,
                     float *out);

struct token_fit {
    const struct token_bags *bags;
    const float *target; /* [bags->count][dim] */
    float *table;        /* [tokens][dim]: E0, replaced by E */
    size_t tokens, dim;
    double ridge;
    int iterations, threads;
    void (*tick)(void *ctx, size_t done, size_t total); /* on the caller's thread */
    void *tick_ctx;
};
void token_bags_fit(const struct token_fit *f);

#endif
