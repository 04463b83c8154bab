/* One model server and its child: start, readiness, output, end, and who waits for it. Writes down
 * what happens and asks launcher_review() what follows. Runs on the launcher's thread, under its
 * lock, but for the events' own entry points, which take it. */
#include "backends/launcher_int.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "backends/resolver.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define PROBE_EVERY_US INT64_C(50000)
#define PROBE_MS       5000 /* one probe; servers answer 503 or nothing while they load */
#define READ_BYTES     65536
#define DRAIN_READS    16 /* what a grandchild goes on writing after its parent's end is not ours */

/* ---- wants ---- */

void launcher_server_unqueue(struct launcher_want *w)
{
    w->queued_on->waiting--;
    w->queued_on = NULL;
    list_remove(&w->msg.link);
}

/* Hands w back. */
void launcher_server_answer(struct launcher_want *w, enum err err, const char *why)
{
    w->err = err;
    err_say(&w->why, "%s", why);
    mailbox_post(w->reply_to, &w->msg);
}

struct launcher_want *launcher_server_oldest(const struct launcher_server *s)
{
    return list_empty(&s->wants) ? NULL
                                 : CONTAINER_OF(s->wants.next, struct launcher_want, msg.link);
}

void launcher_server_answer_all(struct launcher_server *s, enum err err, const char *why)
{
    struct launcher_want *w;

    while ((w = launcher_server_oldest(s))) {
        launcher_server_unqueue(w);
        launcher_server_answer(w, err, why);
    }
}

void launcher_server_grant_all(struct launcher_server *s)
{
    struct launcher_want *w;

    while ((w = launcher_server_oldest(s)) && gate_enter(&s->gate)) {
        launcher_server_unqueue(w);
        launcher_server_answer(w, ERR_OK, "");
    }
}

/* ---- states ---- */

void launcher_server_set_state(struct launcher_server *s, enum launcher_state state)
{
    char name[128];

    if (s->state == state)
        return;
    log_line(
        LOG_INFO, "launcher", "model server", "name=%s state=%s was=%s after_ms=%" PRId64 " pid=%d",
        log_quote(slice_str(s->name), name, sizeof name), launcher_state_name(state),
        launcher_state_name(s->state), (clock_mono_us() - s->since_us) / 1000, (int)s->child.pid);
    s->state = state;
    s->since_us = clock_mono_us();
}

static void log_failure(const struct launcher_server *s)
{
    char name[128], why[600];

    log_line(LOG_WARN, "launcher", "model server failed", "name=%s why=%s in_a_row=%" PRId64,
             log_quote(slice_str(s->name), name, sizeof name),
             log_quote(slice_str(s->last_error.s), why, sizeof why), s->failures_in_a_row);
}

/* base * 2^(n-1), at most max. */
static int64_t backoff_us(const struct launcher_spec *spec, int64_t n)
{
    int64_t ms = spec->backoff_base_ms;

    while (--n > 0 && ms < spec->backoff_max_ms)
        ms *= 2;
    return (ms < spec->backoff_max_ms ? ms : spec->backoff_max_ms) * 1000;
}

/* last_error was just set. Who waits is told; the next want may try again after the back-off. */
static void book_failure(struct launcher_server *s)
{
    int64_t now_us = clock_mono_us(), wait_us;
    bool was_ready = s->state == LAUNCHER_READY;

    if (was_ready && now_us - s->since_us >= s->spec->backoff_max_ms * 1000)
        s->failures_in_a_row = 0;
    s->failures++;
    s->failures_in_a_row++;
    wait_us =
        was_ready && s->failures_in_a_row == 1 ? 0 : backoff_us(s->spec, s->failures_in_a_row);
    s->not_before_us = now_us + wait_us;
    s->failed = true;
    log_failure(s);
    launcher_server_answer_all(s, ERR_UPSTREAM_CONNECT, s->last_error.s);
}

static void stop_probing(struct launcher_server *s)
{
    upstream_abort(&s->probe);
}

/* The gate is closed, or was never opened. */
void launcher_server_stop(struct launcher_server *s)
{
    stop_probing(s);
    child_signal(&s->child, SIGTERM);
    s->kill_due_us = clock_mono_us() + s->spec->stop_ms * 1000;
    s->killed_us = 0;
    launcher_server_set_state(s, LAUNCHER_STOPPING);
}

void launcher_server_kill(struct launcher_server *s)
{
    child_signal(&s->child, SIGKILL);
    s->killed_us = clock_mono_us();
}

