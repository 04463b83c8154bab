/* The usual transport: pooled HTTP/1.1 over plain TCP or TLS, one exchange at a time per
 * connection. Owns the exchanges under way (exchange_int.h), the pools, and one read buffer for all
 * of them. Runs on the worker's loop; called through upstream.c. */
#include "backends/exchange_int.h"

#include <stdlib.h>
#include "base/mem.h"

/* ---- the turn: failures found while starting, and resumed calls ---- */

static void turn(evutil_socket_t fd, short what, void *arg)
{
    struct http1 *h = arg;
    struct list now;

    (void)fd;
    (void)what;
    list_init(&now);
    while (!list_empty(&h->ready)) {
        struct list *first = h->ready.next;

        list_remove(first);
        list_push_back(&now, first);
    }
    while (!list_empty(&now)) { /* a callback may abort others on it */
        struct exchange *x = CONTAINER_OF(now.next, struct exchange, ready);

        list_remove(&x->ready);
        exchange_run(x);
    }
}

/* ---- the transport ---- */

static void *http1_open(struct upstream *u)
{
    struct http1 *h = mem_zalloc(1, sizeof *h);

    h->up = u;
    list_init(&h->exchanges);
    list_init(&h->ready);
    h->turn = event_new(u->base, -1, 0, turn, h);
    if (h->turn && pool_table_init(&h->pools, u->base, u->stats))
        return h;
    if (h->turn)
        event_free(h->turn);
    free(h);
    return NULL;
}

static bool http1_abort(struct upstream_call *c)
{
    struct exchange *x = c->exchange;
    bool sent = x->sent_head;

    c->exchange = NULL;
    x->call = NULL;
    exchange_detach(x);
    if (!x->busy)
        exchange_free(x);
    return sent;
}

static void http1_close(void *state)
{
    struct http1 *h = state;

    while (!list_empty(&h->exchanges))
        http1_abort(CONTAINER_OF(h->exchanges.next, struct exchange, link)->call);
    pool_table_clear(&h->pools);
    if (h->resolver) {
        resolver_forget(h->resolver, &h->answers);
        resolver_unref(h->resolver);
        event_free(h->answered);
        mailbox_clear(&h->answers);
    }
    event_free(h->turn);
    free(h->out);
    free(h);
}

static void http1_start(void *state, struct upstream_call *c, const struct upstream_request *req)
{
    struct http1 *h = state;
    struct exchange *x = exchange_new(h, c, req);

    c->exchange = x;
    if (!upstream_request_clean(req)) {
        exchange_fail_soon(x, ERR_UPSTREAM_PROTOCOL,
                           "the request's head holds a control character");
        return;
    }
    x->pool = pool_get(&h->pools, req->target);
    x->body_bytes = upstream_body_bytes(req);
    x->conn = pool_take(x->pool, &exchange_user, x);
    if (x->conn) {
        x->reused = true;
        exchange_send_begin(x, x->start_us);
    } else {
        exchange_dial(x, x->start_us);
    }
}

static void http1_pause(struct upstream_call *c)
{
    struct exchange *x = c->exchange;

    if (x->state < WAIT_HEAD)
        return;
    watch_hold(&x->watch);
    if (x->conn)
        conn_want_read(x->conn, false);
}

static void http1_resume(struct upstream_call *c)
{
    struct exchange *x = c->exchange;

    watch_release(&x->watch);
    exchange_wake(x);
}

static void http1_close_idle(void *state)
{
    struct http1 *h = state;

    pool_table_close_idle(&h->pools);
}

const struct upstream_transport upstream_http1 = {
    .name = "http1",
    .open = http1_open,
    .close = http1_close,
    .start = http1_start,
    .pause = http1_pause,
    .resume = http1_resume,
    .abort = http1_abort,
    .close_idle = http1_close_idle,
};
