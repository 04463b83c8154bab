/* The life of an exchange: begun, woken, driven by what its socket says, ended. Owns what a struct
 * exchange does. Called by upstream_http1.c, the loop and the other exchange_*.c. */
#include "backends/exchange_int.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"

void exchange_wake(struct exchange *x)
{
    if (list_empty(&x->ready))
        list_push_back(&x->h->ready, &x->ready);
    event_active(x->h->turn, EV_TIMEOUT, 0);
}

void exchange_drop_conn(struct exchange *x)
{
    if (x->conn)
        conn_free(x->conn);
    x->conn = NULL;
}

void exchange_detach(struct exchange *x)
{
    if (x->lookup)
        resolver_cancel(x->lookup);
    x->lookup = NULL;
    exchange_drop_conn(x);
    watch_stop(&x->watch);
    list_remove(&x->link);
    list_remove(&x->ready);
    if (x->pool)
        pool_put(x->pool);
    x->pool = NULL;
}

void exchange_free(struct exchange *x)
{
    buf_clear(&x->held);
    free(x->dial);
    free(x->why_text);
    free(x);
}

void exchange_finish(struct exchange *x, enum err err, const char *why)
{
    struct upstream_call *c = x->call;
    int64_t now_us = clock_mono_us();
    struct upstream_result r = {
        .err = err,
        .why = why ? why : "",
        .sent = x->sent_head,
        .connect_us = x->connect_us,
        .first_byte_us = x->first_byte_us,
        .total_us = now_us - x->start_us,
        .reused = x->reused,
        .resent = x->resent,
    };

    exchange_detach(x);
    c->exchange = NULL;
    c->handler->on_done(c, &r);
    exchange_free(x);
}

void exchange_fail_soon(struct exchange *x, enum err err, const char *why)
{
    if (x->failed == ERR_OK) {
        x->failed = err;
        x->why = why;
    }
    exchange_drop_conn(x);
    watch_stop(&x->watch);
    exchange_wake(x);
}

void exchange_fail_soon_text(struct exchange *x, enum err err, const struct err_text *why)
{
    free(x->why_text);
    x->why_text = mem_strdup(slice_str(why->s));
    exchange_fail_soon(x, err, x->why_text);
}

/* ---- the socket and the clock ---- */

static void readable(struct conn *c)
{
    struct exchange *x = c->user_ctx;

    if (x->state == WAIT_TLS) {
        exchange_dial_tls(x);
        return;
    }
    if (x->send_waits_read)
        exchange_send(x);
    exchange_receive(x);
}

static void writable(struct conn *c)
{
    struct exchange *x = c->user_ctx;

    if (x->state == WAIT_CONNECT) {
        exchange_dial_connected(x);
    } else if (x->state == WAIT_TLS) {
        exchange_dial_tls(x);
    } else {
        exchange_send(x);
        if (x->read_waits_write)
            exchange_receive(x);
    }
}

const struct conn_user exchange_user = {readable, writable};

static void expired(struct watch *w, enum err err)
{
    struct exchange *x = CONTAINER_OF(w, struct exchange, watch);

    if (err == ERR_UPSTREAM_CONNECT_TIMEOUT && x->dial && x->dial->next < x->dial->addrs.count) {
        exchange_drop_conn(x);
        watch_again(&x->h->up->watches, w);
        exchange_dial_next(x, clock_mono_us());
        return;
    }
    exchange_finish(x, err, err_text(err));
}

struct exchange *exchange_new(struct http1 *h, struct upstream_call *c,
                              const struct upstream_request *req)
{
    struct exchange *x =
        mem_alloc(sizeof *x); /* not zalloc: calloc goes past the allocator's thread cache */

    *x = (struct exchange){
        .h = h, .call = c, .req = *req, .first_byte_us = -1, .start_us = clock_mono_us()};
    list_init(&x->ready);
    list_push_back(&h->exchanges, &x->link);
    buf_init(&x->held, UPSTREAM_MAX_HEAD_BYTES + EXCHANGE_READ_BYTES);
    watch_start(&h->up->watches, &x->watch, expired, req->timeouts.total_ms, x->start_us);
    return x;
}

void exchange_run(struct exchange *x)
{
    if (x->failed != ERR_OK) {
        exchange_finish(x, x->failed, x->why);
    } else if (x->call->paused) {
        return;
    } else if (x->state == COMPLETE) {
        exchange_finish(x, ERR_OK, NULL);
    } else if (x->conn && x->state >= WAIT_HEAD) {
        conn_want_read(x->conn, true);
        exchange_receive_again(x);
    }
}
