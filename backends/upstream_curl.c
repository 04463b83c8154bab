/* The transport for what the usual one does not do: HTTP/2 (by ALPN, over TLS) and proxies.
 * libcurl's multi interface on the worker's libevent loop; the only file that includes libcurl.
 * Owns the multi handles and one easy handle per exchange.
 *
 * libcurl forbids its own functions inside its callbacks, and our callers may start, pause, resume
 * and abort inside theirs. So while libcurl is on the stack (in_curl) such wishes only mark the
 * exchange and put it on `ready`; the next turn carries them out. Deadlines are our own (watch.h),
 * so that both transports agree on what each means; libcurl's connect timeout is set beside them
 * because it also divides the time among addresses.
 *
 * HTTP/2 without TLS is refused: libcurl 7.88 breaks nearly every such POST. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <event2/event.h>
#include "backends/upstream_int.h"
#include "backends/upstream_tls.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

#define MAX_IDLE 256 /* connections libcurl keeps, over all targets */

/* A multi handle with its connections. libcurl cannot close idle connections alone, so closing them
 * means that new transfers get a new engine, and the old one goes when its last transfer has ended.
 */
struct engine {
    struct list link;    /* in curl_state.engines */
    struct upstream *up; /* borrowed */
    CURLM *multi;        /* owned */
    struct list exchanges, ready;
    bool nudge;                 /* see note_cancelled */
    struct event *timer, *turn; /* owned */
    int in_curl;                /* depth of libcurl on the stack */
    bool retired;               /* no new transfers */
    struct http1_head head;     /* valid during on_head */
};

struct curl_state {
    struct upstream *up;    /* borrowed: it owns us */
    struct list engines;    /* of struct engine, owned */
    struct engine *current; /* one of them, or NULL */
};

/* One socket that libcurl watches. Keyed by curl_multi_assign; freed when libcurl removes it. */
struct watched {
    struct event *event;
};

enum begin { QUEUED, RUNNING, ENDED };

struct exchange {
    struct list link, ready;
    struct watch watch;
    struct engine *e;
    struct upstream_call *call; /* NULL: aborted, to be freed on the next turn */
    struct upstream_request req;
    CURL *easy;                 /* owned */
    struct curl_slist *headers; /* owned */
    enum begin begin;
    bool dropped; /* libcurl's callbacks find nobody any more */
    bool connected, resent, head_done, curl_paused, http2;
    bool multiplexed; /* HTTP/2 was asked for: the connection may be shared */
    bool close_delimited,
        close_notify; /* over TLS the end of such a body counts only with close_notify */
    enum err failed;  /* our own verdict, before libcurl's */
    const char *why;
    size_t piece, offset; /* of the request body: where reading stands */
    struct buf head;
    int interim;
    uint64_t received;
    int64_t start_us, first_byte_us, connect_us;
    char error[CURL_ERROR_SIZE];
};

/* ---- life of an exchange ---- */

static void wake(struct exchange *x)
{
    if (list_empty(&x->ready))
        list_push_back(&x->e->ready, &x->ready);
    event_active(x->e->turn, EV_TIMEOUT, 0);
}

/* libcurl 7.88 submits RST_STREAM for a stream that is dropped, but sends it only with the next
 * bytes on that connection: until then the server would go on working. A connection of this stream
 * alone is therefore closed with it; shared ones are nudged on the next turn. */
static void note_cancelled(struct exchange *x)
{
    curl_easy_setopt(x->easy, CURLOPT_FORBID_REUSE, 1L);
    x->e->nudge = true;
    event_active(x->e->turn, EV_TIMEOUT, 0);
}

/* libcurl must not be on the stack. Cancels the transfer at once if it is under way. */
static void drop_transfer(struct exchange *x)
{
    x->dropped = true;
    if (!x->easy)
        return;
    if (x->begin == RUNNING &&
        x->curl_paused) { /* else libcurl 7.88 leaks the piece it has kept (HTTP/2) */
        x->e->in_curl++;
        curl_easy_pause(x->easy, CURLPAUSE_CONT);
        x->e->in_curl--;
    }
    if (x->begin == RUNNING && x->multiplexed)
        note_cancelled(x);
    if (x->begin != QUEUED)
        curl_multi_remove_handle(x->e->multi, x->easy);
    curl_easy_cleanup(x->easy);
    x->easy = NULL;
}

