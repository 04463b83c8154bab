/* The usual transport: pooled HTTP/1.1 over plain TCP or TLS, one exchange at a time per
 * connection. Owns the exchanges under way, the pools, and one read buffer for all of them. Runs on
 * the worker's loop; called through upstream.c.
 *
 * An exchange's states are what it waits for:
 *
 *   ADDRESS -> CONNECT -> TLS -> HEAD -> BODY -> COMPLETE
 *                 ^______________|  once, when a pooled connection turns out to be closed (see
 * upstream.h)
 *
 * Sending goes on beside HEAD and BODY: a server may answer before it has read everything. Bytes
 * are delivered straight from the read buffer; only a split head and what a paused call has not
 * taken is kept (`held`).
 *
 * Life: callbacks run only from emit_head, emit_data and finish. An exchange aborted inside its
 * callback loses its call and its connection at once and is freed by feed's caller, never under it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/pool.h"
#include "backends/resolver.h"
#include "backends/upstream_int.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/decimal.h"
#include "base/mem.h"

#define READ_BYTES  (64 * 1024)
#define READ_ROUNDS 4  /* reads per readiness: a fast server must not keep the others waiting */
#define SEND_PIECES 32 /* per sendmsg */
#define DIAL_MIN_US (250 * 1000) /* one address gets at least this much of the connect timeout */
/* A pooled connection found closed within this time after its reuse was closing already; one that
 * dies later died of, or with, our request, and sending that again is the router's decision. */
#define STALE_WITHIN_US (1000 * 1000)

enum state { WAIT_ADDRESS, WAIT_CONNECT, WAIT_TLS, WAIT_HEAD, WAIT_BODY, COMPLETE };

struct http1 {
    struct upstream *up; /* borrowed: it owns us */
    struct pool_table pools;
    struct list exchanges;     /* all of them */
    struct list ready;         /* those with something to do on the next turn */
    struct event *turn;        /* owned: made active when ready is not empty */
    struct resolver *resolver; /* with its mailbox and event: from the first name on */
    struct mailbox answers;
    struct event *answered;
    struct http1_head head; /* of the answer being parsed; valid during on_head only */
    char *out;              /* owned: the request head being sent */
    size_t out_cap;
    char in[READ_BYTES];
};

struct dial { /* while an exchange has no connection yet */
    struct resolver_addrs addrs;
    int next;
    int error;      /* errno of the last address that failed */
    int64_t due_us; /* for all of them; -1: none */
};

struct exchange {
    struct list link, ready;
    struct watch watch;
    struct http1 *h;
    struct upstream_call *call; /* NULL: aborted inside its own callback */
    struct upstream_request req;
    struct pool *pool;
    struct conn *conn; /* owned; NULL before the connect and after the end */
    struct dial *dial; /* owned */
    struct resolver_lookup *lookup;
    enum state state;
    bool busy; /* inside a callback */
    bool reused, retried, sent_head;
    bool resent;                            /* the first copy had left in part or whole */
    bool send_broken;                       /* the server takes no more; it may still answer */
    bool send_waits_read, read_waits_write; /* TLS only */
    bool any_byte, keep_alive;
    enum err failed;
    const char *why; /* static, or why_text */
    char *why_text;  /* owned; or NULL */
    /* request: head and body are one run of bytes, of which sent_bytes have gone */
    uint64_t sent_bytes, body_bytes;
    uint64_t head_bytes; /* 0 until the head was built for the first time */
    /* answer */
    struct buf held;
    size_t scanned;
    int interim;
    enum http1_body body;
    uint64_t left, received;
    struct http1_chunked chunked;
    int64_t start_us, dial_us, begun_us, connect_us, first_byte_us;
};

static void dial(struct exchange *x, int64_t now_us);
static void pump_receive(struct exchange *x);

/* ---- life of an exchange ---- */

static void wake(struct exchange *x)
{
    if (list_empty(&x->ready))
        list_push_back(&x->h->ready, &x->ready);
    event_active(x->h->turn, EV_TIMEOUT, 0);
}

static void drop_conn(struct exchange *x)
{
    if (x->conn)
        conn_free(x->conn);
    x->conn = NULL;
}

