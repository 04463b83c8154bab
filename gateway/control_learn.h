/* The learner for the serving policy: opened with the first one, and then there as long as the
 * process. What is learned lies where the cache lies: in the state directory, or in the Redis that
 * `cache.redis` names when `cache.store` is redis, so that replicas that share answers also learn
 * as one. Control thread. */
#ifndef GATEWAY_CONTROL_LEARN_H
#define GATEWAY_CONTROL_LEARN_H

#include "base/err.h"
#include "policies/policy.h"

struct learner;
struct ledger;

/* The file in which what is learned under that policy lies, the caller's to free; NULL: a Redis. */
char *control_learn_path(const struct policy *p);

/* ERR_OK also when it is open already. Errors with t. */
enum err control_learn_open(struct learner **l, const struct policy *p, struct ledger *ledger,
                            struct err_text *t) MUST_CHECK;

/* That policy's beliefs are built before it serves, else its requests would be decided without any:
 * waits for at most two seconds. Any thread. */
void control_learn_prepare(struct learner *l, struct policy *p);

#endif