static void exchange_free(struct exchange *x)
{
    drop_transfer(x);
    watch_stop(&x->watch);
    list_remove(&x->link);
    list_remove(&x->ready);
    if (x->e->retired)
        event_active(x->e->turn, EV_TIMEOUT, 0);
    curl_slist_free_all(x->headers);
    buf_clear(&x->head);
    free(x);
}

static void fail_soon(struct exchange *x, enum err err, const char *why)
{
    if (x->failed == ERR_OK) {
        x->failed = err;
        x->why = why;
    }
    watch_stop(&x->watch);
    wake(x);
}

static bool was_sent(const struct exchange *x)
{
    long bytes = 0;

    return x->connected && x->easy &&
           curl_easy_getinfo(x->easy, CURLINFO_REQUEST_SIZE, &bytes) == CURLE_OK && bytes > 0;
}

static void finish(struct exchange *x, enum err err, const char *why)
{
    struct upstream_call *c = x->call;
    long connections = 0;
    struct upstream_result r = {
        .err = err, .why = why ? why : "", .first_byte_us = x->first_byte_us};

    if (x->easy)
        curl_easy_getinfo(x->easy, CURLINFO_NUM_CONNECTS, &connections);
    r.reused = x->connected && connections == 0;
    r.connect_us = r.reused ? 0 : x->connect_us;
    r.sent = was_sent(x);
    r.resent = x->resent;
    r.total_us = clock_mono_us() - x->start_us;
    if (connections > 0 && x->e->up->stats)
        stats_add(stats_cell(x->e->up->stats, STAT_UPSTREAM_CONNECTIONS,
                             (const char *const[]){x->req.target->backend}),
                  connections);
    drop_transfer(x);
    watch_stop(&x->watch);
    list_remove(&x->link);
    list_remove(&x->ready);
    c->exchange = NULL;
    c->handler->on_done(c, &r);
    exchange_free(x);
}

/* ---- libcurl's errors in our words ---- */

/* Before our connect phase is over nothing was reached; after the head, an end is a cut. */
static enum err translate(const struct exchange *x, CURLcode code)
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
static bool emit_data(struct exchange *x, struct slice data)
{
    struct upstream_call *c = x->call;

    c->handler->on_data(c, data);
    return x->call != NULL;
}

static void watch_for_close_notify(struct exchange *x)
{
    struct curl_tlssessioninfo *session = NULL;

    if (curl_easy_getinfo(x->easy, CURLINFO_TLS_SSL_PTR, &session) == CURLE_OK && session &&
        session->internals && session->backend == CURLSSLBACKEND_OPENSSL)
        tls_note_close_notify(session->internals, &x->close_notify);
}

static bool emit_head(struct exchange *x, const struct http1_head *head)
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
static bool add_head_line(struct exchange *x, struct slice line)
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
static bool on_head_complete(struct exchange *x)
{
    struct http1_head *head = &x->e->head;
    const char *why = "malformed head";
    size_t scanned = 0;
    bool alive = true;

    if (http1_parse_response(buf_slice(&x->head), &scanned, slice_eq(x->req.method, SLICE("HEAD")),
                             head, &why) != HTTP1_DONE) {
        fail_soon(x, ERR_UPSTREAM_PROTOCOL, why);
        return false;
    }
    if (head->status >= 200) {
        alive = emit_head(x, head);
    } else if (head->status == 101 || ++x->interim > UPSTREAM_MAX_INTERIM) {
        fail_soon(x, ERR_UPSTREAM_PROTOCOL,
                  head->status == 101 ? "101 without an upgrade" : "too many 1xx answers");
        return false;
    } else {
        x->first_byte_us = -1;
        watch_phase(&x->watch, x->req.timeouts.first_byte_ms, ERR_UPSTREAM_FIRST_BYTE_TIMEOUT,
                    clock_mono_us());
    }
    buf_clear(&x->head); /* the views of head end here */
    return alive;
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
    struct exchange *x = arg;
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
        fail_soon(x, ERR_UPSTREAM_PROTOCOL, "the answer's head is larger than 64 KB");
        return 0;
    }
    if (line.n <= 2 && (line.p[0] == '\r' || line.p[0] == '\n') && !on_head_complete(x))
        return 0;
    return line.n;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct exchange *x = arg;
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
        fail_soon(x, ERR_UPSTREAM_TOO_LARGE, "the answer is larger than max_response_bytes");
        return 0;
    }
    return emit_data(x, piece) ? piece.n : 0;
}

