/* One client connection and the exchange on it: reading, framing, the hand-over to the handler, the
 * end. Owns the socket's read side. Thread: the server's loop. Called by libevent, by http_server.c
 * (deadlines, deferred work) and, through the accessors, by handlers.
 *
 * Reads go into the server's scratch buffer; a request that arrives whole is parsed there and
 * copied once, head and body together, into the exchange's arena. Only what must wait is kept in
 * c->in. EV_READ stays added for the life of the connection, so that a request costs no epoll_ctl
 * and a client that leaves is noticed while the handler works. */
#include "gateway/http_server_int.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "gateway/http_target.h"

#define ARENA_FIRST_BYTES 3072 /* a usual request's copy and the handler's own records */
#define INLINE_BODY_MAX   ((size_t)16 << 10)  /* larger bodies get storage of their own size */
#define BODY_READ_BYTES   ((size_t)256 << 10) /* per turn: an upload must not hold up others */
#define LINGER_MAX_BYTES  ((size_t)64 << 20)
#define LINGER_MAX_US     INT64_C(10000000)

static const struct http1_head no_head = {.method = {"", 0}, .target = {"", 0}};

/* ---- state ---- */

static bool is_active(enum http_conn_state state)
{
    return state == CONN_HEAD || state == CONN_BODY || state == CONN_SERVING ||
           state == CONN_FLUSHING;
}

void http_conn_set_state(struct http_conn *c, enum http_conn_state state)
{
    c->server->active_count += (size_t)is_active(state) - (size_t)is_active(c->state);
    c->state = state;
}

void http_conn_lose(struct http_conn *c, const char *reason)
{
    if (!c->dropped)
        c->dropped = reason;
    if (!c->in_callback)
        http_server_defer(c);
}

static void exchange_init(struct http_exchange *x)
{
    *x = (struct http_exchange){
        .head = &no_head, .path = {"", 0}, .query = {"", 0}, .body = {"", 0}, .retry_after_ms = -1};
    arena_init(&x->arena, ARENA_FIRST_BYTES);
}

/* reason NULL: the reply went out whole. */
static void exchange_end(struct http_conn *c, const char *reason)
{
    const struct http_server_options *opt = &c->server->opt;
    struct http_exchange *x = &c->x;
    if (reason)
        http_server_count_drop(c->server, reason);
    if (opt->handler->on_finished)
        opt->handler->on_finished(opt->ctx, x,
                                  x->status ? x->status : err_http_status(ERR_CLIENT_GONE),
                                  x->sent_bytes, reason);
    buf_clear(&x->body_buf);
    arena_clear(&x->arena);
}

/* ---- watching the socket ---- */

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);

/* While paused the unread bytes must not wake the loop for ever: edge-triggered, and EV_CLOSED for
 * the FIN (EPOLLRDHUP). EV_CLOSED alone would not do: libevent reports a reset as EV_READ|EV_WRITE,
 * an event without these is never told and the loop spins on EPOLLERR. libevent wants both events
 * of a socket to be of one kind. */
static void watch(struct http_conn *c, bool paused)
{
    struct event_base *base = c->server->opt.base;
    short edge = paused ? EV_ET : 0, closed = paused ? EV_CLOSED : 0;
    if (c->paused != paused) {
        event_del(&c->read_ev);
        event_del(&c->write_ev);
    }
    c->paused = paused;
    event_assign(&c->read_ev, base, c->fd, (short)(EV_READ | EV_PERSIST | edge | closed),
                 on_readable, c);
    event_assign(&c->write_ev, base, c->fd, (short)(EV_WRITE | EV_PERSIST | edge), on_writable, c);
    event_add(&c->read_ev, NULL);
    if (c->blocked)
        event_add(&c->write_ev, NULL);
}

static void format_peer(const struct sockaddr_storage *ss, char *out)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)(const void *)ss;
        inet_ntop(AF_INET6, &a->sin6_addr, host, sizeof host);
        snprintf(out, HTTP_PEER_BYTES, "[%s]:%u", host, (unsigned)ntohs(a->sin6_port));
    } else {
        const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)ss;
        inet_ntop(AF_INET, &a->sin_addr, host, sizeof host);
        snprintf(out, HTTP_PEER_BYTES, "%s:%u", host, (unsigned)ntohs(a->sin_port));
    }
}

