/* One worker's upstream: owns the transports' states and the deadlines, and sends each call to the
 * transport that its target needs. Runs on the worker's loop; called by the router. */
#include "backends/upstream.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include "backends/upstream_int.h"
#include "base/mem.h"

/* TLS libraries write with write(2): a connection that the peer has closed must be an error, not
 * the end of the process. */
static void ignore_sigpipe(void)
{
    struct sigaction now;

    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL) {
        now.sa_handler = SIG_IGN;
        sigaction(SIGPIPE, &now, NULL);
    }
}

void upstream_target_keep(struct upstream_target *t, struct arena *a)
{
    const char **strings[] = {&t->backend, &t->host, &t->authority, &t->proxy, &t->tls_ca_file};

    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        if (*strings[i])
            *strings[i] = arena_strdup(a, slice_str(*strings[i]));
    }
}

struct upstream *upstream_new(struct event_base *base, struct stats *stats)
{
    struct upstream *u = mem_zalloc(1, sizeof *u);

    ignore_sigpipe();
    u->base = base;
    u->stats = stats;
    if (stats)
        u->pauses = stats_cell(stats, STAT_UPSTREAM_PAUSES, NULL);
    if (!watch_list_init(&u->watches, base))
        goto fail;
    u->http1 = upstream_http1.open(u);
    if (!u->http1)
        goto fail;
    return u;
fail:
    watch_list_clear(&u->watches);
    free(u);
    return NULL;
}

void upstream_free(struct upstream *u)
{
    if (!u)
        return;
    upstream_http1.close(u->http1);
    if (u->curl)
        upstream_curl.close(u->curl);
    watch_list_clear(&u->watches);
    free(u);
}

static const struct upstream_transport *transport_for(struct upstream *u,
                                                      const struct upstream_target *t)
{
    bool needs_curl = t->proxy || t->http2 || (t->force_curl && !t->force_native);

    if (!needs_curl)
        return &upstream_http1;
    if (!u->curl)
        u->curl = upstream_curl.open(u);
    return &upstream_curl;
}

void upstream_start(struct upstream *u, struct upstream_call *c, const struct upstream_handler *h,
                    const struct upstream_request *req)
{
    assert(!c->exchange);
    *c = (struct upstream_call){
        .owner = c->owner, .handler = h, .up = u, .transport = transport_for(u, req->target)};
    c->transport->start(c->transport == &upstream_curl ? u->curl : u->http1, c, req);
}

void upstream_pause(struct upstream_call *c)
{
    if (!c->exchange || c->paused)
        return;
    c->paused = true;
    if (c->up->pauses)
        stats_add(c->up->pauses, 1);
    c->transport->pause(c);
}

void upstream_resume(struct upstream_call *c)
{
    if (!c->exchange || !c->paused)
        return;
    c->paused = false;
    c->transport->resume(c);
}

bool upstream_abort(struct upstream_call *c)
{
    return c->exchange && c->transport->abort(c);
}

bool upstream_active(const struct upstream_call *c)
{
    return c->exchange != NULL;
}

void upstream_close_idle(struct upstream *u)
{
    upstream_http1.close_idle(u->http1);
    if (u->curl)
        upstream_curl.close_idle(u->curl);
}

/* ---- what both transports ask of a request ---- */

static bool text_clean(struct slice s)
{
    return s.n == 0 ||
           (!memchr(s.p, '\n', s.n) && !memchr(s.p, '\r', s.n) && !memchr(s.p, '\0', s.n));
}

/* A method or target also ends at a blank. */
static bool word_clean(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
            return false;
    }
    return s.n > 0;
}

bool upstream_request_clean(const struct upstream_request *req)
{
    if (!word_clean(req->method) || !word_clean(req->path) ||
        !text_clean(slice_str(req->target->authority)))
        return false;
    for (size_t i = 0; i < req->header_count; i++) {
        if (!word_clean(req->headers[i].name) || !text_clean(req->headers[i].value))
            return false;
    }
    return true;
}

uint64_t upstream_body_bytes(const struct upstream_request *req)
{
    uint64_t n = 0;

    for (size_t i = 0; i < req->body_count; i++)
        n += req->body[i].n;
    return n;
}

bool upstream_method_has_body(struct slice method)
{
    return slice_eq(method, SLICE("POST")) || slice_eq(method, SLICE("PUT")) ||
           slice_eq(method, SLICE("PATCH"));
}
