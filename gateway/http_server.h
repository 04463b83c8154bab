/* HTTP/1.1 server side on libevent's loop with direct recv/send and base/http1: listener,
 * connections, request bodies, replies with back-pressure. Knows nothing of APIs, tenants or
 * models. The only file with client sockets.
 *
 * threads: one server belongs to one event loop. Several workers listen on the same address with
 * SO_REUSEPORT.
 *
 * Life of an exchange: head read -> on_head (may refuse before the body is read) -> body read whole
 * (Content-Length or chunked, bounded) -> on_request -> the handler answers, now or later, with
 * exactly one of: http_reply_whole; or http_reply_begin, writes, then http_reply_end or
 * http_reply_abort. If the client goes away first (FIN, RST, write timeout), on_gone comes instead,
 * once, and the exchange must not be touched after it returns. No callback ever comes from inside
 * an http_reply_* call; the next pipelined request is started from a later turn of the loop.
 * Everything written is sent at once (TCP_NODELAY); only what the socket does not take is buffered.
 * While a handler works, FIN and RST of the client are still noticed at once; a FIN counts as gone
 * (half-closing clients are not served).
 *
 * Refused by the server itself, in the error format of options.error_body: malformed heads (400,
 * 431, 501, 505), bodies too large (413, at once from Content-Length), 408 on slow heads or bodies,
 * 417. `Expect: 100-continue` is answered with 100 after on_head agreed. Idle connections hold no
 * buffers (well under 1 KB each apart from the kernel). Dropped requests and connections are
 * counted by reason: "client closed", "client reset", "write timeout", "too many connections",
 * "server stopped", "out of memory", and what http_reply_abort gave (a static string, it becomes a
 * metric's label). */
#ifndef GATEWAY_HTTP_SERVER_H
#define GATEWAY_HTTP_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/http1.h"

struct event_base;
struct http_server;
struct http_exchange; /* owned by its connection */

struct http_handler {
    /* The head is there, the body is not. Anything but ERR_OK refuses: the server answers with
     * options.error_body and closes after it when a body was announced that has not come with it.
     * Use it for auth, 404, 405 and for limits. May be NULL. */
    enum err (*on_head)(void *ctx, struct http_exchange *x);
    void (*on_request)(void *ctx, struct http_exchange *x);
    /* Unsent bytes fell below the low watermark (a quarter of high_watermark_bytes) after having
     * been above the high one. May be NULL. */
    void (*on_writable)(void *ctx, struct http_exchange *x);
    /* Only between on_request and the last reply call. */
    void (*on_gone)(void *ctx, struct http_exchange *x);
    /* Headers to add to every reply and error of this exchange (CORS, x-request-id ...): appends
     * "Name: value\r\n" lines. May be NULL. */
    void (*extra_headers)(void *ctx, struct http_exchange *x, struct buf *out);
    /* Every exchange that got a reply or was dropped, for the access log: called when its last byte
     * was handed to the kernel or it died (also one that was refused or died before on_request; its
     * head is empty when it never had a proper one). The exchange, its arena and its user pointer
     * are still there. status is the reply's, or 499 when it died before one began; bytes_sent
     * counts all bytes that the kernel took, head and framing too; dropped_reason is NULL when the
     * reply went out whole. May be NULL. No http_reply_* call may be made in it. */
    void (*on_finished)(void *ctx, struct http_exchange *x, int status, uint64_t bytes_sent,
                        const char *dropped_reason);
};

struct http_error {
    enum err err;
    const char *message, *param; /* NULL: the error's default, none */
};

