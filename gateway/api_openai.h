/* The OpenAI API as clients see it: paths, methods, auth, limits, CORS; hands requests to the
 * router and its replies to the HTTP server. threads: one per worker, on its thread. */
#ifndef GATEWAY_API_OPENAI_H
#define GATEWAY_API_OPENAI_H

#include <stdatomic.h>
#include "gateway/access_log.h"
#include "gateway/http_server.h"
#include "router/request.h"

struct api_openai { /* embedded in its worker */
    struct router_env *env;
    struct snapshot *snapshot; /* that new requests use; owned reference */
    struct access_log_writer log;
    _Atomic int64_t *in_flight; /* of the process */
    bool draining;
};

void api_openai_init(struct api_openai *api, struct router_env *env, struct snapshot *s,
                     struct access_log *log, _Atomic int64_t *in_flight);
void api_openai_clear(struct api_openai *api); /* after every exchange has ended */
void api_openai_set_snapshot(struct api_openai *api,
                             struct snapshot *s); /* takes a reference of its own */
/* For http_server_options.handler (ctx: the struct api_openai) and .error_body. */
extern const struct http_handler api_openai_handler;
enum err api_openai_error_body(enum err e, const char *message, const char *param, struct buf *out);

#endif
