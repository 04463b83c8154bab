/* Beliefs (router/decide/beliefs.h) as JSON: of every model on every route and class, what one more
 * success is worth there and why. For the admin API and weir explain. Pure. */
#ifndef GATEWAY_BELIEFS_JSON_H
#define GATEWAY_BELIEFS_JSON_H

#include <jansson.h>
#include <stdbool.h>

struct beliefs;
struct neighbours;

/* {"learning", "version", "contexts"}: the caller's. b NULL: there are none yet. n
 * (router/neighbours.h) NULL: likewise, or nobody knows of them. */
json_t *beliefs_json(const struct beliefs *b, const struct neighbours *n, bool learning);

#endif
