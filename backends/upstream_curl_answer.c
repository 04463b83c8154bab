/* What libcurl calls back with for one transfer: the request's body is asked for, the answer's head
 * and body are there, the end has a reason. Called by libcurl, below upstream_curl.c. */
#include "backends/upstream_curl_int.h"

#include <string.h>
#include "backends/upstream_tls.h"
#include "base/clock.h"

enum err upstream_curl_error(const struct transfer *x, CURLcode code)
{
    bool transfer =
        code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING;

    if (transfer && !x->connected) /* a proxy's refusal */
        return ERR_UPSTREAM_CONNECT;
    switch ((int)code) {
    case CURLE_OK:
        if (x->close_delimited && !x->close_notify)
            return ERR_UPSTREAM_CUT;
        return x->head_done ? ERR_OK : ERR_UPSTREAM_RESET;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return ERR_UPSTREAM_DNS;
    case CURLE_COULDNT_CONNECT:
    case CURLE_INTERFACE_FAILED:
    case CURLE_PROXY:
        return ERR_UPSTREAM_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_USE_SSL_FAILED:
        return ERR_UPSTREAM_TLS;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_UPSTREAM_CONNECT_TIMEOUT; /* the only timeout that libcurl is given */
    case CURLE_GOT_NOTHING:
        return ERR_UPSTREAM_RESET;
    case CURLE_PARTIAL_FILE: /* also an end inside the head, after a Content-Length */
        return x->head_done ? ERR_UPSTREAM_CUT : ERR_UPSTREAM_RESET;
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        /* 7.88 reports a malformed chunk as a failure to receive; the text is the only difference
         */
        if (strstr(x->error, "chunked-encoding"))
            return ERR_UPSTREAM_PROTOCOL;
        return x->head_done ? ERR_UPSTREAM_CUT : ERR_UPSTREAM_RESET;
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return x->head_done ? ERR_UPSTREAM_CUT : ERR_UPSTREAM_RESET;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
        return ERR_INTERNAL;
    default:
        return ERR_UPSTREAM_PROTOCOL;
    }
}

/* ---- libcurl's callbacks for one transfer ---- */

/* Both return whether the call is still wanted. */
static bool emit_data(struct transfer *x, struct slice data)
{
    struct upstream_call *c = x->call;

    c->handler->on_data(c, data);
    return x->call != NULL;
}

static void watch_for_close_notify(struct transfer *x)
{
    struct curl_tlssessioninfo *session = NULL;

    if (curl_easy_getinfo(x->easy, CURLINFO_TLS_SSL_PTR, &session) == CURLE_OK && session &&
        session->internals && session->backend == CURLSSLBACKEND_OPENSSL)
        tls_note_close_notify(session->internals, &x->close_notify);
}

static bool emit_head(struct transfer *x, const struct http1_head *head)
{
    x->head_done = true;
    x->close_delimited = !x->http2 && x->req.target->tls && head->body == HTTP1_BODY_UNTIL_CLOSE;
    if (x->close_delimited)
        watch_for_close_notify(x);
    x->call->handler->on_head(x->call, head);
    return x->call != NULL;
}

/* HTTP/2 has no text form; libcurl writes one with "HTTP/2 200" as its first line. In the words of
 * HTTP/1.1 the same strict parser reads both. */
static bool add_head_line(struct transfer *x, struct slice line)
{
    struct slice status = line;

    if (buf_len(&x->head) == 0 &&
        (slice_starts(line, SLICE("HTTP/2 ")) || slice_starts(line, SLICE("HTTP/2.0 ")))) {
        x->http2 = true;
        while (status.n && status.p[0] != ' ')
            status = slice_from(status, 1);
        return buf_append_slice(&x->head, SLICE("HTTP/1.1")) == ERR_OK &&
               buf_append_slice(&x->head, status) == ERR_OK;
    }
    return buf_append_slice(&x->head, line) == ERR_OK;
}

