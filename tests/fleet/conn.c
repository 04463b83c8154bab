/* See conn.h. Reading never stops, so that a peer that leaves is seen at once, also while a reply
 * is being played; a peer that closes its sending side only is taken to have left, as the clients
 * we serve never do that.
 *
 *   READ --(request complete)--> PLAY --(REPLY_KEEP)--> READ
 *                                  |--(REPLY_FIN, _RESET)--> closed
 *                                  `--(REPLY_HANG)--> HANG until the peer leaves
 *
 * conn_turn is the one door: socket events and the pause timer come through it. It may free the
 * connection. */
#include "tests/fleet/conn.h"

#include <stdlib.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/http1.h"
#include "base/mem.h"
#include "tests/fleet/exchange.h"
#include "tests/fleet/link.h"
#include "tests/fleet/text.h"

#define REQUEST_MAX_BYTES ((size_t)80 << 20)
#define HEAD_MAX_BYTES    65536
#define READ_BYTES        65536
#define AHEAD_MAX_BYTES   (1u << 20) /* of later requests while one is being answered */

enum conn_state { CONN_READ, CONN_PLAY, CONN_HANG };

struct conn {
    struct list link; /* in fleet.conns */
    struct fleet *fleet;
    struct fleet_port *port;
    struct link sock;
    struct event *readable, *writable, *timer; /* owned */
    enum conn_state state;
    struct buf in;  /* received, not yet used */
    size_t scanned; /* of in, for the head's end */
    bool head_seen; /* head_bytes and body below are valid */
    size_t head_bytes;
    enum http1_body body;
    uint64_t length;
    struct http1_chunked chunked;
    size_t chunk_pos;        /* offset in in of the first undecoded byte */
    struct buf decoded;      /* body of a chunked request */
    struct exchange *x;      /* owned while PLAY or HANG */
    size_t sent;             /* of the current step */
    bool paused, pause_over; /* the current step's pause */
};

static void conn_free(struct conn *c, bool peer_left, bool reset)
{
    if (c->x)
        exchange_end(c->x, peer_left);
    c->port->open--;
    list_remove(&c->link);
    event_free(c->readable);
    event_free(c->writable);
    event_free(c->timer);
    link_close(&c->sock, reset);
    buf_clear(&c->in);
    buf_clear(&c->decoded);
    free(c);
}

/* ---- reading ---- */

/* Everything there is. false: the peer left (or sent more than anyone should). */
static bool receive(struct conn *c)
{
    char *room;
    size_t cap, max = c->state == CONN_READ ? REQUEST_MAX_BYTES : AHEAD_MAX_BYTES;
    for (;;) {
        if (buf_len(&c->in) > max || buf_reserve(&c->in, READ_BYTES, &room, &cap) != ERR_OK)
            return false;
        ssize_t n = link_recv(&c->sock, room, cap);
        if (n == LINK_AGAIN)
            return true;
        if (n <= 0)
            return false;
        buf_commit(&c->in, (size_t)n);
    }
}

/* Bytes that belong to no exchange: interim and refused heads. They are few, so a full socket
 * buffer is not waited for. */
static void say(struct conn *c, struct slice s)
{
    ssize_t sent = link_send(&c->sock, s.p, s.n);
    (void)sent; /* a peer that is gone shows up as the next read */
}

