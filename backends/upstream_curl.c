/* The transport for what the usual one does not do: HTTP/2 (by ALPN, over TLS) and proxies.
 * libcurl's multi interface on the worker's libevent loop. Owns the multi handles and one easy
 * handle per exchange; upstream_curl_request.c sets these up, upstream_curl_answer.c takes what
 * libcurl calls them back with.
 *
 * libcurl forbids its own functions inside its callbacks, and our callers may start, pause, resume
 * and abort inside theirs. So while libcurl is on the stack (in_curl) such wishes only mark the
 * exchange and put it on `ready`; the next turn carries them out. Deadlines are our own (watch.h),
 * so that both transports agree on what each means; libcurl's connect timeout is set beside them
 * because it also divides the time among addresses.
 *
 * HTTP/2 without TLS is refused: libcurl 7.88 breaks nearly every such POST. */
#include "backends/upstream_curl_int.h"

#include <event2/event.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"

#define MAX_IDLE 256 /* connections libcurl keeps, over all targets */

struct curl_state {
    struct upstream *up;    /* borrowed: it owns us */
    struct list engines;    /* of struct engine, owned */
    struct engine *current; /* one of them, or NULL */
};

/* One socket that libcurl watches. Keyed by curl_multi_assign; freed when libcurl removes it. */
struct watched {
    struct event *event;
};

/* ---- life of an exchange ---- */

static void wake(struct transfer *x)
{
    if (list_empty(&x->ready))
        list_push_back(&x->e->ready, &x->ready);
    event_active(x->e->turn, EV_TIMEOUT, 0);
}

/* libcurl 7.88 submits RST_STREAM for a stream that is dropped, but sends it only with the next
 * bytes on that connection: until then the server would go on working. A connection of this stream
 * alone is therefore closed with it; shared ones are nudged on the next turn. */
static void note_cancelled(struct transfer *x)
{
    curl_easy_setopt(x->easy, CURLOPT_FORBID_REUSE, 1L);
    x->e->nudge = true;
    event_active(x->e->turn, EV_TIMEOUT, 0);
}

/* libcurl must not be on the stack. Cancels the transfer at once if it is under way. */
static void drop_transfer(struct transfer *x)
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

static void transfer_free(struct transfer *x)
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

void upstream_curl_fail_soon(struct transfer *x, enum err err, const char *why)
{
    if (x->failed == ERR_OK) {
        x->failed = err;
        x->why = why;
    }
    watch_stop(&x->watch);
    wake(x);
}

static bool was_sent(const struct transfer *x)
{
    long bytes = 0;

    return x->connected && x->easy &&
           curl_easy_getinfo(x->easy, CURLINFO_REQUEST_SIZE, &bytes) == CURLE_OK && bytes > 0;
}

static void finish(struct transfer *x, enum err err, const char *why)
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
    transfer_free(x);
}

/* Hands the transfer to libcurl, which must not be on the stack. */
static void begin(struct transfer *x)
{
    struct engine *e = x->e;
    bool ok;

    x->easy = curl_easy_init();
    ok = x->easy && upstream_curl_set_up(x);
    if (!ok) {
        upstream_curl_fail_soon(x, ERR_UPSTREAM_PROTOCOL, "libcurl refused the request");
        return;
    }
    e->in_curl++;
    ok = curl_multi_add_handle(e->multi, x->easy) == CURLM_OK;
    e->in_curl--;
    if (ok)
        x->begin = RUNNING;
    else
        upstream_curl_fail_soon(x, ERR_INTERNAL, "libcurl refused the transfer");
}

/* ---- the loop ---- */

/* Transfers that libcurl has ended. on_done may do anything, so the queue is asked anew each time.
 */
static void collect(struct engine *e)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(e->multi, &left))) {
        struct transfer *x = NULL;
        CURLcode code = m->data.result;

        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
        if (!x->call)
            continue; /* on ready, to be freed there */
        if (x->failed == ERR_OK)
            x->failed = upstream_curl_error(x, code);
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
        struct transfer *x = CONTAINER_OF(e->exchanges.next, struct transfer, link);

        if (x->call)
            x->call->exchange = NULL;
        transfer_free(x);
    }
    curl_multi_cleanup(e->multi);
    event_free(e->timer);
    event_free(e->turn);
    list_remove(&e->link);
    free(e);
}

static void unpause(struct transfer *x)
{
    struct engine *e = x->e;

    x->curl_paused = false;
    e->in_curl++;
    curl_easy_pause(x->easy, CURLPAUSE_CONT); /* delivers what it has kept */
    e->in_curl--;
    if (x->call && x->failed == ERR_OK)
        act(e, CURL_SOCKET_TIMEOUT, 0); /* x may be gone after this */
}

static void run(struct transfer *x)
{
    if (!x->call)
        transfer_free(x);
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
        struct transfer *x = CONTAINER_OF(it, struct transfer, link);

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
        struct transfer *x = CONTAINER_OF(now.next, struct transfer, ready);

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
    finish(CONTAINER_OF(w, struct transfer, watch), err, err_text(err));
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
    struct transfer *x = mem_zalloc(1, sizeof *x);

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
        upstream_curl_fail_soon(x, ERR_UPSTREAM_PROTOCOL,
                                "the request's head holds a control character");
    else if (req->target->http2 && !req->target->tls)
        upstream_curl_fail_soon(x, ERR_UPSTREAM_PROTOCOL, "HTTP/2 needs TLS");
    else if (e->in_curl)
        wake(x);
    else
        begin(x);
}

static void curl_pause(struct upstream_call *c)
{
    struct transfer *x = c->exchange;

    if (x->connected)
        watch_hold(&x->watch);
    /* upstream_curl_on_body refuses the next piece; libcurl then stops reading and keeps that one
     */
}

static void curl_resume(struct upstream_call *c)
{
    struct transfer *x = c->exchange;

    watch_release(&x->watch);
    wake(x);
}

static bool curl_abort(struct upstream_call *c)
{
    struct transfer *x = c->exchange;
    bool sent = was_sent(x);

    c->exchange = NULL;
    x->call = NULL;
    watch_stop(&x->watch);
    if (x->e->in_curl)
        wake(x);
    else
        transfer_free(x);
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