/* Leaves every list and gives back what others could still call: after this only memory is left. */
static void detach(struct exchange *x)
{
    if (x->lookup)
        resolver_cancel(x->lookup);
    x->lookup = NULL;
    drop_conn(x);
    watch_stop(&x->watch);
    list_remove(&x->link);
    list_remove(&x->ready);
    if (x->pool)
        pool_put(x->pool);
    x->pool = NULL;
}

static void exchange_free(struct exchange *x)
{
    buf_clear(&x->held);
    free(x->dial);
    free(x->why_text);
    free(x);
}

/* The end, with on_done. Not from inside another callback. */
static void finish(struct exchange *x, enum err err, const char *why)
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

    detach(x);
    c->exchange = NULL;
    c->handler->on_done(c, &r);
    exchange_free(x);
}

/* The end on the next turn of the loop. The first reason counts. */
static void fail_soon(struct exchange *x, enum err err, const char *why)
{
    if (x->failed == ERR_OK) {
        x->failed = err;
        x->why = why;
    }
    drop_conn(x);
    watch_stop(&x->watch);
    wake(x);
}

static void fail_soon_text(struct exchange *x, enum err err, const struct err_text *why)
{
    free(x->why_text);
    x->why_text = mem_strdup(slice_str(why->s));
    fail_soon(x, err, x->why_text);
}

/* ---- sending ---- */

static char *put(char *at, struct slice s)
{
    memcpy(at, s.p, s.n);
    return at + s.n;
}

/* The request head in h->out. Built again for each write that it takes part in, so that nothing is
 * kept per exchange; the bytes are the same each time. */
static struct slice build_head(struct exchange *x)
{
    struct http1 *h = x->h;
    const struct upstream_request *q = &x->req;
    struct slice authority = slice_str(q->target->authority);
    size_t need = q->method.n + q->path.n + authority.n + 160; /* 160: the fixed texts below */
    char *at;

    for (size_t i = 0; i < q->header_count; i++)
        need += q->headers[i].name.n + q->headers[i].value.n + 4;
    if (need > h->out_cap) {
        h->out = mem_resize(h->out, need, 1);
        h->out_cap = need;
    }
    at = put(h->out, q->method);
    at = put(at, SLICE(" "));
    at = put(at, q->path);
    at = put(at, SLICE(" HTTP/1.1\r\nHost: "));
    at = put(at, authority);
    at = put(at, SLICE("\r\n"));
    for (size_t i = 0; i < q->header_count; i++) {
        at = put(at, q->headers[i].name);
        at = put(at, SLICE(": "));
        at = put(at, q->headers[i].value);
        at = put(at, SLICE("\r\n"));
    }
    if (q->body_count || upstream_method_has_body(q->method)) {
        at = put(at, SLICE("Content-Length: "));
        at += decimal_put(x->body_bytes, at);
        at = put(at, SLICE("\r\n"));
    }
    if (q->target->max_idle_connections <= 0)
        at = put(at, SLICE("Connection: close\r\n"));
    at = put(at, SLICE("Accept-Encoding: identity\r\n\r\n"));
    x->head_bytes = (uint64_t)(at - h->out);
    return slice_make(h->out, (size_t)x->head_bytes);
}

static bool all_sent(const struct exchange *x)
{
    return x->head_bytes && x->sent_bytes == x->head_bytes + x->body_bytes;
}

static int add_piece(struct iovec *iov, int n, struct slice s, uint64_t *skip, size_t *bytes)
{
    if (*skip >= s.n) {
        *skip -= s.n;
        return n;
    }
    /* iovec has no const; sendmsg and SSL_write only read. */
    const char *from = s.p + *skip;
    memcpy(&iov[n].iov_base, &from, sizeof from);
    iov[n].iov_len = s.n - (size_t)*skip;
    *bytes += iov[n].iov_len;
    *skip = 0;
    return n + 1;
}

/* Up to SEND_PIECES pieces from sent_bytes on. */
static int next_pieces(struct exchange *x, struct slice head, struct iovec *iov, size_t *bytes)
{
    uint64_t skip = x->sent_bytes;
    int n = 0;

    *bytes = 0;
    if (x->sent_bytes < x->head_bytes)
        n = add_piece(iov, n, head, &skip, bytes);
    else
        skip -= x->head_bytes;
    for (size_t i = 0; i < x->req.body_count && n < SEND_PIECES; i++)
        n = add_piece(iov, n, x->req.body[i], &skip, bytes);
    return n;
}

