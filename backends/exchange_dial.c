/* A connection for an exchange: the name's addresses, one after the other, TLS. Called by
 * exchange.c and, for a pooled connection that proved closed, by exchange_receive.c. */
#include "backends/exchange_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"

#define DIAL_MIN_US (250 * 1000) /* one address gets at least this much of the connect timeout */

static void established(struct exchange *x)
{
    int64_t now_us = clock_mono_us();

    x->connect_us = now_us > x->dial_us ? now_us - x->dial_us : 1;
    free(x->dial);
    x->dial = NULL;
    if (x->pool->opened)
        stats_add(x->pool->opened, 1);
    exchange_send_begin(x, now_us);
}

void exchange_dial_tls(struct exchange *x)
{
    struct err_text why = {""};

    switch (tls_handshake(x->conn->tls, &why)) {
    case CONN_IO_DONE:
        established(x);
        break;
    case CONN_IO_WANT_READ:
        break;
    case CONN_IO_WANT_WRITE:
        conn_want_write(x->conn, true);
        break;
    case CONN_IO_END:
    case CONN_IO_BROKEN:
        exchange_fail_soon_text(x, ERR_UPSTREAM_TLS, &why);
        break;
    }
}

/* What is left of the connect timeout, shared evenly among the addresses that are left (RFC 8305
 * without the race). */
static int64_t dial_share_ms(const struct dial *d, int64_t now_us)
{
    int64_t left_us = d->due_us - now_us, share_us;

    if (d->due_us < 0)
        return -1;
    share_us = left_us / (d->addrs.count - d->next);
    if (share_us < DIAL_MIN_US)
        share_us = left_us < DIAL_MIN_US ? left_us : DIAL_MIN_US;
    return share_us > 0 ? (share_us + 999) / 1000 : 0;
}

void exchange_dial_next(struct exchange *x, int64_t now_us)
{
    struct dial *d = x->dial;

    while (d->next < d->addrs.count) {
        watch_phase(&x->watch, dial_share_ms(d, now_us), ERR_UPSTREAM_CONNECT_TIMEOUT, now_us);
        x->state = WAIT_CONNECT;
        x->conn = conn_open(x->h->up->base, &d->addrs.addr[d->next++], x->pool, &exchange_user, x);
        if (x->conn)
            return;
        d->error = errno;
    }
    exchange_fail_soon(x, ERR_UPSTREAM_CONNECT, strerrordesc_np(d->error));
}

void exchange_dial_connected(struct exchange *x)
{
    struct err_text why = {""};

    x->dial->error = conn_connected(x->conn);
    if (x->dial->error) {
        exchange_drop_conn(x);
        exchange_dial_next(x, clock_mono_us());
        return;
    }
    conn_want_read(x->conn, true);
    if (!x->pool->is_tls) {
        established(x);
        return;
    }
    x->state = WAIT_TLS;
    if (pool_start_tls(x->conn, &why) == ERR_OK)
        exchange_dial_tls(x);
    else
        exchange_fail_soon_text(x, ERR_UPSTREAM_TLS, &why);
}

static void on_addresses(void *ctx, const struct resolver_addrs *addrs)
{
    struct exchange *x = ctx;

    x->lookup = NULL;
    if (addrs->count == 0) {
        exchange_fail_soon(x, ERR_UPSTREAM_DNS, "the name does not resolve");
        return;
    }
    x->dial->addrs = *addrs;
    exchange_dial_next(x, clock_mono_us());
}

static void deliver_answers(evutil_socket_t fd, short what, void *arg)
{
    struct http1 *h = arg;

    (void)fd;
    (void)what;
    mailbox_drain(&h->answers, h);
}

static bool start_resolver(struct http1 *h)
{
    if (h->resolver)
        return true;
    if (mailbox_init(&h->answers) != 0)
        return false;
    h->answered = event_new(h->up->base, h->answers.fd, EV_READ | EV_PERSIST, deliver_answers, h);
    if (!h->answered || event_add(h->answered, NULL) != 0) {
        if (h->answered)
            event_free(h->answered);
        mailbox_clear(&h->answers);
        return false;
    }
    h->resolver = resolver_ref();
    return true;
}

static void resolve(struct exchange *x, int64_t now_us)
{
    struct http1 *h = x->h;
    struct resolver_addrs addrs;

    if (!start_resolver(h)) {
        exchange_fail_soon(x, ERR_UPSTREAM_DNS, "the resolver could not be started");
    } else if (resolver_ask(h->resolver, x->pool->host, x->pool->port, &h->answers, on_addresses, x,
                            &addrs, &x->lookup)) {
        if (addrs.count == 0) {
            exchange_fail_soon(x, ERR_UPSTREAM_DNS, "the name does not resolve");
            return;
        }
        x->dial->addrs = addrs;
        exchange_dial_next(x, now_us);
    } else if (!x->lookup) {
        exchange_fail_soon(x, ERR_UPSTREAM_DNS, "the resolver could not be started");
    }
}

void exchange_dial(struct exchange *x, int64_t now_us)
{
    int64_t connect_ms = x->req.timeouts.connect_ms;

    x->state = WAIT_ADDRESS;
    x->dial_us = now_us;
    x->dial = mem_zalloc(1, sizeof *x->dial);
    x->dial->due_us = connect_ms < 0 ? -1 : now_us + connect_ms * 1000;
    watch_phase(&x->watch, connect_ms, ERR_UPSTREAM_CONNECT_TIMEOUT, now_us);
    if (resolver_numeric(x->pool->host, x->pool->port, &x->dial->addrs))
        exchange_dial_next(x, now_us);
    else
        resolve(x, now_us);
}
