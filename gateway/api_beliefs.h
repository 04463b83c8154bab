/* GET /admin/beliefs: what is believed of every model on every route and class, what one more
 * success is worth there and why, as gateway/ADMIN_BELIEFS.md describes it. Control thread. */
#ifndef GATEWAY_API_BELIEFS_H
#define GATEWAY_API_BELIEFS_H

#include "gateway/admin_route.h"

extern const struct admin_route api_beliefs_routes[];

#endif
