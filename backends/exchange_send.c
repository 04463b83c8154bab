/* The request of an exchange: its head is built into the transport's buffer, its body is sent from
 * where it lies. Called by exchange.c and exchange_dial.c. */
#include "backends/exchange_int.h"

#include <string.h>
#include "base/decimal.h"
#include "base/mem.h"

#define SEND_PIECES 32 /* per sendmsg */

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
void exchange_send(struct exchange *x)
{
    struct slice head = {0};
    struct iovec iov[SEND_PIECES];

    x->send_waits_read = false;
    if (x->sent_bytes < x->head_bytes || x->head_bytes == 0)
        head = build_head(x);
    while (!exchange_sent(x) && !x->send_broken) {
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

void exchange_send_begin(struct exchange *x, int64_t now_us)
{
    x->state = WAIT_HEAD;
    x->begun_us = now_us;
    x->sent_bytes = 0;
    watch_phase(&x->watch, x->req.timeouts.first_byte_ms, ERR_UPSTREAM_FIRST_BYTE_TIMEOUT, now_us);
    if (x->call->paused)
        watch_hold(&x->watch);
    exchange_send(x);
}