/* ---- the child's output ---- */

static void log_line_of(struct launcher_server *s)
{
    char name[128], text[LAUNCHER_LINE_BYTES * 2];

    if (s->line_bytes)
        log_line(LOG_DEBUG, "launcher", "output", "name=%s line=%s",
                 log_quote(slice_str(s->name), name, sizeof name),
                 log_quote(slice_make(s->line, s->line_bytes), text, sizeof text));
    s->line_bytes = 0;
}

static void log_output(struct launcher_server *s, struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\n' || s->line_bytes == sizeof s->line)
            log_line_of(s);
        if (text.p[i] != '\n')
            s->line[s->line_bytes++] = text.p[i];
    }
}

/* false: nothing more to come, now (EAGAIN) or ever. */
static bool read_output(struct launcher_server *s, bool *closed)
{
    char bytes[READ_BYTES];
    ssize_t n = read(s->child.out_fd, bytes, sizeof bytes);

    *closed = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
    if (n <= 0)
        return false;
    tail_write(&s->tail, slice_make(bytes, (size_t)n));
    if (log_enabled(LOG_DEBUG))
        log_output(s, slice_make(bytes, (size_t)n));
    return true;
}

static void on_output(evutil_socket_t fd, short what, void *arg)
{
    struct launcher_server *s = arg;
    bool closed;

    (void)fd;
    (void)what;
    pthread_mutex_lock(&s->launcher->lock);
    read_output(s, &closed);
    if (closed)
        event_del(s->output); /* it closed its output and lives on */
    pthread_mutex_unlock(&s->launcher->lock);
}

/* ": its last words", or nothing. */
static const char *last_words(struct launcher_server *s, char *out, size_t out_bytes)
{
    char words[380];

    tail_last_words(&s->tail, s->tail_start, words, sizeof words);
    snprintf(out, out_bytes, "%s%s", words[0] ? "; last output: " : "; it wrote nothing", words);
    return out;
}

/* ---- start ---- */