struct http_conn *http_conn_new(struct http_server *s, int fd, const struct sockaddr_storage *peer)
{
    struct http_conn *c = mem_zalloc(1, sizeof *c);
    c->server = s;
    c->fd = fd;
    c->state = CONN_IDLE;
    list_init(&c->wait_link);
    list_init(&c->todo_link);
    list_push_back(&s->conns, &c->link);
    http_server_count_connection(s, +1);
    buf_init(&c->in, s->opt.max_header_bytes + HTTP_SCRATCH_BYTES + HTTP_PIPELINE_BYTES);
    /* What waits here is bounded by the handler, who is told of the watermark. */
    buf_init(&c->out, SIZE_MAX / 4);
    format_peer(peer, c->peer);
    watch(c, false);
    http_server_wait(c, WAIT_IDLE);
    return c;
}

/* ---- the end of a connection ---- */

static void close_now(struct http_conn *c)
{
    event_del(&c->read_ev);
    event_del(&c->write_ev);
    close(c->fd);
    c->fd = -1;
    buf_clear(&c->in);
    buf_clear(&c->out);
    http_server_wait(c, WAIT_NONE);
    http_conn_set_state(c, CONN_CLOSED);
    list_remove(&c->link);
    http_server_count_connection(c->server, -1);
    http_server_defer(c);
}

void http_conn_free(struct http_conn *c)
{
    assert(c->state == CONN_CLOSED);
    list_remove(&c->todo_link);
    free(c);
}

/* Closing a socket with unread input sends RST, which may destroy the reply before the client reads
 * it (RFC 9112 9.6). */
static bool may_have_unread_input(struct http_conn *c)
{
    if (c->unread || buf_len(&c->in))
        return true;
    return recv(c->fd, c->server->scratch, 1, MSG_DONTWAIT) > 0;
}

