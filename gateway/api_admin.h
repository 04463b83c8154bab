/* The admin API: health, metrics, requests in flight, the policy and its versions, the fleet's
 * health. JSON unless said.
 *
 *   GET  /healthz                         "ok" while the control loop turns
 *   GET  /readyz                          200 or 503, with the reasons
 *   GET  /metrics                         Prometheus text format 0.0.4
 *   GET  /admin/requests                  see api_requests.h
 *   GET  /admin/backends                  see api_backends.h
 *   GET  /admin/encoder                   likewise
 *   GET  /admin/policy                    the serving YAML, ETag "version"; a summary with
 *                                         Accept: application/json
 *   PUT  /admin/policy                    If-Match needed: writes the policy file, then loads it
 *   POST /admin/policy/validate           YAML -> valid or not, diagnostics, what would change
 *   GET  /admin/policy/versions           those that served
 *   GET  /admin/policy/versions/{serial}  one as YAML
 *   POST /admin/policy/rollback           {"serial": N}, If-Match needed: as PUT with that text
 *        /admin/cache...                  see api_cache.h
 *   GET  /admin/beliefs                   see api_beliefs.h
 *
 * HEAD works like GET. Every change needs If-Match, which a browser does not send across origins
 * without asking first, and no CORS header is ever given. With tenants all but /healthz and /readyz
 * need an admin tenant's key; without tenants the Host header must be a loopback name, so that no
 * rebound DNS name gets in. threads: control. */
#ifndef GATEWAY_API_ADMIN_H
#define GATEWAY_API_ADMIN_H

#include "gateway/http_server.h"
struct control;
struct api_admin;
struct api_cache;
struct api_requests;
struct http_handler;

struct api_admin *api_admin_new(struct control *c);
struct api_cache *api_admin_cache(const struct api_admin *a);
struct api_requests *api_admin_requests(const struct api_admin *a);
struct control *api_admin_control(const struct api_admin *a);
void api_admin_free(struct api_admin *a); /* after the server whose handler it was; NULL allowed */
const struct http_handler *api_admin_handler(void); /* ctx is the struct api_admin */
/* For http_server_options.error_body: OpenAI's shape. */
enum err api_admin_error_body(void *ctx, const struct http_exchange *x,
                              const struct http_error *error, int *status, struct buf *out);

#endif