/* Says why when something else has the port: its answers would pass for our child's. */
static bool port_taken(const struct launcher_spec *spec, struct err_text *why)
{
    const char *host = strcmp(spec->host, "localhost") == 0 ? "127.0.0.1" : spec->host;
    struct resolver_addrs a;
    int one = 1, fd;
    bool taken;

    if (!resolver_numeric(host, spec->port, &a))
        return false;
    fd = socket(a.addr[0].u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    /* Connections of an earlier child in TIME_WAIT do not count; a listener does. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    taken = bind(fd, &a.addr[0].u.sa, a.addr[0].len) < 0 && errno == EADDRINUSE;
    close(fd);
    if (taken)
        err_say(why, "cannot start: another process listens on %s port %u", spec->host,
                (unsigned)spec->port);
    return taken;
}

static void on_end(evutil_socket_t fd, short what, void *arg);

static void watch_child(struct launcher_server *s)
{
    struct event_base *base = s->launcher->base;

    s->ended = event_new(base, s->child.pidfd, EV_READ | EV_PERSIST, on_end, s);
    s->output = event_new(base, s->child.out_fd, EV_READ | EV_PERSIST, on_output, s);
    mem_need(s->ended);
    mem_need(s->output);
    event_add(s->ended, NULL);
    event_add(s->output, NULL);
}

void launcher_server_start(struct launcher_server *s)
{
    const struct launcher_spec *spec = s->spec;
    bool v6 = strchr(spec->host, ':') != NULL;

    s->starts++;
    s->failed = s->reaped = false;
    s->tail_start = s->tail.written;
    s->probe_status = 0;
    if (port_taken(spec, &s->last_error) ||
        !child_start(&s->child, spec->argv, spec->env, spec->directory, -1, &s->last_error)) {
        book_failure(s);
        launcher_server_set_state(s, LAUNCHER_FAILED);
        return;
    }
    s->started_us = clock_mono_us();
    s->probe_due_us = s->started_us;
    snprintf(s->authority, sizeof s->authority, v6 ? "[%s]:%u" : "%s:%u", spec->host,
             (unsigned)spec->port);
    s->target = (struct upstream_target){
        .backend = s->name, .host = spec->host, .port = spec->port, .authority = s->authority};
    watch_child(s);
    launcher_server_set_state(s, LAUNCHER_STARTING);
}

/* ---- readiness ---- */

static void discard_ready(struct message *m)
{
    free(CONTAINER_OF(m, struct launcher_ready, msg));
}

static void tell_watcher(const struct launcher_server *s)
{
    struct launcher_ready *r;

    if (!s->launcher->watcher)
        return;
    r = mem_zalloc(1, sizeof *r);
    r->msg.deliver = s->launcher->on_ready;
    r->msg.discard = discard_ready;
    snprintf(r->name, sizeof r->name, "%s", s->name);
    mailbox_post(s->launcher->watcher, &r->msg);
}

static void become_ready(struct launcher_server *s)
{
    s->start_took_us = clock_mono_us() - s->started_us;
    launcher_server_set_state(s, LAUNCHER_READY);
    tell_watcher(s);
    atomic_store_explicit(&s->gate.last_use_us, s->since_us, memory_order_relaxed);
}

static void on_probe_head(struct upstream_call *c, const struct http1_head *head)
{
    struct launcher_server *s = c->owner;

    s->probe_status = head->status;
}

static void on_probe_data(struct upstream_call *c, struct slice data)
{
    (void)c;
    (void)data;
}

static void on_probe_done(struct upstream_call *c, const struct upstream_result *r)
{
    struct launcher_server *s = c->owner;
    bool reached = r->err != ERR_UPSTREAM_CONNECT && r->err != ERR_UPSTREAM_CONNECT_TIMEOUT &&
                   r->err != ERR_UPSTREAM_DNS;

    pthread_mutex_lock(&s->launcher->lock);
    s->probe_due_us = clock_mono_us() + PROBE_EVERY_US;
    if (s->state == LAUNCHER_STARTING && reached &&
        (!s->spec->ready_path || s->probe_status == 200))
        become_ready(s);
    launcher_review(s->launcher);
    pthread_mutex_unlock(&s->launcher->lock);
}

static const struct upstream_handler probe_handler = {
    .on_head = on_probe_head, .on_data = on_probe_data, .on_done = on_probe_done};

void launcher_server_probe(struct launcher_server *s)
{
    const char *path = s->spec->ready_path ? s->spec->ready_path : "/";
    struct upstream_request req = {
        .target = &s->target,
        .method = SLICE("GET"),
        .path = slice_str(path),
        .timeouts = {PROBE_MS, PROBE_MS, PROBE_MS, PROBE_MS},
        .max_response_bytes = 1 << 20,
    };

    s->probe_status = 0;
    s->probe.owner = s;
    upstream_start(s->launcher->upstream, &s->probe, &probe_handler, &req);
}

void launcher_server_give_up(struct launcher_server *s)
{
    char words[420], last[64] = "nobody listened on its port";

    if (s->probe_status)
        snprintf(last, sizeof last, "the last probe got status %d", s->probe_status);
    else if (upstream_active(&s->probe))
        snprintf(last, sizeof last, "the last probe got no answer");
    err_say(&s->last_error, "'%s' was not ready within %" PRId64 " ms: %s%s", s->spec->argv[0],
            s->spec->ready_timeout_ms, last, last_words(s, words, sizeof words));
    book_failure(s);
    launcher_server_stop(s);
}

/* ---- the end of a child ---- */

static void on_end(evutil_socket_t fd, short what, void *arg)
{
    struct launcher_server *s = arg;
    struct err_text how;
    char words[420];
    bool closed;

    (void)fd;
    (void)what;
    pthread_mutex_lock(&s->launcher->lock);
    for (int i = 0; i < DRAIN_READS && read_output(s, &closed); i++)
        ;
    if (child_reap(&s->child, &how)) {
        event_del(s->ended);
        s->reaped = true;
        if (s->state != LAUNCHER_STOPPING) {
            err_say(&s->last_error, "'%s' ended %s: %s%s", s->spec->argv[0],
                    s->state == LAUNCHER_READY ? "while it served" : "before it was ready", how.s,
                    last_words(s, words, sizeof words));
            gate_close(&s->gate);
            stop_probing(s);
            book_failure(s);
            launcher_server_kill(s); /* what it leaves behind holds its port, its GPU */
            launcher_server_set_state(s, LAUNCHER_STOPPING);
        }
        launcher_review(s->launcher);
    }
    pthread_mutex_unlock(&s->launcher->lock);
}

/* Nothing of it is left. */
void launcher_server_finish(struct launcher_server *s)
{
    log_line_of(s);
    event_free(s->ended);
    event_free(s->output);
    s->ended = s->output = NULL;
    child_clear(&s->child);
    launcher_server_set_state(s, s->failed ? LAUNCHER_FAILED : LAUNCHER_STOPPED);
}