static enum http1_parse read_head(struct conn *c, struct http1_head *head)
{
    enum err e;
    const char *why;
    enum http1_parse p = http1_parse_request(buf_slice(&c->in), &c->scanned, head, &e, &why);
    if (p == HTTP1_MORE && buf_len(&c->in) > HEAD_MAX_BYTES)
        p = HTTP1_BAD;
    if (p == HTTP1_BAD)
        say(c, SLICE("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    if (p != HTTP1_DONE)
        return p;
    c->head_seen = true;
    c->head_bytes = c->chunk_pos = head->head_bytes;
    c->body = head->body;
    c->length = head->content_length;
    http1_chunked_init(&c->chunked);
    if (head->expect_continue && buf_len(&c->in) == head->head_bytes)
        say(c, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
    return HTTP1_DONE;
}

static enum http1_parse read_chunked(struct conn *c)
{
    for (;;) {
        struct slice in = slice_from(buf_slice(&c->in), c->chunk_pos), data = {0};
        size_t used = 0;
        if (!in.n)
            return HTTP1_MORE;
        enum http1_parse p = http1_chunked_feed(&c->chunked, in, &used, &data);
        c->chunk_pos += used;
        if (data.n && buf_append_slice(&c->decoded, data) != ERR_OK)
            return HTTP1_BAD;
        if (p != HTTP1_MORE || !used)
            return p;
    }
}

/* The whole request, or MORE. On DONE *used bytes of in are its own and *body is the (decoded)
 * body. */
static enum http1_parse read_request(struct conn *c, struct slice *body, size_t *used)
{
    struct http1_head head;
    enum http1_parse p = c->head_seen ? HTTP1_DONE : read_head(c, &head);
    if (p != HTTP1_DONE)
        return p;
    *used = c->head_bytes;
    *body = SLICE("");
    switch (c->body) {
    case HTTP1_BODY_NONE:
    case HTTP1_BODY_UNTIL_CLOSE:
        return HTTP1_DONE;
    case HTTP1_BODY_LENGTH:
        if (c->length > REQUEST_MAX_BYTES)
            return HTTP1_BAD;
        if (buf_len(&c->in) - c->head_bytes < c->length)
            return HTTP1_MORE;
        *body = slice_make(buf_slice(&c->in).p + c->head_bytes, (size_t)c->length);
        *used += body->n;
        return HTTP1_DONE;
    case HTTP1_BODY_CHUNKED:
        p = read_chunked(c);
        *body = buf_slice(&c->decoded);
        *used = c->chunk_pos;
        return p;
    }
    return HTTP1_BAD;
}

/* Starts the exchange when a request is complete. The head is parsed again: its views died when the
 * buffer moved. */
static enum http1_parse next_request(struct conn *c)
{
    struct slice body;
    size_t used, from_start = 0;
    enum http1_parse p = read_request(c, &body, &used);
    if (p != HTTP1_DONE)
        return p;
    struct http1_head head;
    enum err e;
    const char *why;
    p = http1_parse_request(buf_slice(&c->in), &from_start, &head, &e, &why);
    if (p != HTTP1_DONE)
        return HTTP1_BAD;
    c->x = exchange_new(c->fleet, c->port, &head, body);
    c->state = CONN_PLAY;
    c->sent = 0;
    c->paused = c->pause_over = false;
    buf_consume(&c->in, used);
    buf_shrink(&c->in, READ_BYTES);
    buf_reset(&c->decoded);
    buf_shrink(&c->decoded, READ_BYTES);
    c->scanned = 0;
    c->head_seen = false;
    return HTTP1_DONE;
}

/* ---- playing ---- */

enum played { PLAYED_WAIT, PLAYED_ALL, PLAYED_BROKEN };

static void wait_us(struct conn *c, int64_t us)
{
    struct timeval tv = {us / 1000000, us % 1000000};
    event_add(c->timer, &tv);
    c->paused = true;
}

/* Sends the current step as far as the socket takes it. */
static enum played play_step(struct conn *c, const struct reply_step *s)
{
    while (c->sent < s->bytes.n) {
        size_t n = c->x->reply.byte_wise ? 1 : s->bytes.n - c->sent;
        ssize_t sent = link_send(&c->sock, s->bytes.p + c->sent, n);
        if (sent == LINK_AGAIN) {
            event_add(c->writable, NULL);
            return PLAYED_WAIT;
        }
        if (sent <= 0)
            return PLAYED_BROKEN;
        c->sent += (size_t)sent;
        if (c->x->reply.byte_wise) { /* one byte per turn of the loop: others get theirs between */
            event_active(c->writable, EV_WRITE, 0);
            return PLAYED_WAIT;
        }
    }
    return PLAYED_ALL;
}

static enum played play(struct conn *c)
{
    struct exchange *x = c->x;
    while (x->steps_done < x->reply.n) {
        const struct reply_step *s = &x->reply.steps[x->steps_done];
        if (s->pause_us > 0 && !c->pause_over) {
            if (!c->paused)
                wait_us(c, s->pause_us);
            return PLAYED_WAIT;
        }
        enum played p = play_step(c, s);
        if (p != PLAYED_ALL || c->sent < s->bytes.n)
            return p;
        x->steps_done++;
        c->sent = 0;
        c->pause_over = false;
    }
    return PLAYED_ALL;
}

/* The reply is out: what becomes of the connection. false: it is gone. */
static bool reply_done(struct conn *c)
{
    switch (c->x->reply.end) {
    case REPLY_KEEP:
        exchange_end(c->x, false);
        c->x = NULL;
        c->state = CONN_READ;
        return true;
    case REPLY_FIN:
        conn_free(c, false, false);
        return false;
    case REPLY_RESET:
        conn_free(c, false, true);
        return false;
    case REPLY_HANG:
        c->state = CONN_HANG;
        return true;
    }
    return true;
}

/* ---- the one door ---- */

static void conn_turn(struct conn *c)
{
    for (;;) {
        enum http1_parse p;
        enum played played;
        switch (c->state) {
        case CONN_READ:
            p = next_request(c);
            if (p == HTTP1_BAD)
                conn_free(c, true, false);
            if (p != HTTP1_DONE)
                return;
            break;
        case CONN_PLAY:
            played = play(c);
            if (played == PLAYED_BROKEN)
                conn_free(c, true, false);
            if (played != PLAYED_ALL || !reply_done(c))
                return;
            break;
        case CONN_HANG:
            return;
        }
    }
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct conn *c = ctx;
    (void)fd;
    (void)what;
    bool here = receive(c);
    if (here && c->state == CONN_READ) {
        conn_turn(c);
    } else if (!here) {
        /* A request whose sender left at once has still been received: it is counted, as aborted.
         */
        enum http1_parse p = c->state == CONN_READ ? next_request(c) : HTTP1_MORE;
        (void)p;
        conn_free(c, true, false);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    struct conn *c = ctx;
    (void)fd;
    (void)what;
    if (c->state == CONN_PLAY)
        conn_turn(c);
}

static void on_pause_over(evutil_socket_t fd, short what, void *ctx)
{
    struct conn *c = ctx;
    (void)fd;
    (void)what;
    c->paused = false;
    c->pause_over = true;
    conn_turn(c);
}

void conn_open(struct fleet *f, struct fleet_port *port, int fd)
{
    struct conn *c = mem_zalloc(1, sizeof *c);
    c->fleet = f;
    c->port = port;
    link_init(&c->sock, fd, f->tls);
    buf_init(&c->in, REQUEST_MAX_BYTES + 2 * READ_BYTES);
    buf_init(&c->decoded, REQUEST_MAX_BYTES);
    c->readable = event_new(f->loop, fd, EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(f->loop, fd, EV_WRITE, on_writable, c);
    c->timer = evtimer_new(f->loop, on_pause_over, c);
    list_push_back(&f->conns, &c->link);
    port->opened++;
    port->open++;
    event_add(c->readable, NULL);
}

void conn_close_all(struct fleet *f)
{
    LIST_FOREACH_SAFE (it, &f->conns)
        conn_free(CONTAINER_OF(it, struct conn, link), true, false);
}
