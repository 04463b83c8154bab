/* The writing half of a connection: reply heads and bodies, what the socket does not take,
 * back-pressure. Thread: the server's loop. Called by handlers (http_reply_*) and by http_conn.c.
 * Nothing in here calls a handler back, extra_headers apart: what a call has changed is drawn
 * conclusions from in http_conn.c, after the caller has returned.
 *
 * Bytes go to sendmsg straight from where they are; c->out holds only what the kernel refused, and
 * the head of a streamed reply until its first write. */
#include "gateway/http_server_int.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define IOV_MAX_PIECES 64

static struct http_conn *conn_of(struct http_exchange *x)
{
    return CONTAINER_OF(x, struct http_conn, x);
}

/* ---- sending ---- */

/* Only a reply's unsent bytes tick; while a body is read its own clock does. */
static void await_socket(struct http_conn *c)
{
    if (c->state == CONN_SERVING || c->state == CONN_FLUSHING)
        http_server_wait(c, c->x.abort_reason ? WAIT_SHORT : WAIT_WRITE);
}

static void block(struct http_conn *c)
{
    if (c->blocked)
        return;
    c->blocked = true;
    event_add(&c->write_ev, NULL);
    await_socket(c);
}

static void unblock(struct http_conn *c)
{
    if (!c->blocked)
        return;
    c->blocked = false;
    event_del(&c->write_ev);
    if (c->state == CONN_SERVING || c->state == CONN_FLUSHING)
        http_server_wait(c, WAIT_NONE);
}

/* Bytes taken by the kernel; 0 also when the client is gone, which is noted. */
static size_t send_some(struct http_conn *c, struct iovec *iov, size_t count)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t n;
    do
        n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0) {
        c->x.sent_bytes += (size_t)n;
        return (size_t)n;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        http_conn_lose(c, "client reset");
    return 0;
}

void http_reply_flush(struct http_conn *c)
{
    struct slice s = buf_slice(&c->out);
    if (s.n && !c->dropped) {
        struct iovec iov = {.iov_base = c->out.data + c->out.head, .iov_len = s.n};
        size_t n = send_some(c, &iov, 1);
        buf_consume(&c->out, n);
        if (n && c->blocked && !c->x.abort_reason) /* an abort's second is not prolonged */
            await_socket(c);
    }
    if (buf_len(&c->out) == 0) {
        unblock(c);
        buf_shrink(&c->out, 0);
    } else if (!c->dropped) {
        block(c);
    }
}

/* Keeps what lies behind the first skip bytes. */
static void keep(struct http_conn *c, const struct iovec *iov, size_t count, size_t skip,
                 size_t total)
{
    char *room;
    size_t room_bytes;
    enum err e = buf_reserve(&c->out, total - skip, &room, &room_bytes);
    for (size_t i = 0; i < count && !e; i++) {
        size_t begin = skip < iov[i].iov_len ? skip : iov[i].iov_len;
        skip -= begin;
        e = buf_append(&c->out, (const char *)iov[i].iov_base + begin, iov[i].iov_len - begin);
    }
    if (e)
        http_conn_lose(c, "out of memory");
}

static void transmit(struct http_conn *c, struct iovec *iov, size_t count)
{
    size_t total = 0, sent = 0;
    bool waiting = buf_len(&c->out) > 0;
    if (c->dropped)
        return;
    for (size_t i = 0; i < count; i++)
        total += iov[i].iov_len;
    if (!waiting)
        sent = send_some(c, iov, count);
    if (sent == total || c->dropped)
        return;
    keep(c, iov, count, sent, total);
    if (!waiting)
        block(c);
    else if (!c->blocked)
        http_reply_flush(c);
}

/* struct iovec has no const, though sendmsg only reads. */
static struct iovec iov_of(struct slice s)
{
    union {
        const char *in;
        void *out;
    } u = {.in = s.p};
    return (struct iovec){.iov_base = u.out, .iov_len = s.n};
}

static void transmit_pieces(struct http_conn *c, struct slice first, const struct slice *pieces,
                            size_t piece_count)
{
    struct iovec iov[IOV_MAX_PIECES];
    size_t n = 0, i = 0;
    iov[n++] = iov_of(first);
    do {
        while (n < IOV_MAX_PIECES && i < piece_count)
            iov[n++] = iov_of(pieces[i++]);
        transmit(c, iov, n);
        n = 0;
    } while (i < piece_count);
}

