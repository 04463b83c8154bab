/* The same work on all cores: fn runs once per part, on a thread of its own, the last part on the
 * caller's. Returns when all are done. */
#ifndef ROUTER_ENCODER_TRAIN_PARALLEL_H
#define ROUTER_ENCODER_TRAIN_PARALLEL_H

typedef void (*parallel_fn)(void *ctx, int part, int parts);

int parallel_cores(void); /* those this process may use, 1..PARALLEL_MAX */
#define PARALLEL_MAX 64
void parallel_run(parallel_fn fn, void *ctx, int parts); /* 1..PARALLEL_MAX */

#endif