struct http_server_options {
    struct event_base *base;
    const char *host; /* numeric or name */
    uint16_t port;    /* 0: kernel's choice, see http_server_port */
    bool reuse_port;
    size_t max_header_bytes; /* 431 beyond */
    uint64_t max_body_bytes; /* 413 beyond */
    int64_t header_timeout_ms, body_timeout_ms, idle_timeout_ms,
        write_timeout_ms;         /* -1: none. body and write: without progress */
    size_t high_watermark_bytes;  /* http_reply_write says so when unsent bytes exceed it */
    _Atomic int64_t *connections; /* of the process, shared by its servers; may be NULL */
    int64_t max_connections; /* -1: none; above it new connections are closed at once and counted */
    const struct http_handler *handler;
    void *ctx;
    /* Writes the error's body (JSON). *status holds err_http_status(error->err) and may be
     * changed. x's user is NULL when its head never parsed. */
    enum err (*error_body)(void *ctx, const struct http_exchange *x, const struct http_error *error,
                           int *status, struct buf *out);
    struct stats *stats; /* CONNECTIONS, CONNECTIONS_TOTAL, DROPPED; may be NULL */
};

/* NULL + t on failure (address in use, unresolvable ...). */
struct http_server *http_server_new(const struct http_server_options *opt, struct err_text *t);
uint16_t http_server_port(const struct http_server *s);
/* Stops accepting; idle connections are closed, busy ones close after their reply ("Connection:
 * close"). */
void http_server_drain(struct http_server *s);
size_t http_server_active(const struct http_server *s); /* exchanges in progress, from a head's
                                                           first byte to the reply's last */
void http_server_free(
    struct http_server *s); /* closes everything, without callbacks but on_finished */

/* ---- the request: valid from on_head (body: on_request) to the last reply call or on_gone ---- */
const struct http1_head *http_exchange_head(const struct http_exchange *x);
struct slice
http_exchange_path(const struct http_exchange *x); /* target without query, not decoded */
struct slice http_exchange_query(const struct http_exchange *x); /* after '?', or empty */
struct slice http_exchange_body(const struct http_exchange *x);  /* contiguous */
struct arena *http_exchange_arena(struct http_exchange *x);      /* dies with the exchange */
struct slice http_exchange_peer(const struct http_exchange *x);  /* "127.0.0.1:51234" */
int64_t http_exchange_received_us(
    const struct http_exchange *x); /* monotonic: when the request was complete; of one whose body
                                       never was, when its head was */
void http_exchange_set_user(struct http_exchange *x, void *user);
void *http_exchange_user(const struct http_exchange *x);
/* For on_head refusals: a message and param in place of the error's default; strings live in the
 * exchange's arena. */
void http_exchange_refuse(struct http_exchange *x, const char *message, const char *param);
void http_exchange_retry_after(struct http_exchange *x, int64_t ms); /* likewise */

/* ---- the reply. Hop-by-hop headers, Content-Length, Date and Connection are the server's own
 * business. HEAD: the body is not sent. ---- */
/* pieces are sent with writev and need to live only during the call. */
void http_reply_whole(struct http_exchange *x, int status, const struct http1_header *headers,
                      size_t header_count, const struct slice *pieces, size_t piece_count);
/* An error reply in error_body's format. retry_after_ms < 0: none; else Retry-After (rounded up)
 * and retry-after-ms. */
void http_reply_error(struct http_exchange *x, enum err e, const char *message, const char *param,
                      int64_t retry_after_ms, const struct http1_header *headers,
                      size_t header_count);
/* Streamed reply: chunked, or close-delimited for HTTP/1.0. The head leaves together with the first
 * write. */
void http_reply_begin(struct http_exchange *x, int status, const struct http1_header *headers,
                      size_t header_count);
/* Sends or buffers (empty data: only a head that still waits); true while unsent bytes are at most
 * the high watermark, false: stop until on_writable. Bytes are always taken. */
bool http_reply_write(struct http_exchange *x, struct slice data);
void http_reply_end(struct http_exchange *x);
/* Closes without the terminating chunk, after the bytes already written have left or 1 s has
 * passed: the client sees a cut answer. */
void http_reply_abort(struct http_exchange *x, const char *reason);

#endif