void http_reply_continue(struct http_conn *c)
{
    struct iovec iov = iov_of(SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
    transmit(c, &iov, 1);
    c->x.sent_bytes = 0; /* those of the reply are counted */
}

/* ---- heads ---- */

static struct slice date_line(struct http_server *s)
{
    time_t now = time(NULL);
    if (now != s->date_at) {
        s->date_at = now;
        http_head_date_line(now, s->date_line);
    }
    return slice_make(s->date_line, sizeof s->date_line);
}

static enum http_head_connection connection_header(const struct http_conn *c)
{
    if (c->closing)
        return HTTP_HEAD_CLOSE;
    return c->x.head->minor == 0 ? HTTP_HEAD_KEEP_ALIVE : HTTP_HEAD_IMPLIED;
}

/* RFC 9110 6.4.1; and the body of a HEAD's answer is only described. */
static bool is_bodyless(const struct http_conn *c, int status)
{
    return status < 200 || status == 204 || status == 304 ||
           slice_eq(c->x.head->method, SLICE("HEAD"));
}

/* Renders the head into server->head_out. streamed: length is not known. */
static struct slice render_head(struct http_conn *c, int status, const struct http1_header *headers,
                                size_t header_count, bool streamed, uint64_t length)
{
    struct http_server *s = c->server;
    struct http_exchange *x = &c->x;
    enum http_head_framing framing = HTTP_HEAD_LENGTH;
    assert(c->state == CONN_SERVING && x->status == 0);
    x->status = status;
    x->bodyless_reply = is_bodyless(c, status);
    x->chunked_reply = streamed && x->head->minor == 1;
    if (status < 200 || status == 204 || status == 304)
        framing = HTTP_HEAD_BARE;
    else if (streamed)
        framing = x->chunked_reply ? HTTP_HEAD_CHUNKED : HTTP_HEAD_BARE;
    if (!x->head->keep_alive || s->draining ||
        (streamed && !x->chunked_reply && !x->bodyless_reply))
        c->closing = true;

    buf_reset(&s->head_out);
    enum err e = http_head_open(&s->head_out, status, date_line(s), headers, header_count);
    if (!e && s->opt.handler->extra_headers)
        s->opt.handler->extra_headers(s->opt.ctx, x, &s->head_out);
    if (!e)
        e = http_head_close(&s->head_out, framing, length, connection_header(c));
    if (e)
        http_conn_lose(c, "reply head too large");
    return buf_slice(&s->head_out);
}

/* After the last reply call: when nothing is left to send, the exchange ends as soon as the caller
 * has returned. */
static void reply_over(struct http_conn *c)
{
    http_conn_set_state(c, CONN_FLUSHING);
    if (!c->in_callback && (c->dropped || buf_len(&c->out) == 0))
        http_server_defer(c);
}

/* ---- what handlers call ---- */

void http_reply_whole(struct http_exchange *x, int status, const struct http1_header *headers,
                      size_t header_count, const struct slice *pieces, size_t piece_count)
{
    struct http_conn *c = conn_of(x);
    uint64_t length = 0;
    for (size_t i = 0; i < piece_count; i++)
        length += pieces[i].n;
    struct slice head = render_head(c, status, headers, header_count, false, length);
    transmit_pieces(c, head, pieces, x->bodyless_reply ? 0 : piece_count);
    reply_over(c);
}

void http_reply_error(struct http_exchange *x, enum err e, const char *message, const char *param,
                      int64_t retry_after_ms, const struct http1_header *headers,
                      size_t header_count)
{
    struct buf *body = &conn_of(x)->server->error_out;
    struct http1_header all[HTTP1_MAX_HEADERS + 3];
    char seconds[24], ms[24];
    size_t n = header_count < HTTP1_MAX_HEADERS ? header_count : HTTP1_MAX_HEADERS;
    if (n)
        memcpy(all, headers, n * sizeof *all);
    all[n++] = (struct http1_header){SLICE("Content-Type"), SLICE("application/json")};
    if (retry_after_ms >= 0) {
        snprintf(seconds, sizeof seconds, "%lld",
                 (long long)(retry_after_ms / 1000 + (retry_after_ms % 1000 != 0)));
        snprintf(ms, sizeof ms, "%lld", (long long)retry_after_ms);
        all[n++] = (struct http1_header){SLICE("Retry-After"), slice_str(seconds)};
        all[n++] = (struct http1_header){SLICE("retry-after-ms"), slice_str(ms)};
    }
    buf_reset(body);
    const struct http_server_options *opt = &conn_of(x)->server->opt;
    struct http_error error = {e, message, param};
    int status = err_http_status(e);
    if (opt->error_body(opt->ctx, x, &error, &status, body))
        buf_reset(body); /* the status has to do */
    struct slice text = buf_slice(body);
    http_reply_whole(x, status, all, n, &text, 1);
}

void http_reply_begin(struct http_exchange *x, int status, const struct http1_header *headers,
                      size_t header_count)
{
    struct http_conn *c = conn_of(x);
    struct slice head = render_head(c, status, headers, header_count, true, 0);
    if (buf_append_slice(&c->out, head))
        http_conn_lose(c, "out of memory");
}

bool http_reply_write(struct http_exchange *x, struct slice data)
{
    struct http_conn *c = conn_of(x);
    assert(c->state == CONN_SERVING && x->status != 0);
    if (data.n == 0 || x->bodyless_reply) {
        if (!c->blocked)
            http_reply_flush(c);
    } else if (x->chunked_reply) {
        char size[20];
        struct iovec iov[3] = {{.iov_base = size, .iov_len = http1_chunk_header(data.n, size)},
                               iov_of(data),
                               iov_of(SLICE("\r\n"))};
        transmit(c, iov, 3);
    } else {
        struct iovec iov = iov_of(data);
        transmit(c, &iov, 1);
    }
    if (!c->dropped && buf_len(&c->out) <= c->server->opt.high_watermark_bytes)
        return true;
    c->above_high = true;
    return false;
}

void http_reply_end(struct http_exchange *x)
{
    struct http_conn *c = conn_of(x);
    assert(c->state == CONN_SERVING && x->status != 0);
    if (x->chunked_reply && !x->bodyless_reply) {
        struct iovec iov = iov_of(SLICE("0\r\n\r\n"));
        transmit(c, &iov, 1);
    } else if (!c->blocked) {
        http_reply_flush(c);
    }
    reply_over(c);
}

void http_reply_abort(struct http_exchange *x, const char *reason)
{
    struct http_conn *c = conn_of(x);
    assert(c->state == CONN_SERVING);
    x->abort_reason = reason;
    c->closing = true;
    if (!c->blocked)
        http_reply_flush(c);
    else
        await_socket(c);
    reply_over(c);
}