static void end_connection(struct http_conn *c, bool reset)
{
    if (reset) {
        struct linger hard = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    if (reset || c->eof || !may_have_unread_input(c)) {
        close_now(c);
        return;
    }
    shutdown(c->fd, SHUT_WR);
    buf_clear(&c->in);
    if (c->paused)
        watch(c, false);
    http_conn_set_state(c, CONN_LINGERING);
    c->linger_bytes = 0;
    c->linger_until_us = clock_mono_us() + LINGER_MAX_US;
    http_server_wait(c, WAIT_SHORT);
}

/* The exchange's last byte is with the kernel. */
static void finish(struct http_conn *c)
{
    /* Without chunks the end of the connection is the end of the body: only a reset tells a cut
     * from an end. */
    bool reset = c->x.abort_reason && c->x.status && !c->x.chunked_reply && !c->x.bodyless_reply;
    exchange_end(c, c->x.abort_reason);
    c->served = true;
    c->above_high = false;
    http_conn_set_state(c, CONN_IDLE);
    buf_shrink(&c->out, 0);
    buf_shrink(&c->in, 0);
    if (c->closing || (c->server->draining && buf_len(&c->in) == 0)) {
        end_connection(c, reset);
        return;
    }
    if (c->paused)
        watch(c, false);
    http_server_wait(c, WAIT_IDLE);
    if (buf_len(&c->in))
        http_server_defer(c);
}

static void drop(struct http_conn *c)
{
    const struct http_server_options *opt = &c->server->opt;
    enum http_conn_state state = c->state;
    /* A reply call from on_gone would be a bug of the handler's, and is caught by the state. */
    http_conn_set_state(c, CONN_FLUSHING);
    if (state == CONN_SERVING && opt->handler->on_gone)
        opt->handler->on_gone(opt->ctx, &c->x);
    if (state == CONN_BODY || state == CONN_SERVING || state == CONN_FLUSHING)
        exchange_end(c, c->x.abort_reason ? c->x.abort_reason : c->dropped);
    else if (state == CONN_HEAD)
        http_server_count_drop(c->server, c->dropped);
    close_now(c);
}

/* Draws the consequences of whatever just happened to c. Called when no function of the handler's
 * is running for c. */
static void settle(struct http_conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    if (c->dropped)
        drop(c);
    else if (c->state == CONN_FLUSHING && buf_len(&c->out) == 0)
        finish(c);
}

/* ---- refusing ---- */

static void refuse(struct http_conn *c, enum err e, const char *message, const char *param)
{
    if (!c->x.complete)
        c->closing = c->unread = true;
    c->x.received_us = clock_mono_us();
    http_conn_set_state(c, CONN_SERVING);
    http_server_wait(c, WAIT_NONE);
    http_reply_error(&c->x, e, message, param, c->x.retry_after_ms, NULL, 0);
}

static void refuse_malformed(struct http_conn *c, enum err e, const char *why)
{
    refuse(c, e,
           e == ERR_BAD_HTTP ? arena_printf(&c->x.arena, "The HTTP request is malformed: %s.", why)
                             : NULL,
           NULL);
}

/* ---- bodies ---- */

static uint64_t max_body_bytes(const struct http_conn *c)
{
    uint64_t max = c->server->opt.max_body_bytes;
    return max < SIZE_MAX / 4 ? max : SIZE_MAX / 4;
}

static void complete(struct http_conn *c, struct slice body)
{
    c->x.body = body;
    c->x.complete = true;
}

/* Returns how much of data was used. A refusal uses everything: nothing behind it will be read as a
 * request. */
static size_t take_chunks(struct http_conn *c, struct slice data)
{
    struct http_exchange *x = &c->x;
    for (size_t pos = 0;;) {
        size_t used;
        struct slice payload;
        enum http1_parse found =
            http1_chunked_feed(&x->chunked, slice_from(data, pos), &used, &payload);
        enum err e = found == HTTP1_BAD ? ERR_BAD_HTTP : buf_append_slice(&x->body_buf, payload);
        if (e) {
            refuse(c, e, e == ERR_BAD_HTTP ? "The HTTP request is malformed: a bad chunk." : NULL,
                   NULL);
            return data.n;
        }
        pos += used;
        if (found == HTTP1_DONE) {
            complete(c, buf_slice(&x->body_buf));
            return pos;
        }
        if (pos == data.n)
            return pos;
    }
}

static size_t take_length(struct http_conn *c, struct slice data)
{
    struct buf *body = &c->x.body_buf;
    size_t left = (size_t)c->x.head->content_length - buf_len(body);
    size_t take = data.n < left ? data.n : left;
    enum err e = buf_append(body, data.p, take);
    assert(e == ERR_OK); /* reserved whole by begin_body */
    (void)e;
    if (take == left)
        complete(c, buf_slice(body));
    return take;
}

static size_t take_body(struct http_conn *c, struct slice data)
{
    return c->x.head->body == HTTP1_BODY_CHUNKED ? take_chunks(c, data) : take_length(c, data);
}

static enum err reserve_body(struct http_conn *c)
{
    const struct http1_head *head = c->x.head;
    char *room;
    size_t room_bytes;
    if (head->body == HTTP1_BODY_CHUNKED) {
        http1_chunked_init(&c->x.chunked);
        buf_init(&c->x.body_buf, (size_t)max_body_bytes(c));
        return ERR_OK;
    }
    if (head->content_length > max_body_bytes(c))
        return ERR_TOO_LARGE;
    buf_init(&c->x.body_buf, (size_t)head->content_length);
    return buf_reserve(&c->x.body_buf, (size_t)head->content_length, &room, &room_bytes);
}

/* The head was accepted; rest is what came behind it. Returns how much of rest belongs to the
 * exchange. */
static size_t begin_body(struct http_conn *c, struct slice rest)
{
    enum err e = reserve_body(c);
    if (e) {
        refuse(c, e, NULL, NULL);
        return rest.n;
    }
    http_conn_set_state(c, CONN_BODY);
    c->x.received_us = clock_mono_us(); /* so far: of the head */
    if (rest.n == 0 && c->x.head->expect_continue)
        http_reply_continue(c);
    size_t used = take_body(c, rest);
    if (!c->x.complete && c->state == CONN_BODY)
        http_server_wait(c, WAIT_BODY);
    return used;
}

static void dispatch(struct http_conn *c)
{
    const struct http_server_options *opt = &c->server->opt;
    c->x.received_us = clock_mono_us();
    http_conn_set_state(c, CONN_SERVING);
    /* Blocked: a 100 Continue is still leaving. */
    http_server_wait(c, c->blocked ? WAIT_WRITE : WAIT_NONE);
    opt->handler->on_request(opt->ctx, &c->x);
}

/* ---- heads ---- */

static struct slice moved(struct slice s, const char *from, const char *to)
{
    return slice_make(to + (s.p - from), s.n);
}

/* Copies head and, when it is all there and small, body out of data, which will not last. Returns
 * the bytes copied. */
static size_t keep_request(struct http_conn *c, struct slice data)
{
    const struct http1_head *seen = c->server->head;
    struct http_exchange *x = &c->x;
    size_t copy = seen->head_bytes;
    bool small =
        seen->body == HTTP1_BODY_NONE ||
        (seen->body == HTTP1_BODY_LENGTH && seen->content_length <= data.n - seen->head_bytes &&
         seen->content_length <= INLINE_BODY_MAX && seen->content_length <= max_body_bytes(c));
    if (small)
        copy += (size_t)seen->content_length;
    size_t struct_bytes =
        offsetof(struct http1_head, headers) + seen->header_count * sizeof seen->headers[0];
    struct http1_head *head = arena_alloc(&x->arena, struct_bytes);
    memcpy(head, seen, struct_bytes);
    char *raw = arena_alloc(&x->arena, copy);
    memcpy(raw, data.p, copy);
    head->method = moved(seen->method, data.p, raw);
    head->target = moved(seen->target, data.p, raw);
    for (size_t i = 0; i < seen->header_count; i++) {
        head->headers[i].name = moved(seen->headers[i].name, data.p, raw);
        head->headers[i].value = moved(seen->headers[i].value, data.p, raw);
    }
    x->head = head;
    if (small)
        complete(c, slice_make(raw + seen->head_bytes, copy - seen->head_bytes));
    return copy;
}

/* A complete head is in server->head, its bytes in data. Returns how much of data belongs to this
 * exchange. */
static size_t accept_head(struct http_conn *c, struct slice data)
{
    const struct http_server_options *opt = &c->server->opt;
    struct http_exchange *x = &c->x;
    const char *why;
    size_t used = keep_request(c, data);
    if (!http_target_split(x->head->method, x->head->target, &x->path, &x->query, &why)) {
        bool long_one = x->head->target.n > HTTP_TARGET_MAX_BYTES;
        refuse_malformed(c, long_one ? ERR_HEADERS_TOO_LARGE : ERR_BAD_HTTP, why);
        return x->complete ? used : data.n;
    }
    enum err e = opt->handler->on_head ? opt->handler->on_head(opt->ctx, x) : ERR_OK;
    if (e) {
        refuse(c, e, x->refuse_message, x->refuse_param);
        return x->complete ? used : data.n;
    }
    return x->complete ? used : used + begin_body(c, slice_from(data, used));
}

/* Returns how much of data was used: nothing while the head is not complete. */
static size_t take_head(struct http_conn *c, struct slice data)
{
    struct http_server *s = c->server;
    enum err e = ERR_HEADERS_TOO_LARGE;
    const char *why = "";
    bool first = c->state == CONN_IDLE;
    if (first) {
        exchange_init(&c->x);
        c->scanned = 0;
        http_conn_set_state(c, CONN_HEAD);
    }
    enum http1_parse found = http1_parse_request(data, &c->scanned, s->head, &e, &why);
    if (found == HTTP1_MORE && data.n <= s->opt.max_header_bytes) {
        if (first)
            http_server_wait(c, WAIT_HEAD); /* from the first byte to the last of the head */
        return 0;
    }
    if (found != HTTP1_DONE || s->head->head_bytes > s->opt.max_header_bytes) {
        refuse_malformed(c, found == HTTP1_BAD ? e : ERR_HEADERS_TOO_LARGE, why);
        return data.n;
    }
    return accept_head(c, data);
}

/* ---- reading ---- */

static void peer_closed(struct http_conn *c)
{
    if (c->state != CONN_FLUSHING) {
        http_conn_lose(c, "client closed");
        return;
    }
    c->eof = c->closing = true; /* the reply is complete: let it leave */
    event_del(&c->read_ev);
}

/* 0: nothing now, or the client is gone, which is noted. */
static size_t receive(struct http_conn *c, char *to, size_t n)
{
    ssize_t got;
    do
        got = recv(c->fd, to, n, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0)
        return (size_t)got;
    if (got == 0)
        peer_closed(c);
    else if (errno != EAGAIN && errno != EWOULDBLOCK)
        http_conn_lose(c, "client reset");
    return 0;
}

/* Bytes outside a body: of the next request when c is idle, otherwise of requests to come. fresh
 * may be empty: then what was kept is looked at again. */
static void input(struct http_conn *c, struct slice fresh)
{
    bool kept = buf_len(&c->in) > 0;
    if (kept && buf_append_slice(&c->in, fresh)) {
        http_conn_lose(c, "out of memory");
        return;
    }
    struct slice data = kept ? buf_slice(&c->in) : fresh;
    size_t used = c->state == CONN_IDLE || c->state == CONN_HEAD ? take_head(c, data) : 0;
    if (kept) {
        buf_consume(&c->in, used);
        buf_shrink(&c->in, 0);
    } else if (used < data.n && buf_append_slice(&c->in, slice_from(data, used))) {
        http_conn_lose(c, "out of memory");
        return;
    }
    if ((c->state == CONN_HEAD || c->state == CONN_BODY) && c->x.complete && !c->dropped)
        dispatch(c);
}

static void read_requests(struct http_conn *c)
{
    bool ahead = c->state == CONN_SERVING || c->state == CONN_FLUSHING;
    size_t room = HTTP_SCRATCH_BYTES;
    if (ahead && !c->closing) {
        room = buf_len(&c->in) < HTTP_PIPELINE_BYTES ? HTTP_PIPELINE_BYTES - buf_len(&c->in) : 0;
        if (room == 0) {
            watch(c, true);
            return;
        }
    }
    size_t n = receive(c, c->server->scratch, room);
    if (n == 0)
        return;
    if (ahead && c->closing)
        c->unread = true; /* nothing behind the last request is served */
    else
        input(c, slice_make(c->server->scratch, n));
}

static void read_chunks(struct http_conn *c)
{
    size_t n = receive(c, c->server->scratch, HTTP_SCRATCH_BYTES);
    size_t used = n ? take_chunks(c, slice_make(c->server->scratch, n)) : 0;
    if (used < n && buf_append(&c->in, c->server->scratch + used, n - used))
        http_conn_lose(c, "out of memory");
}

/* Straight to where the body is wanted. */
static void read_length(struct http_conn *c)
{
    struct buf *body = &c->x.body_buf;
    size_t left = (size_t)c->x.head->content_length - buf_len(body), room_bytes;
    char *room;
    enum err e = buf_reserve(body, left, &room, &room_bytes);
    assert(e == ERR_OK); /* begin_body did it */
    (void)e;
    size_t n = receive(c, room, left < BODY_READ_BYTES ? left : BODY_READ_BYTES);
    buf_commit(body, n);
    if (n && n == left)
        complete(c, buf_slice(body));
}

static void read_body(struct http_conn *c)
{
    if (c->x.head->body == HTTP1_BODY_CHUNKED)
        read_chunks(c);
    else
        read_length(c);
    if (c->dropped || c->state != CONN_BODY)
        return;
    if (c->x.complete)
        dispatch(c);
    else
        http_server_wait(c, WAIT_BODY);
}

static void read_and_drop(struct http_conn *c)
{
    size_t n = receive(c, c->server->scratch, HTTP_SCRATCH_BYTES);
    if (n == 0)
        return;
    c->linger_bytes += n;
    if (c->linger_bytes > LINGER_MAX_BYTES || clock_mono_us() > c->linger_until_us)
        http_conn_lose(c, "client would not stop sending");
    else
        http_server_wait(c, WAIT_SHORT);
}

/* Reading is paused: the edge means more bytes, a FIN or a reset. recv would still return the bytes
 * before a reset. */
static void look_while_paused(struct http_conn *c, short what)
{
    int error = 0;
    socklen_t n = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 && error)
        http_conn_lose(c, "client reset");
    else if (what & EV_CLOSED)
        peer_closed(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct http_conn *c = arg;
    (void)fd;
    c->in_callback = true;
    if (c->paused)
        look_while_paused(c, what);
    else if (c->state == CONN_BODY)
        read_body(c);
    else if (c->state == CONN_LINGERING)
        read_and_drop(c);
    else
        read_requests(c);
    c->in_callback = false;
    settle(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct http_conn *c = arg;
    const struct http_server_options *opt = &c->server->opt;
    (void)fd;
    (void)what;
    c->in_callback = true;
    http_reply_flush(c);
    if (c->above_high && !c->dropped && c->state == CONN_SERVING &&
        buf_len(&c->out) <= opt->high_watermark_bytes / 4) {
        c->above_high = false;
        if (opt->handler->on_writable)
            opt->handler->on_writable(opt->ctx, &c->x);
    }
    c->in_callback = false;
    settle(c);
}

/* ---- what the server asks of a connection ---- */

void http_conn_turn(struct http_conn *c)
{
    c->in_callback = true;
    if (!c->dropped && c->state == CONN_IDLE && buf_len(&c->in))
        input(c, slice_make("", 0));
    c->in_callback = false;
    settle(c);
}

void http_conn_expire(struct http_conn *c)
{
    c->in_callback = true;
    switch (c->state) {
    case CONN_IDLE:
        http_conn_lose(c, "idle");
        break;
    case CONN_HEAD:
    case CONN_BODY:
        refuse(c, ERR_REQUEST_TIMEOUT, NULL, NULL);
        break;
    case CONN_SERVING:
    case CONN_FLUSHING:
        http_conn_lose(c, "write timeout");
        break;
    case CONN_LINGERING:
        http_conn_lose(c, "lingered");
        break;
    case CONN_CLOSED:
        break;
    }
    c->in_callback = false;
    settle(c);
}

/* A request may already be here or in the socket, and a newcomer's is probably on its way: none is
 * turned away. */
void http_conn_dismiss(struct http_conn *c)
{
    if (buf_len(&c->in) == 0)
        on_readable(c->fd, EV_READ, c);
    if (c->state != CONN_IDLE || buf_len(&c->in))
        return;
    if (c->served)
        close_now(c);
    else
        http_server_wait(c, WAIT_SHORT);
}

void http_conn_stop(struct http_conn *c)
{
    if (c->state == CONN_BODY || c->state == CONN_SERVING || c->state == CONN_FLUSHING)
        exchange_end(c, "server stopped");
    close_now(c);
}

/* ---- the handler's view of a request ---- */

const struct http1_head *http_exchange_head(const struct http_exchange *x)
{
    return x->head;
}

struct slice http_exchange_path(const struct http_exchange *x)
{
    return x->path;
}

struct slice http_exchange_query(const struct http_exchange *x)
{
    return x->query;
}

struct slice http_exchange_body(const struct http_exchange *x)
{
    return x->body;
}

struct arena *http_exchange_arena(struct http_exchange *x)
{
    return &x->arena;
}

struct slice http_exchange_peer(const struct http_exchange *x)
{
    const struct http_conn *c =
        (const struct http_conn *)(const void *)((const char *)x - offsetof(struct http_conn, x));
    return slice_str(c->peer);
}

int64_t http_exchange_received_us(const struct http_exchange *x)
{
    return x->received_us;
}

void http_exchange_set_user(struct http_exchange *x, void *user)
{
    x->user = user;
}

void *http_exchange_user(const struct http_exchange *x)
{
    return x->user;
}

void http_exchange_refuse(struct http_exchange *x, const char *message, const char *param)
{
    x->refuse_message = message;
    x->refuse_param = param;
}

void http_exchange_retry_after(struct http_exchange *x, int64_t ms)
{
    x->retry_after_ms = ms;
}