/* Sends what the socket takes. A failure is not the end: many servers answer (413, 429) and close
 * before they have read the whole body, and that answer is worth more than our EPIPE. Reading will
 * tell. */
static void pump_send(struct exchange *x)
{
    struct slice head = {0};
    struct iovec iov[SEND_PIECES];

    x->send_waits_read = false;
    if (x->sent_bytes < x->head_bytes || x->head_bytes == 0)
        head = build_head(x);
    while (!all_sent(x) && !x->send_broken) {
        size_t wanted, sent = 0;
        int n = next_pieces(x, head, iov, &wanted);

        switch (conn_writev(x->conn, iov, n, &sent)) {
        case CONN_IO_DONE:
            x->sent_bytes += sent;
            x->sent_head = x->sent_head || x->sent_bytes >= x->head_bytes;
            watch_touch(&x->watch);
            if (sent < wanted && !x->conn->tls) {
                conn_want_write(x->conn, true);
                return;
            }
            break;
        case CONN_IO_WANT_WRITE:
            conn_want_write(x->conn, true);
            return;
        case CONN_IO_WANT_READ:
            x->send_waits_read = true;
            return;
        case CONN_IO_END:
        case CONN_IO_BROKEN:
            x->send_broken = true;
            break;
        }
    }
}

static void begin_send(struct exchange *x, int64_t now_us)
{
    x->state = WAIT_HEAD;
    x->begun_us = now_us;
    x->sent_bytes = 0;
    watch_phase(&x->watch, x->req.timeouts.first_byte_ms, ERR_UPSTREAM_FIRST_BYTE_TIMEOUT, now_us);
    if (x->call->paused)
        watch_hold(&x->watch);
    pump_send(x);
}

/* ---- receiving ---- */

static void emit_head(struct exchange *x)
{
    x->busy = true;
    x->call->handler->on_head(x->call, &x->h->head);
    x->busy = false;
}

/* Counts before it delivers: what would exceed the limit is not delivered. */
static void emit_data(struct exchange *x, struct slice data)
{
    if (data.n == 0)
        return;
    x->received += data.n;
    if (x->received > (uint64_t)x->req.max_response_bytes) {
        fail_soon(x, ERR_UPSTREAM_TOO_LARGE, "the answer is larger than max_response_bytes");
        return;
    }
    x->busy = true;
    x->call->handler->on_data(x->call, data);
    x->busy = false;
}

static void begin_body(struct exchange *x)
{
    const struct http1_head *head = &x->h->head;

    x->body = head->body;
    x->keep_alive = head->keep_alive;
    x->left = head->body == HTTP1_BODY_LENGTH ? head->content_length : 0;
    http1_chunked_init(&x->chunked);
    x->state = WAIT_BODY;
    if (x->body == HTTP1_BODY_NONE || (x->body == HTTP1_BODY_LENGTH && x->left == 0))
        x->state = COMPLETE;
    emit_head(x);
}

/* 1xx: the answer is still to come, and so is its first byte. */
static void skip_interim(struct exchange *x)
{
    if (x->h->head.status == 101 || ++x->interim > UPSTREAM_MAX_INTERIM) {
        fail_soon(x, ERR_UPSTREAM_PROTOCOL,
                  x->h->head.status == 101 ? "101 without an upgrade" : "too many 1xx answers");
        return;
    }
    x->first_byte_us = -1;
    watch_phase(&x->watch, x->req.timeouts.first_byte_ms, ERR_UPSTREAM_FIRST_BYTE_TIMEOUT,
                clock_mono_us());
}

static void note_first_byte(struct exchange *x)
{
    int64_t now_us = clock_mono_us();

    x->any_byte = true;
    x->first_byte_us = now_us - x->start_us;
    watch_phase(&x->watch, x->req.timeouts.between_bytes_ms, ERR_UPSTREAM_IDLE_TIMEOUT, now_us);
}

