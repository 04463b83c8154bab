/* A request over backends/upstream, the one HTTP client this program has. Called by commands that
 * ask a running weir, or another server. */
#include "gateway/cli/fetch.h"

#include <event2/event.h>
#include "backends/upstream.h"
#include "policies/policy_url.h"

#define CONNECT_MS 5000
#define QUIET_MS   10000 /* between two bytes */
#define TOTAL_MS   30000

struct fetch {
    struct upstream_call call; /* first: callbacks get this pointer */
    const struct fetch_ask *ask;
    struct event_base *base;
    struct buf *body;
    int status;
    enum err err;
    struct err_text *t;
};

static void on_head(struct upstream_call *c, const struct http1_head *head)
{
    struct fetch *f = CONTAINER_OF(c, struct fetch, call);

    f->status = head->status;
    for (size_t i = 0; f->ask->on_header && i < head->header_count; i++)
        f->ask->on_header(f->ask->ctx, head->headers[i].name, head->headers[i].value);
}

static void on_data(struct upstream_call *c, struct slice data)
{
    struct fetch *f = CONTAINER_OF(c, struct fetch, call);

    if (f->err != ERR_OK)
        return;
    if (!f->ask->on_data || f->status != 200)
        f->err = buf_append_slice(f->body, data);
    else if (!f->ask->on_data(f->ask->ctx, data))
        f->err = ERR_CLIENT_GONE;
    if (f->err != ERR_OK) {
        err_say(f->t, "%s",
                f->err == ERR_CLIENT_GONE ? "given up half-way" : "the answer is too long");
        upstream_abort(c);
        event_base_loopbreak(f->base);
    }
}

static void on_done(struct upstream_call *c, const struct upstream_result *r)
{
    struct fetch *f = CONTAINER_OF(c, struct fetch, call);
    if (r->err == ERR_UPSTREAM_CONNECT) /* whoever it is: no model's server, mostly */
        err_say(f->t, "nobody answers there (%s)", r->why ? r->why : "no detail");
    else if (r->err != ERR_OK)
        err_say(f->t, "%s (%s)", err_text(r->err), r->why ? r->why : "no detail");
    if (f->err == ERR_OK)
        f->err = r->err;
    event_base_loopbreak(f->base);
}

static size_t write_headers(const struct fetch_ask *ask, struct http1_header *headers,
                            struct arena *a)
{
    size_t n = 0;

    headers[n++] = (struct http1_header){SLICE("Accept"),
                                         slice_str(ask->accept ? ask->accept : "application/json")};
    if (ask->content_type)
        headers[n++] = (struct http1_header){SLICE("Content-Type"), slice_str(ask->content_type)};
    if (ask->if_match)
        headers[n++] = (struct http1_header){SLICE("If-Match"), slice_str(ask->if_match)};
    if (ask->api_key)
        headers[n++] = (struct http1_header){SLICE("Authorization"),
                                             slice_str(arena_printf(a, "Bearer %s", ask->api_key))};
    return n;
}

static enum err run(struct fetch *f, const struct policy_endpoint *e, struct arena *a)
{
    static const struct upstream_handler handler = {on_head, on_data, on_done};
    const struct fetch_ask *ask = f->ask;
    const struct upstream_target target = {.backend = "server",
                                           .tls = e->tls,
                                           .host = e->host,
                                           .port = e->port,
                                           .authority = e->authority,
                                           .tls_verify = true};
    struct http1_header headers[4];
    bool patient = ask->total_ms != 0;
    const struct upstream_request request = {
        .target = &target,
        .method = slice_str(ask->method ? ask->method : "GET"),
        .path = slice_str(arena_printf(a, "%s%s", e->path, ask->path)),
        .headers = headers,
        .header_count = write_headers(ask, headers, a),
        .body = &ask->body,
        .body_count = ask->body.n > 0,
        .timeouts = {.connect_ms = CONNECT_MS,
                     .first_byte_ms = patient ? ask->total_ms : QUIET_MS,
                     .between_bytes_ms = patient ? ask->total_ms : QUIET_MS,
                     .total_ms = patient ? ask->total_ms : TOTAL_MS},
        .max_response_bytes = ask->on_data ? INT64_MAX : (int64_t)FETCH_BYTES,
    };
    struct stats *stats = stats_new();
    struct upstream *up = upstream_new(f->base, stats);
    upstream_start(up, &f->call, &handler, &request);
    event_base_dispatch(f->base);
    upstream_free(up);
    stats_free(stats);
    return f->err;
}

enum err fetch(const struct fetch_ask *ask, struct buf *body, int *status, struct err_text *t)
{
    struct arena a;
    arena_init(&a, 1024);
    struct policy_endpoint e;
    const char *hint = NULL, *wrong = url_endpoint(slice_str(ask->base_url), &a, &e, &hint);
    enum err err = ERR_BAD_REQUEST;
    struct fetch f = {.ask = ask, .body = body, .t = t, .base = event_base_new()};
    if (wrong || (ask->api_key && !http1_valid_value(slice_str(ask->api_key))))
        err_say(t, "'%s' %s%s%s", ask->base_url,
                wrong ? wrong : "cannot be asked: the key holds control characters",
                hint ? "; " : "", hint ? hint : "");
    else if (f.base)
        err = run(&f, &e, &a);
    *status = f.status;
    if (f.base)
        event_base_free(f.base);
    arena_clear(&a);
    return err;
}

enum err fetch_get(const char *base_url, const char *path, const char *api_key, struct buf *body,
                   int *status, struct err_text *t)
{
    return fetch(&(struct fetch_ask){.base_url = base_url, .path = path, .api_key = api_key}, body,
                 status, t);
}