/* A complete head; false ends the transfer. */
static bool on_head_complete(struct transfer *x)
{
    struct http1_head *head = &x->e->head;
    const char *why = "malformed head";
    size_t scanned = 0;
    bool alive = true;

    if (http1_parse_response(buf_slice(&x->head), &scanned, slice_eq(x->req.method, SLICE("HEAD")),
                             head, &why) != HTTP1_DONE) {
        upstream_curl_fail_soon(x, ERR_UPSTREAM_PROTOCOL, why);
        return false;
    }
    if (head->status >= 200) {
        alive = emit_head(x, head);
    } else if (head->status == 101 || ++x->interim > UPSTREAM_MAX_INTERIM) {
        upstream_curl_fail_soon(x, ERR_UPSTREAM_PROTOCOL,
                                head->status == 101 ? "101 without an upgrade"
                                                    : "too many 1xx answers");
        return false;
    } else {
        x->first_byte_us = -1;
        watch_phase(&x->watch, x->req.timeouts.first_byte_ms, ERR_UPSTREAM_FIRST_BYTE_TIMEOUT,
                    clock_mono_us());
    }
    buf_clear(&x->head); /* the views of head end here */
    return alive;
}

size_t upstream_curl_on_header(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *x = arg;
    struct slice line = {data, size * count};

    if (!x->call || x->dropped || x->failed != ERR_OK)
        return 0;
    watch_touch(&x->watch);
    if (x->head_done) /* trailers */
        return line.n;
    if (x->first_byte_us < 0) {
        int64_t now_us = clock_mono_us();

        x->first_byte_us = now_us - x->start_us;
        watch_phase(&x->watch, x->req.timeouts.between_bytes_ms, ERR_UPSTREAM_IDLE_TIMEOUT, now_us);
    }
    if (!add_head_line(x, line)) {
        upstream_curl_fail_soon(x, ERR_UPSTREAM_PROTOCOL, "the answer's head is larger than 64 KB");
        return 0;
    }
    if (line.n <= 2 && (line.p[0] == '\r' || line.p[0] == '\n') && !on_head_complete(x))
        return 0;
    return line.n;
}

size_t upstream_curl_on_body(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *x = arg;
    struct slice piece = {data, size * count};

    if (!x->call || x->dropped || x->failed != ERR_OK)
        return 0;
    if (x->call->paused) {
        x->curl_paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    watch_touch(&x->watch);
    x->received += piece.n;
    if (x->received > (uint64_t)x->req.max_response_bytes) {
        upstream_curl_fail_soon(x, ERR_UPSTREAM_TOO_LARGE,
                                "the answer is larger than max_response_bytes");
        return 0;
    }
    return emit_data(x, piece) ? piece.n : 0;
}

size_t upstream_curl_on_read(char *out, size_t size, size_t count, void *arg)
{
    struct transfer *x = arg;
    size_t room = size * count, n = 0;

    if (!x->call || x->dropped)
        return CURL_READFUNC_ABORT;
    watch_touch(&x->watch);
    while (n < room && x->piece < x->req.body_count) {
        struct slice s = slice_from(x->req.body[x->piece], x->offset);
        size_t part = s.n < room - n ? s.n : room - n;

        if (part)
            memcpy(out + n, s.p, part);
        n += part;
        x->offset += part;
        if (part == s.n) {
            x->piece++;
            x->offset = 0;
        }
    }
    return n;
}

/* libcurl sends again when a pooled connection proves stale. */
int upstream_curl_on_seek(void *arg, curl_off_t offset, int origin)
{
    struct transfer *x = arg;

    if (!x->call || x->dropped || origin != SEEK_SET || offset != 0)
        return CURL_SEEKFUNC_CANTSEEK;
    x->piece = x->offset = 0;
    x->resent = true;
    return CURL_SEEKFUNC_OK;
}

/* The connection stands, the request is about to go. */
int upstream_curl_on_connected(void *arg, char *remote, char *local, int remote_port,
                               int local_port)
{
    struct transfer *x = arg;
    int64_t now_us = clock_mono_us();

    (void)remote;
    (void)local;
    (void)remote_port;
    (void)local_port;
    if (!x->call || x->dropped)
        return CURL_PREREQFUNC_ABORT;
    x->connected = true;
    x->connect_us = now_us > x->start_us ? now_us - x->start_us : 1;
    watch_phase(&x->watch, x->req.timeouts.first_byte_ms, ERR_UPSTREAM_FIRST_BYTE_TIMEOUT, now_us);
    if (x->call->paused)
        watch_hold(&x->watch);
    return CURL_PREREQFUNC_OK;
}