/* Returns how many bytes of `in` were taken: all of the head or nothing. */
static size_t feed_head(struct exchange *x, struct slice in)
{
    const char *why = "malformed head";
    bool to_head = slice_eq(x->req.method, SLICE("HEAD"));

    if (x->first_byte_us < 0)
        note_first_byte(x);
    switch (http1_parse_response(in, &x->scanned, to_head, &x->h->head, &why)) {
    case HTTP1_MORE:
        if (in.n >= UPSTREAM_MAX_HEAD_BYTES)
            fail_soon(x, ERR_UPSTREAM_PROTOCOL, "the answer's head is larger than 64 KB");
        return 0;
    case HTTP1_BAD:
        fail_soon(x, ERR_UPSTREAM_PROTOCOL, why);
        return 0;
    case HTTP1_DONE:
        break;
    }
    size_t used = x->h->head.head_bytes; /* the callback may not see the record again, but we do */

    x->scanned = 0;
    if (used > UPSTREAM_MAX_HEAD_BYTES)
        fail_soon(x, ERR_UPSTREAM_PROTOCOL, "the answer's head is larger than 64 KB");
    else if (x->h->head.status < 200)
        skip_interim(x);
    else
        begin_body(x);
    return used;
}

static size_t feed_length(struct exchange *x, struct slice in)
{
    size_t n = in.n < x->left ? in.n : (size_t)x->left;

    x->left -= n;
    if (x->left == 0)
        x->state = COMPLETE;
    emit_data(x, slice_make(in.p, n));
    return n;
}

static size_t feed_chunked(struct exchange *x, struct slice in)
{
    struct slice data = {0};
    size_t n = 0;

    switch (http1_chunked_feed(&x->chunked, in, &n, &data)) {
    case HTTP1_DONE:
        x->state = COMPLETE;
        break;
    case HTTP1_BAD:
        fail_soon(x, ERR_UPSTREAM_PROTOCOL, "malformed chunk");
        return 0;
    case HTTP1_MORE:
        break;
    }
    emit_data(x, data);
    return n;
}

static size_t feed_body(struct exchange *x, struct slice in)
{
    switch (x->body) {
    case HTTP1_BODY_LENGTH:
        return feed_length(x, in);
    case HTTP1_BODY_CHUNKED:
        return feed_chunked(x, in);
    case HTTP1_BODY_NONE:
    case HTTP1_BODY_UNTIL_CLOSE:
        break;
    }
    emit_data(x, in);
    return in.n;
}

/* Takes what can be taken and returns how much. Stops at a pause, at the end, at a failure and
 * after an abort. */
static size_t feed(struct exchange *x, struct slice in)
{
    size_t used = 0;

    while (used < in.n && x->call && x->failed == ERR_OK && !x->call->paused &&
           x->state != COMPLETE) {
        struct slice rest = slice_from(in, used);
        size_t n = x->state == WAIT_HEAD ? feed_head(x, rest) : feed_body(x, rest);

        if (n == 0)
            break;
        used += n;
    }
    return used;
}

/* The connection's part is over: back into the pool if both sides are at the end of the exchange
 * and both want to stay. */
static void release_conn(struct exchange *x, bool bytes_left)
{
    bool good = x->keep_alive && !bytes_left && x->body != HTTP1_BODY_UNTIL_CLOSE &&
                !x->send_broken && all_sent(x) && x->req.target->max_idle_connections > 0;

    if (!good) {
        drop_conn(x);
        return;
    }
    conn_want_read(x->conn, true);
    pool_give(x->conn, x->req.target->max_idle_connections, clock_mono_us());
    x->conn = NULL;
}

static void complete(struct exchange *x, bool bytes_left)
{
    x->state = COMPLETE;
    watch_stop(&x->watch);
    release_conn(x, bytes_left);
    if (!x->call->paused) /* else resume says it */
        finish(x, ERR_OK, NULL);
}

/* Feeds new bytes (inside h->in), or those held when `in` is empty. False: do not go on reading
 * (the exchange may be gone). */
static bool take(struct exchange *x, struct slice in)
{
    bool from_held = buf_len(&x->held) > 0;
    size_t used;

    if (from_held && buf_append_slice(&x->held, in) != ERR_OK) {
        fail_soon(x, ERR_UPSTREAM_PROTOCOL, "the answer's head is larger than 64 KB");
        return false;
    }
    if (from_held)
        in = buf_slice(&x->held);
    used = feed(x, in);
    if (!x->call) {
        exchange_free(x);
        return false;
    }
    if (x->failed != ERR_OK)
        return false;
    if (x->state == COMPLETE) {
        complete(x, used < in.n || conn_has_more(x->conn));
        return false;
    }
    if (from_held)
        buf_consume(&x->held, used);
    else if (used < in.n && buf_append_slice(&x->held, slice_from(in, used)) != ERR_OK)
        fail_soon(x, ERR_UPSTREAM_PROTOCOL, "the answer's head is larger than 64 KB");
    if (buf_len(&x->held) == 0)
        buf_clear(&x->held);
    if (x->call->paused && x->conn)
        conn_want_read(x->conn, false);
    return x->failed == ERR_OK && !x->call->paused;
}