static size_t on_read(char *out, size_t size, size_t count, void *arg)
{
    struct exchange *x = arg;
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
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct exchange *x = arg;

    if (!x->call || x->dropped || origin != SEEK_SET || offset != 0)
        return CURL_SEEKFUNC_CANTSEEK;
    x->piece = x->offset = 0;
    x->resent = true;
    return CURL_SEEKFUNC_OK;
}

/* The connection stands, the request is about to go. */
static int on_connected(void *arg, char *remote, char *local, int remote_port, int local_port)
{
    struct exchange *x = arg;
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

/* ---- setting a transfer up ---- */

static bool add_header(struct exchange *x, const char *line)
{
    struct curl_slist *longer = curl_slist_append(x->headers, line);

    if (longer)
        x->headers = longer;
    return longer != NULL;
}

/* "Name: value"; libcurl takes "Name;" for a header without a value, and "Name:" to leave one of
 * its own out. */
static bool add_request_headers(struct exchange *x)
{
    struct buf line;
    bool ok = true;

    buf_init(&line, 1024 * 1024);
    for (size_t i = 0; ok && i < x->req.header_count; i++) {
        const struct http1_header *h = &x->req.headers[i];

        buf_reset(&line);
        ok = buf_append_slice(&line, h->name) == ERR_OK &&
             buf_append_slice(&line, h->value.n ? SLICE(": ") : SLICE(";")) == ERR_OK &&
             buf_append_slice(&line, h->value) == ERR_OK && buf_append(&line, "", 1) == ERR_OK &&
             add_header(x, buf_slice(&line).p);
    }
    buf_reset(&line);
    ok = ok && buf_printf(&line, "Host: %s", x->req.target->authority) == ERR_OK &&
         buf_append(&line, "", 1) == ERR_OK && add_header(x, buf_slice(&line).p);
    buf_clear(&line);
    return ok;
}

static bool own_headers_off(struct exchange *x)
{
    static const char *const libcurls[] = {"Accept", "Content-Type", "User-Agent"};

    for (size_t i = 0; i < sizeof libcurls / sizeof *libcurls; i++) {
        char line[32];
        bool given = false;

        for (size_t h = 0; h < x->req.header_count; h++)
            given = given || slice_ieq(x->req.headers[h].name, slice_str(libcurls[i]));
        snprintf(line, sizeof line, "%s:", libcurls[i]);
        if (!given && !add_header(x, line))
            return false;
    }
    if (x->req.target->max_idle_connections <= 0 && !add_header(x, "Connection: close"))
        return false;
    return add_header(x, "Expect:") && add_header(x, "Accept-Encoding: identity");
}

#define OPT(option, value)                                                                         \
    do {                                                                                           \
        if (curl_easy_setopt(x->easy, (option), (value)) != CURLE_OK)                              \
            return false;                                                                          \
    } while (0)

static bool set_url(struct exchange *x)
{
    const struct upstream_target *t = x->req.target;
    bool v6 = strchr(t->host, ':') != NULL;
    struct buf url;
    bool ok;

    buf_init(&url, 1024 * 1024);
    ok = buf_printf(&url, "%s://%s%s%s:%u", t->tls ? "https" : "http", v6 ? "[" : "", t->host,
                    v6 ? "]" : "", (unsigned)t->port) == ERR_OK &&
         buf_append_slice(&url, x->req.path) == ERR_OK && buf_append(&url, "", 1) == ERR_OK &&
         curl_easy_setopt(x->easy, CURLOPT_URL, buf_slice(&url).p) == CURLE_OK; /* copied */
    buf_clear(&url);
    return ok;
}

static bool set_method(struct exchange *x)
{
    uint64_t body_bytes = upstream_body_bytes(&x->req);
    char method[32];

    if (x->req.method.n >= sizeof method)
        return false;
    memcpy(method, x->req.method.p, x->req.method.n);
    method[x->req.method.n] = '\0';
    if (strcmp(method, "HEAD") == 0) {
        OPT(CURLOPT_NOBODY, 1L);
        return true;
    }
    if (body_bytes || upstream_method_has_body(x->req.method)) {
        OPT(CURLOPT_POST, 1L);
        OPT(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_bytes);
        OPT(CURLOPT_READFUNCTION, on_read);
        OPT(CURLOPT_READDATA, x);
        OPT(CURLOPT_SEEKFUNCTION, on_seek);
        OPT(CURLOPT_SEEKDATA, x);
    } else {
        OPT(CURLOPT_HTTPGET, 1L);
    }
    OPT(CURLOPT_CUSTOMREQUEST, method);
    return true;
}

static bool set_security(struct exchange *x)
{
    const struct upstream_target *t = x->req.target;

    OPT(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    OPT(CURLOPT_SSL_VERIFYPEER, t->tls_verify ? 1L : 0L);
    OPT(CURLOPT_SSL_VERIFYHOST, t->tls_verify ? 2L : 0L);
    if (t->tls_ca_file) {
        OPT(CURLOPT_CAINFO, t->tls_ca_file);
        OPT(CURLOPT_CAPATH, NULL);
    }
    /* "" also keeps libcurl from reading proxies out of the environment */
    OPT(CURLOPT_PROXY, t->proxy ? t->proxy : "");
    OPT(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    return true;
}

static bool set_transfer(struct exchange *x)
{
    bool http2 = x->req.target->http2 && x->req.target->tls;

    x->multiplexed = http2;
    OPT(CURLOPT_PRIVATE, x);
    OPT(CURLOPT_ERRORBUFFER, x->error);
    OPT(CURLOPT_NOSIGNAL, 1L);
    OPT(CURLOPT_FOLLOWLOCATION, 0L);
    OPT(CURLOPT_PATH_AS_IS, 1L);
    OPT(CURLOPT_PROTOCOLS_STR, "http,https");
    OPT(CURLOPT_HTTP_VERSION, http2 ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
    OPT(CURLOPT_PIPEWAIT, http2 ? 1L : 0L);
    OPT(CURLOPT_TCP_KEEPALIVE, 1L);
    OPT(CURLOPT_HEADERFUNCTION, on_header);
    OPT(CURLOPT_HEADERDATA, x);
    OPT(CURLOPT_WRITEFUNCTION, on_body);
    OPT(CURLOPT_WRITEDATA, x);
    OPT(CURLOPT_PREREQFUNCTION, on_connected);
    OPT(CURLOPT_PREREQDATA, x);
    OPT(CURLOPT_HTTPHEADER, x->headers);
    if (x->req.timeouts.connect_ms > 0)
        OPT(CURLOPT_CONNECTTIMEOUT_MS, (long)x->req.timeouts.connect_ms);
    if (x->req.target->max_idle_connections <= 0)
        OPT(CURLOPT_FORBID_REUSE, 1L);
    return true;
}

/* Hands the transfer to libcurl, which must not be on the stack. */
static void begin(struct exchange *x)
{
    struct engine *e = x->e;
    bool ok;

    x->easy = curl_easy_init();
    ok = x->easy && add_request_headers(x) && own_headers_off(x) && set_url(x) && set_method(x) &&
         set_security(x) && set_transfer(x);
    if (!ok) {
        fail_soon(x, ERR_UPSTREAM_PROTOCOL, "libcurl refused the request");
        return;
    }
    e->in_curl++;
    ok = curl_multi_add_handle(e->multi, x->easy) == CURLM_OK;
    e->in_curl--;
    if (ok)
        x->begin = RUNNING;
    else
        fail_soon(x, ERR_INTERNAL, "libcurl refused the transfer");
}

/* ---- the loop ---- */

/* Transfers that libcurl has ended. on_done may do anything, so the queue is asked anew each time.
 */
static void collect(struct engine *e)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(e->multi, &left))) {
        struct exchange *x = NULL;
        CURLcode code = m->data.result;

        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
        if (!x->call)
            continue; /* on ready, to be freed there */
        if (x->failed == ERR_OK)
            x->failed = translate(x, code);
        if (x->failed != ERR_OK && !x->why)
            x->why = x->error[0] ? x->error
                     : code      ? curl_easy_strerror(code)
                                 : "closed without close_notify";
        x->begin = ENDED;
        watch_stop(&x->watch);
        if (!x->call->paused || x->failed != ERR_OK) /* else resume says it */
            finish(x, x->failed, x->why);
    }
}

static void act(struct engine *e, curl_socket_t fd, int what)
{
    int running;

    e->in_curl++;
    curl_multi_socket_action(e->multi, fd, what, &running);
    e->in_curl--;
    collect(e);
}

static void on_socket_event(evutil_socket_t fd, short what, void *arg)
{
    act(arg, fd, (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void unwatch(struct engine *e, curl_socket_t fd, struct watched *w)
{
    curl_multi_assign(e->multi, fd, NULL);
    event_free(w->event);
    free(w);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct engine *e = arg;
    struct watched *w = socket_arg;
    short events = EV_PERSIST;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w)
            unwatch(e, fd, w);
        return 0;
    }
    if (what & CURL_POLL_IN)
        events |= EV_READ;
    if (what & CURL_POLL_OUT)
        events |= EV_WRITE;
    if (w) {
        event_del(w->event);
    } else {
        w = mem_zalloc(1, sizeof *w);
        w->event = event_new(e->up->base, fd, events, on_socket_event, e);
        curl_multi_assign(e->multi, fd, w);
    }
    event_assign(w->event, e->up->base, fd, events, on_socket_event, e);
    return event_add(w->event, NULL) == 0 ? 0 : -1;
}

/* Never libcurl from here. A timer of 0 ms is "soon": made active at once, which saves a turn of
 * the loop. */
static int on_timer_change(CURLM *multi, long timeout_ms, void *arg)
{
    struct engine *e = arg;
    struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000};

    (void)multi;
    if (timeout_ms < 0)
        event_del(e->timer);
    else if (timeout_ms == 0)
        event_active(e->timer, EV_TIMEOUT, 0);
    else
        event_add(e->timer, &tv);
    return 0;
}

static void engine_free(struct engine *e)
{
    while (!list_empty(&e->exchanges)) {
        struct exchange *x = CONTAINER_OF(e->exchanges.next, struct exchange, link);

        if (x->call)
            x->call->exchange = NULL;
        exchange_free(x);
    }
    curl_multi_cleanup(e->multi);
    event_free(e->timer);
    event_free(e->turn);
    list_remove(&e->link);
    free(e);
}

static void unpause(struct exchange *x)
{
    struct engine *e = x->e;

    x->curl_paused = false;
    e->in_curl++;
    curl_easy_pause(x->easy, CURLPAUSE_CONT); /* delivers what it has kept */
    e->in_curl--;
    if (x->call && x->failed == ERR_OK)
        act(e, CURL_SOCKET_TIMEOUT, 0); /* x may be gone after this */
}

static void run(struct exchange *x)
{
    if (!x->call)
        exchange_free(x);
    else if (x->failed != ERR_OK)
        finish(x, x->failed, x->why);
    else if (x->begin == QUEUED)
        begin(x);
    else if (x->call->paused)
        return;
    else if (x->begin == ENDED)
        finish(x, ERR_OK, NULL);
    else if (x->curl_paused)
        unpause(x);
}

/* Pausing a stream and going on changes its window twice, and telling the server so takes along
 * what waits for the connection. Which streams share one, libcurl does not say before their end:
 * each is nudged. */
static void nudge(struct engine *e)
{
    e->nudge = false;
    e->in_curl++;
    LIST_FOREACH (it, &e->exchanges) {
        struct exchange *x = CONTAINER_OF(it, struct exchange, link);

        if (x->begin != RUNNING || x->dropped || x->curl_paused || !x->multiplexed)
            continue;
        curl_easy_pause(x->easy, CURLPAUSE_RECV);
        curl_easy_pause(x->easy, CURLPAUSE_CONT);
    }
    e->in_curl--;
}

static void turn(evutil_socket_t fd, short what, void *arg)
{
    struct engine *e = arg;
    struct list now;

    (void)fd;
    (void)what;
    list_init(&now);
    while (!list_empty(&e->ready)) {
        struct list *first = e->ready.next;

        list_remove(first);
        list_push_back(&now, first);
    }
    while (!list_empty(&now)) {
        struct exchange *x = CONTAINER_OF(now.next, struct exchange, ready);

        list_remove(&x->ready);
        run(x);
    }
    if (e->nudge)
        nudge(e);
    if (e->retired && list_empty(&e->exchanges))
        engine_free(e);
}

static void expired(struct watch *w, enum err err)
{
    finish(CONTAINER_OF(w, struct exchange, watch), err, err_text(err));
}

/* ---- the transport ---- */

static struct engine *engine_new(struct upstream *u)
{
    struct engine *e = mem_zalloc(1, sizeof *e);

    e->up = u;
    list_init(&e->exchanges);
    list_init(&e->ready);
    e->multi = curl_multi_init();
    e->timer = event_new(u->base, -1, 0, on_timer, e);
    e->turn = event_new(u->base, -1, 0, turn, e);
    mem_need(e->multi);
    mem_need(e->timer);
    mem_need(e->turn);
    curl_multi_setopt(e->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(e->multi, CURLMOPT_SOCKETDATA, e);
    curl_multi_setopt(e->multi, CURLMOPT_TIMERFUNCTION, on_timer_change);
    curl_multi_setopt(e->multi, CURLMOPT_TIMERDATA, e);
    curl_multi_setopt(e->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
    curl_multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, (long)MAX_IDLE);
    return e;
}

static void *curl_open(struct upstream *u)
{
    struct curl_state *s = mem_zalloc(1, sizeof *s);

    s->up = u;
    list_init(&s->engines);
    return s;
}

static struct engine *engine_now(struct curl_state *s)
{
    if (!s->current) {
        s->current = engine_new(s->up);
        list_push_back(&s->engines, &s->current->link);
    }
    return s->current;
}

static void curl_start(void *state, struct upstream_call *c, const struct upstream_request *req)
{
    struct engine *e = engine_now(state);
    struct exchange *x = mem_zalloc(1, sizeof *x);

    x->e = e;
    x->call = c;
    x->req = *req;
    x->first_byte_us = -1;
    x->start_us = clock_mono_us();
    buf_init(&x->head, UPSTREAM_MAX_HEAD_BYTES);
    list_init(&x->ready);
    list_push_back(&e->exchanges, &x->link);
    c->exchange = x;
    watch_start(&e->up->watches, &x->watch, expired, req->timeouts.total_ms, x->start_us);
    watch_phase(&x->watch, req->timeouts.connect_ms, ERR_UPSTREAM_CONNECT_TIMEOUT, x->start_us);
    if (!upstream_request_clean(req))
        fail_soon(x, ERR_UPSTREAM_PROTOCOL, "the request's head holds a control character");
    else if (req->target->http2 && !req->target->tls)
        fail_soon(x, ERR_UPSTREAM_PROTOCOL, "HTTP/2 needs TLS");
    else if (e->in_curl)
        wake(x);
    else
        begin(x);
}

static void curl_pause(struct upstream_call *c)
{
    struct exchange *x = c->exchange;

    if (x->connected)
        watch_hold(&x->watch);
    /* on_body refuses the next piece; libcurl then stops reading and keeps that one */
}

static void curl_resume(struct upstream_call *c)
{
    struct exchange *x = c->exchange;

    watch_release(&x->watch);
    wake(x);
}

static bool curl_abort(struct upstream_call *c)
{
    struct exchange *x = c->exchange;
    bool sent = was_sent(x);

    c->exchange = NULL;
    x->call = NULL;
    watch_stop(&x->watch);
    if (x->e->in_curl)
        wake(x);
    else
        exchange_free(x);
    return sent;
}

static void curl_close_idle(void *state)
{
    struct curl_state *s = state;

    if (!s->current)
        return;
    s->current->retired = true;
    event_active(s->current->turn, EV_TIMEOUT, 0);
    s->current = NULL;
}

static void curl_close(void *state)
{
    struct curl_state *s = state;

    while (!list_empty(&s->engines))
        engine_free(CONTAINER_OF(s->engines.next, struct engine, link));
    free(s);
}

const struct upstream_transport upstream_curl = {
    .name = "curl",
    .open = curl_open,
    .close = curl_close,
    .start = curl_start,
    .pause = curl_pause,
    .resume = curl_resume,
    .abort = curl_abort,
    .close_idle = curl_close_idle,
};
