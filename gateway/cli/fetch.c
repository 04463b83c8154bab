/* A GET over backends/upstream, the one HTTP client this program has. Called by cmd_models. */
#include "gateway/cli/fetch.h"

#include <event2/event.h>
#include "backends/upstream.h"
#include "policies/policy_url.h"

struct fetch {
    struct upstream_call call; /* first: callbacks get this pointer */
    struct event_base *base;
    struct buf *body;
    int status;
    enum err err;
    struct err_text *t;
};

static void on_head(struct upstream_call *c, const struct http1_head *head)
{
    CONTAINER_OF(c, struct fetch, call)->status = head->status;
}

static void on_data(struct upstream_call *c, struct slice data)
{
    struct fetch *f = CONTAINER_OF(c, struct fetch, call);
    if (f->err == ERR_OK)
        f->err = buf_append_slice(f->body, data);
}

static void on_done(struct upstream_call *c, const struct upstream_result *r)
{
    struct fetch *f = CONTAINER_OF(c, struct fetch, call);
    if (r->err != ERR_OK)
        err_say(f->t, "%s (%s)", err_text(r->err), r->why ? r->why : "no detail");
    if (f->err == ERR_OK)
        f->err = r->err;
    event_base_loopbreak(f->base);
}

static enum err run(struct fetch *f, const struct policy_endpoint *e, const char *path,
                    const char *api_key, struct arena *a)
{
    static const struct upstream_handler handler = {on_head, on_data, on_done};
    const struct upstream_target target = {.backend = "server",
                                           .tls = e->tls,
                                           .host = e->host,
                                           .port = e->port,
                                           .authority = e->authority,
                                           .tls_verify = true};
    struct http1_header headers[2] = {{SLICE("Accept"), SLICE("application/json")}};
    size_t n = 1;
    if (api_key)
        headers[n++] = (struct http1_header){SLICE("Authorization"),
                                             slice_str(arena_printf(a, "Bearer %s", api_key))};
    const struct upstream_request request = {
        .target = &target,
        .method = SLICE("GET"),
        .path = slice_str(arena_printf(a, "%s%s", e->path, path)),
        .headers = headers,
        .header_count = n,
        .timeouts = {.connect_ms = 5000,
                     .first_byte_ms = 10000,
                     .between_bytes_ms = 10000,
                     .total_ms = 30000},
        .max_response_bytes = (int64_t)FETCH_BYTES,
    };
    struct stats *stats = stats_new();
    struct upstream *up = upstream_new(f->base, stats);
    upstream_start(up, &f->call, &handler, &request);
    event_base_dispatch(f->base);
    upstream_free(up);
    stats_free(stats);
    return f->err;
}

enum err fetch_get(const char *base_url, const char *path, const char *api_key, struct buf *body,
                   int *status, struct err_text *t)
{
    struct arena a;
    arena_init(&a, 1024);
    struct policy_endpoint e;
    const char *hint = NULL, *wrong = url_endpoint(slice_str(base_url), &a, &e, &hint);
    enum err err = ERR_BAD_REQUEST;
    struct fetch f = {.body = body, .t = t, .base = event_base_new()};
    if (wrong || (api_key && !http1_valid_value(slice_str(api_key))))
        err_say(t, "'%s' %s%s%s", base_url,
                wrong ? wrong : "cannot be asked: the key holds control characters",
                hint ? "; " : "", hint ? hint : "");
    else if (f.base)
        err = run(&f, &e, path, api_key, &a);
    *status = f.status;
    if (f.base)
        event_base_free(f.base);
    arena_clear(&a);
    return err;
}
