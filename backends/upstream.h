/* One HTTP exchange with an endpoint: four calls (start, data, done, abort) that every transport
 * offers.
 *
 * Transports: upstream_http1 (pooled HTTP/1.1 of our own, plain and OpenSSL: the usual case) and
 * upstream_curl (libcurl multi: HTTP/2, proxies, anything unusual). Both pass the same tests
 * (tests/unit/backends/test_upstream.c).
 *
 * threads: everything here belongs to one worker and its event_base. Rules, the same for every
 * transport:
 *   - upstream_start never calls back before it returns; its outcome arrives by callback on a later
 *     turn of the loop.
 *   - on_head at most once, then on_data any number of times, then on_done exactly once, unless
 *     aborted.
 *   - after upstream_abort no callback comes any more and the connection is closed at once (cancel
 *     is immediate).
 *   - the call record is embedded in the caller's operation and may be reused after on_done has
 *     returned or after abort.
 *   - a callback may call upstream_pause/resume/abort on its own call, and start other calls.
 *   - everything in struct upstream_request is borrowed until on_done or abort.
 *   - decoded bodies: transfer coding is removed; Content-Encoding is never asked for
 *     (Accept-Encoding: identity). */
#ifndef BACKENDS_UPSTREAM_H
#define BACKENDS_UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/http1.h"
#include "base/list.h"
#include "base/slice.h"
#include "base/stats.h"

struct event_base;
struct upstream; /* one per worker: owns both transports and their pools; opaque */
struct upstream_call;

/* Where to, in plain values (router copies them out of the policy; backends knows no policy). */
struct upstream_target {
    const char *backend; /* name, for metrics and as the pool's identity beside host, port, tls */
    bool tls;
    const char *host;
    uint16_t port;
    const char *authority; /* Host header */
    bool http2;            /* needs libcurl */
    bool force_curl, force_native;
    const char *proxy;       /* NULL or URL: needs libcurl */
    const char *tls_ca_file; /* NULL: system store */
    bool tls_verify;
    int64_t max_idle_connections; /* kept per worker */
};

/* Its strings are copied into the arena, in place. */
void upstream_target_keep(struct upstream_target *t, struct arena *a);

struct upstream_timeouts { /* milliseconds; -1: none */
    int64_t connect_ms, first_byte_ms, between_bytes_ms, total_ms;
};

struct upstream_request {
    const struct upstream_target *target;
    struct slice method; /* "POST" */
    struct slice path;   /* "/v1/chat/completions" */
    const struct http1_header
        *headers; /* complete but for Host, Content-Length, Connection, Accept-Encoding */
    size_t header_count;
    const struct slice
        *body; /* pieces, sent in order with writev: the spliced request is never copied */
    size_t body_count;
    struct upstream_timeouts timeouts;
    int64_t max_response_bytes; /* ERR_UPSTREAM_TOO_LARGE beyond */
};

/* How an exchange ended. */
struct upstream_result {
    enum err err;    /* ERR_OK: the whole answer arrived as its framing promised (any HTTP status).
                        Else ERR_UPSTREAM_*:    CONNECT DNS TLS CONNECT_TIMEOUT (never reached); RESET
                        (reached, no complete head);    PROTOCOL (malformed); CUT (head arrived, body
                        ended early); *_TIMEOUT; TOO_LARGE */
    const char *why; /* static or valid for the callback: for the log */
    bool sent; /* at least the request's head left this machine: the upstream may have worked (and
                  may bill) */
    int64_t connect_us;    /* 0 when the connection was reused */
    int64_t first_byte_us; /* from start to the first byte of the head; -1 when none came */
    int64_t total_us;
    bool reused; /* pooled connection */
    bool resent; /* a pooled connection ended without an answer and the request went out again on a
                    fresh one: the first copy most likely never was read, but nobody can know */
};

struct upstream_handler {
    void (*on_head)(
        struct upstream_call *c,
        const struct http1_head *head); /* head valid during the call; 1xx are not reported */
    void (*on_data)(struct upstream_call *c, struct slice data); /* valid during the call */
    void (*on_done)(struct upstream_call *c, const struct upstream_result *r);
};

/* Embedded by the caller. Fields are private to the transports, but for owner. */
struct upstream_call {
    void *owner; /* the caller's own, set before upstream_start; never touched by the transports */
    const struct upstream_handler *handler;
    struct upstream *up;
    const struct upstream_transport *transport;
    void *exchange; /* the transport's own record; NULL when idle */
    bool paused;
};

/* A pooled connection that the server closed just as it was reused is retried once on a fresh
 * connection, inside the transport, if no byte of an answer had come (RFC 9110 9.2.2 forbids blind
 * retries of POST in general; here the request provably got no answer on a connection known to be
 * closing). Reported as one exchange. */

struct upstream *upstream_new(struct event_base *base, struct stats *stats);
void upstream_free(struct upstream *u); /* aborts whatever is in flight, without callbacks */
/* Never fails: errors arrive in on_done. */
void upstream_start(struct upstream *u, struct upstream_call *c, const struct upstream_handler *h,
                    const struct upstream_request *req);
void upstream_pause(struct upstream_call *c);  /* no on_data until resume; at most one socket buffer
                                                  more is read. Idle timeout stops. */
void upstream_resume(struct upstream_call *c); /* data may be delivered on a later turn of the loop,
                                                  not inside this call */
/* Idempotent; harmless on an idle call. true: as upstream_result.sent, the upstream may have worked
 */
bool upstream_abort(struct upstream_call *c);
bool upstream_active(const struct upstream_call *c);
/* Closes idle pooled connections (policy change, drain). */
void upstream_close_idle(struct upstream *u);

/* What a transport implements (upstream_http1.c, upstream_curl.c). */
struct upstream_transport {
    const char *name;
    void *(*open)(struct upstream *u);
    void (*close)(void *state);
    void (*start)(void *state, struct upstream_call *c, const struct upstream_request *req);
    void (*pause)(struct upstream_call *c);
    void (*resume)(struct upstream_call *c);
    bool (*abort)(struct upstream_call *c);
    void (*close_idle)(void *state);
};

#endif
