/* /admin/policy...: what serves, what a text would change, changes, and the versions that served,
 * as the head of api_admin.h lists them. Control thread. */
#ifndef GATEWAY_API_POLICY_H
#define GATEWAY_API_POLICY_H

#include <jansson.h>
#include "gateway/admin_route.h"
#include "gateway/control.h"

extern const struct admin_route api_policy_routes[];
/* What serves, and whether the file says something else. */
json_t *api_policy_serving_json(const struct policy *p, const struct control_status *s);

#endif
