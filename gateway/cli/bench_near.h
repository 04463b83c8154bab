/* Labelled queries that weir bench remembers, as neighbours of those to come (router/neighbours.h):
 * of a cross-validation all rows of the other folds, of a stream what a gateway would know by then.
 * A row of the record stands for one question: asked again, it is not its own neighbour. */
#ifndef GATEWAY_CLI_BENCH_NEAR_H
#define GATEWAY_CLI_BENCH_NEAR_H

#include "gateway/cli/bench_learner.h"

/* What the set's queries mean; borrowed. */
struct bench_vectors {
    const float *of; /* [rows][dim], of length 1 or all zeros; NULL: nobody knows */
    int dim;
};

struct bench_near;
/* rows[count]: with the results of all arms, the first EXANTE_ROWS of them. */
struct bench_near *bench_near_of_rows(const struct bench_set *s, const struct bench_vectors *v,
                                      const struct beliefs *b, const size_t *rows, size_t count);
/* Of the answers that have a label by then the newest, those of one request together; each row
 * once. */
struct bench_near *bench_near_of_answers(const struct bench_learner *l,
                                         const struct bench_vectors *v, const struct beliefs *b,
                                         int64_t now_us);
void bench_near_free(struct bench_near *n); /* NULL is fine */

/* shift[arms]: log-odds by which neighbours move what is believed of the row's class, as far as
 * they are trusted; all 0 where n is NULL. */
void bench_near_shift(const struct bench_near *n, const struct beliefs *b, size_t row,
                      double *shift);

#endif
