/* The APIs that clients speak, OpenAI's and Anthropic's: paths, methods, auth, limits, CORS; hands
 * requests to the router and its replies to the HTTP server. threads: one per worker, on its
 * thread. */
#ifndef GATEWAY_API_CLIENT_H
#define GATEWAY_API_CLIENT_H

#include <stdatomic.h>
#include "gateway/access_log.h"
#include "gateway/api_feedback.h"
#include "gateway/http_server.h"
#include "router/request.h"

struct api_client { /* embedded in its worker */
    struct router_env *env;
    struct snapshot *snapshot; /* that new requests use; owned reference */
    struct access_log_writer log;
    struct api_feedback feedback;
    _Atomic int64_t *in_flight; /* of the process */
    bool draining;
};

void api_client_init(struct api_client *api, struct router_env *env, struct snapshot *s,
                     struct access_log *log, _Atomic int64_t *in_flight);
void api_client_clear(struct api_client *api); /* after every exchange has ended */
void api_client_set_snapshot(struct api_client *api,
                             struct snapshot *s); /* takes a reference of its own */
/* For http_server_options.handler (ctx: the struct api_client) and .error_body. */
extern const struct http_handler api_client_handler;
enum err api_client_error_body(void *ctx, const struct http_exchange *x,
                               const struct http_error *error, int *status, struct buf *out);

#endif
