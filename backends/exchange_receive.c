/* The answer of an exchange: read, framed, delivered; the end of the connection's part in it.
 * Called by exchange.c. */
#include "backends/exchange_int.h"

#include "base/clock.h"

#define READ_ROUNDS 4 /* reads per readiness: a fast server must not keep the others waiting */
/* A pooled connection found closed within this time after its reuse was closing already; one that
 * dies later died of, or with, our request, and sending that again is the router's decision. */
#define STALE_WITHIN_US (1000 * 1000)

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
        exchange_fail_soon(x, ERR_UPSTREAM_TOO_LARGE,
                           "the answer is larger than max_response_bytes");
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
        exchange_fail_soon(x, ERR_UPSTREAM_PROTOCOL,
                           x->h->head.status == 101 ? "101 without an upgrade"
                                                    : "too many 1xx answers");
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
            exchange_fail_soon(x, ERR_UPSTREAM_PROTOCOL, "the answer's head is larger than 64 KB");
        return 0;
    case HTTP1_BAD:
        exchange_fail_soon(x, ERR_UPSTREAM_PROTOCOL, why);
        return 0;
    case HTTP1_DONE:
        break;
    }
    size_t used = x->h->head.head_bytes; /* the callback may not see the record again, but we do */

    x->scanned = 0;
    if (used > UPSTREAM_MAX_HEAD_BYTES)
        exchange_fail_soon(x, ERR_UPSTREAM_PROTOCOL, "the answer's head is larger than 64 KB");
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
        exchange_fail_soon(x, ERR_UPSTREAM_PROTOCOL, "malformed chunk");
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
                !x->send_broken && exchange_sent(x) && x->req.target->max_idle_connections > 0;

    if (!good) {
        exchange_drop_conn(x);
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
        exchange_finish(x, ERR_OK, NULL);
}

/* Feeds new bytes (inside h->in), or those held when `in` is empty. False: do not go on reading
 * (the exchange may be gone). */
static bool take(struct exchange *x, struct slice in)
{
    bool from_held = buf_len(&x->held) > 0;
    size_t used;

    if (from_held && buf_append_slice(&x->held, in) != ERR_OK) {
        exchange_fail_soon(x, ERR_UPSTREAM_PROTOCOL, "the answer's head is larger than 64 KB");
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
        exchange_fail_soon(x, ERR_UPSTREAM_PROTOCOL, "the answer's head is larger than 64 KB");
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
    bool in_time = !exchange_sent(x) || clock_mono_us() - x->begun_us < STALE_WITHIN_US;

    return x->reused && !x->retried && !x->any_byte && in_time;
}

static void on_end(struct exchange *x, bool orderly)
{
    if (x->state == WAIT_BODY && x->body == HTTP1_BODY_UNTIL_CLOSE && orderly) {
        complete(x, false);
    } else if (x->state == WAIT_BODY) {
        exchange_finish(x, ERR_UPSTREAM_CUT,
                        orderly ? "closed before the end of the body"
                                : "reset before the end of the body");
    } else if (was_stale(x)) {
        exchange_drop_conn(x);
        x->reused = false;
        x->retried = true;
        x->resent = x->sent_bytes > 0;
        x->send_broken = x->send_waits_read = x->read_waits_write = false;
        exchange_dial(x, clock_mono_us());
    } else {
        exchange_finish(x, ERR_UPSTREAM_RESET,
                        x->any_byte ? "closed inside the answer's head"
                                    : "closed without an answer");
    }
}

void exchange_receive(struct exchange *x)
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
        exchange_wake(x);
}

void exchange_receive_again(struct exchange *x)
{
    if (buf_len(&x->held) == 0 || take(x, SLICE("")))
        exchange_receive(x);
}
