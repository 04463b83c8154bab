/* GET /admin/requests: what is in flight, with state names and ages; says which workers did not
 * answer within 1 s. Control thread. */
#ifndef GATEWAY_API_REQUESTS_H
#define GATEWAY_API_REQUESTS_H

#include "gateway/admin_route.h"

struct control;
struct api_requests;

struct api_requests *api_requests_new(struct control *c);
void api_requests_free(struct api_requests *a); /* NULL is fine */
extern const struct admin_route api_requests_routes[];

#endif