/* May a fresh connection be tried in place of this pooled one, which ended without a byte of an
 * answer? */
static bool was_stale(const struct exchange *x)
{
    bool in_time = !all_sent(x) || clock_mono_us() - x->begun_us < STALE_WITHIN_US;

    return x->reused && !x->retried && !x->any_byte && in_time;
}

static void on_end(struct exchange *x, bool orderly)
{
    if (x->state == WAIT_BODY && x->body == HTTP1_BODY_UNTIL_CLOSE && orderly) {
        complete(x, false);
    } else if (x->state == WAIT_BODY) {
        finish(x, ERR_UPSTREAM_CUT,
               orderly ? "closed before the end of the body" : "reset before the end of the body");
    } else if (was_stale(x)) {
        drop_conn(x);
        x->reused = false;
        x->retried = true;
        x->resent = x->sent_bytes > 0;
        x->send_broken = x->send_waits_read = x->read_waits_write = false;
        dial(x, clock_mono_us());
    } else {
        finish(x, ERR_UPSTREAM_RESET,
               x->any_byte ? "closed inside the answer's head" : "closed without an answer");
    }
}

static void pump_receive(struct exchange *x)
{
    struct http1 *h = x->h;

    x->read_waits_write = false;
    if (x->call->paused) {
        conn_want_read(x->conn, false);
        return;
    }
    for (int round = 0; round < READ_ROUNDS; round++) {
        size_t got = 0;
        enum conn_io io = conn_read(x->conn, h->in, sizeof h->in, &got);

        switch (io) {
        case CONN_IO_DONE:
            watch_touch(&x->watch);
            if (!take(x, slice_make(h->in, got)))
                return;
            break;
        case CONN_IO_WANT_READ:
            return;
        case CONN_IO_WANT_WRITE:
            x->read_waits_write = true;
            conn_want_write(x->conn, true);
            return;
        case CONN_IO_END:
        case CONN_IO_BROKEN:
            on_end(x, io == CONN_IO_END);
            return;
        }
        if (got < sizeof h->in && !conn_has_more(x->conn))
            return;
    }
    if (conn_has_more(x->conn)) /* inside OpenSSL, where the loop does not look */
        wake(x);
}

/* ---- connecting ---- */

static void established(struct exchange *x)
{
    int64_t now_us = clock_mono_us();

    x->connect_us = now_us > x->dial_us ? now_us - x->dial_us : 1;
    free(x->dial);
    x->dial = NULL;
    if (x->pool->opened)
        stats_add(x->pool->opened, 1);
    begin_send(x, now_us);
}

static void drive_tls(struct exchange *x)
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
        fail_soon_text(x, ERR_UPSTREAM_TLS, &why);
        break;
    }
}

static void readable(struct conn *c)
{
    struct exchange *x = c->user_ctx;

    if (x->state == WAIT_TLS) {
        drive_tls(x);
        return;
    }
    if (x->send_waits_read)
        pump_send(x);
    pump_receive(x);
}

static void dial_next(struct exchange *x, int64_t now_us);

static void on_connected(struct exchange *x)
{
    struct err_text why = {""};

    x->dial->error = conn_connected(x->conn);
    if (x->dial->error) {
        drop_conn(x);
        dial_next(x, clock_mono_us());
        return;
    }
    conn_want_read(x->conn, true);
    if (!x->pool->is_tls) {
        established(x);
        return;
    }
    x->state = WAIT_TLS;
    if (pool_start_tls(x->conn, &why) == ERR_OK)
        drive_tls(x);
    else
        fail_soon_text(x, ERR_UPSTREAM_TLS, &why);
}

static void writable(struct conn *c)
{
    struct exchange *x = c->user_ctx;

    if (x->state == WAIT_CONNECT) {
        on_connected(x);
    } else if (x->state == WAIT_TLS) {
        drive_tls(x);
    } else {
        pump_send(x);
        if (x->read_waits_write)
            pump_receive(x);
    }
}

