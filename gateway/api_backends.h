/* GET /admin/backends: endpoints with load and health, the servers that weir starts. GET
 * /admin/encoder: the transformer and what queries are told apart by. Control thread. */
#ifndef GATEWAY_API_BACKENDS_H
#define GATEWAY_API_BACKENDS_H

#include "gateway/admin_route.h"

extern const struct admin_route api_backends_routes[];

#endif