static const struct conn_user exchange_user = {readable, writable};

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

static void dial_next(struct exchange *x, int64_t now_us)
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
    fail_soon(x, ERR_UPSTREAM_CONNECT, strerrordesc_np(d->error));
}

static void on_addresses(void *ctx, const struct resolver_addrs *addrs)
{
    struct exchange *x = ctx;

    x->lookup = NULL;
    if (addrs->count == 0) {
        fail_soon(x, ERR_UPSTREAM_DNS, "the name does not resolve");
        return;
    }
    x->dial->addrs = *addrs;
    dial_next(x, clock_mono_us());
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
        fail_soon(x, ERR_UPSTREAM_DNS, "the resolver could not be started");
    } else if (resolver_ask(h->resolver, x->pool->host, x->pool->port, &h->answers, on_addresses, x,
                            &addrs, &x->lookup)) {
        if (addrs.count == 0) {
            fail_soon(x, ERR_UPSTREAM_DNS, "the name does not resolve");
            return;
        }
        x->dial->addrs = addrs;
        dial_next(x, now_us);
    } else if (!x->lookup) {
        fail_soon(x, ERR_UPSTREAM_DNS, "the resolver could not be started");
    }
}

static void dial(struct exchange *x, int64_t now_us)
{
    int64_t connect_ms = x->req.timeouts.connect_ms;

    x->state = WAIT_ADDRESS;
    x->dial_us = now_us;
    x->dial = mem_zalloc(1, sizeof *x->dial);
    x->dial->due_us = connect_ms < 0 ? -1 : now_us + connect_ms * 1000;
    watch_phase(&x->watch, connect_ms, ERR_UPSTREAM_CONNECT_TIMEOUT, now_us);
    if (resolver_numeric(x->pool->host, x->pool->port, &x->dial->addrs))
        dial_next(x, now_us);
    else
        resolve(x, now_us);
}

static void expired(struct watch *w, enum err err)
{
    struct exchange *x = CONTAINER_OF(w, struct exchange, watch);

    if (err == ERR_UPSTREAM_CONNECT_TIMEOUT && x->dial && x->dial->next < x->dial->addrs.count) {
        drop_conn(x);
        watch_again(&x->h->up->watches, w);
        dial_next(x, clock_mono_us());
        return;
    }
    finish(x, err, err_text(err));
}

/* ---- the turn: failures found while starting, and resumed calls ---- */

static void run(struct exchange *x)
{
    if (x->failed != ERR_OK) {
        finish(x, x->failed, x->why);
    } else if (x->call->paused) {
        return;
    } else if (x->state == COMPLETE) {
        finish(x, ERR_OK, NULL);
    } else if (x->conn && x->state >= WAIT_HEAD) {
        conn_want_read(x->conn, true);
        if (buf_len(&x->held) == 0 || take(x, SLICE("")))
            pump_receive(x);
    }
}

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
        run(x);
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
    detach(x);
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

static struct exchange *exchange_new(struct http1 *h, struct upstream_call *c,
                                     const struct upstream_request *req)
{
    struct exchange *x =
        mem_alloc(sizeof *x); /* not zalloc: calloc goes past the allocator's thread cache */

    *x = (struct exchange){
        .h = h, .call = c, .req = *req, .first_byte_us = -1, .start_us = clock_mono_us()};
    list_init(&x->ready);
    list_push_back(&h->exchanges, &x->link);
    buf_init(&x->held, UPSTREAM_MAX_HEAD_BYTES + READ_BYTES);
    watch_start(&h->up->watches, &x->watch, expired, req->timeouts.total_ms, x->start_us);
    return x;
}

static void http1_start(void *state, struct upstream_call *c, const struct upstream_request *req)
{
    struct http1 *h = state;
    struct exchange *x = exchange_new(h, c, req);

    c->exchange = x;
    if (!upstream_request_clean(req)) {
        fail_soon(x, ERR_UPSTREAM_PROTOCOL, "the request's head holds a control character");
        return;
    }
    x->pool = pool_get(&h->pools, req->target);
    x->body_bytes = upstream_body_bytes(req);
    x->conn = pool_take(x->pool, &exchange_user, x);
    if (x->conn) {
        x->reused = true;
        begin_send(x, x->start_us);
    } else {
        dial(x, x->start_us);
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
    wake(x);
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
