/* Owns the child processes and decides when each starts and stops.
 *
 * One thread with a loop: children's ends and output, readiness probes, one timer, and a kick from
 * other threads. Whatever happens is first written down in the server it concerns; then review(),
 * the one place that decides, walks all servers until nothing changes any more and arms the timer
 * for the next moment at which something could.
 *
 * threads: everything in struct launcher_server is under the launcher's lock, but for the gate: the
 * word by which workers count their uses of a READY server without the lock, and by which the
 * launcher closes it to them without a gap between "nobody is in" and "nobody gets in". Servers are
 * added to the list and freed only with the launcher, so the list is walked without the lock.
 * Lock order: the launcher's before a mailbox's. */
#include "backends/launcher.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "backends/child.h"
#include "backends/launcher_spec.h"
#include "backends/resolver.h"
#include "backends/tail.h"
#include "backends/upstream.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define NEVER_US       INT64_MAX
#define PROBE_EVERY_US INT64_C(50000)
#define PROBE_MS       5000           /* one probe; servers answer 503 or nothing while they load */
#define GROUP_POLL_US  INT64_C(20000) /* the end of a process group is not an event */
/* A process that SIGKILL does not end hangs in the kernel (a driver, a dead disk); weir's own exit
 * does not wait for that longer. */
#define UNKILLABLE_US INT64_C(5000000)
/* With less patience than this, a server's last use is announced rather than looked for by timer.
 */
#define WATCHED_IDLE_MS 1000
#define READ_BYTES      65536
#define DRAIN_READS     16 /* what a grandchild goes on writing after its parent's end is not ours */
#define LOG_LINE_BYTES  512

/* The gate: the number of uses, and two flags on top. */
#define GATE_OPEN       (UINT64_C(1) << 63) /* uses may begin */
#define GATE_WATCHED    (UINT64_C(1) << 62) /* the launcher wants to hear of the last one's end */
#define GATE_USES(gate) ((int64_t)((gate) & (GATE_WATCHED - 1)))

struct launcher_server {
    struct launcher_server *_Atomic next;
    struct launcher *launcher;
    char *name; /* owned */
    _Atomic uint64_t gate;
    _Atomic int64_t last_use_us; /* when a use began or ended last */

    enum launcher_state state;
    struct launcher_spec *spec; /* owned; NULL: not configured */
    struct launcher_spec
        *next_spec; /* owned; in force once stopped, when `replaced`; may be NULL */
    bool replaced;
    struct list wants; /* of struct launcher_want, oldest first */
    int64_t waiting;

    struct child child;
    struct event *ended, *output; /* owned while there is a child */
    struct upstream_call probe;
    struct upstream_target target; /* of the probe */
    char authority[300];
    int probe_status; /* HTTP status of the last probe; 0: none came */

    int64_t since_us;      /* in this state */
    int64_t started_us;    /* the child */
    int64_t start_took_us; /* the last successful start */
    int64_t probe_due_us;
    int64_t kill_due_us; /* STOPPING: when SIGKILL goes out */
    int64_t killed_us;   /* STOPPING: when it went out; 0: not yet */
    bool reaped;         /* the child is; others of its group may live */
    bool failed;         /* STOPPING ends in FAILED */
    int64_t failures_in_a_row, not_before_us;
    int64_t starts, failures;
    struct err_text last_error;

    struct tail tail;
    uint64_t tail_start;       /* where this child's output begins in it */
    char line[LOG_LINE_BYTES]; /* for the debug log */
    size_t line_bytes;
};

struct launcher {
    pthread_mutex_t lock;
    pthread_t thread;
    struct launcher_server *_Atomic servers;
    struct event_base *base;
    struct upstream *upstream; /* the probes' */
    struct event *timer, *kicked;
    int kick_fd;
    bool closing;
    uint64_t wants; /* numbers them */
    int64_t due_us; /* review()'s: when it must run again */
};

static const char *const state_names[] = {"stopped", "starting", "ready", "stopping", "failed"};

const char *launcher_state_name(enum launcher_state s)
{
    return state_names[s];
}

static void kick(const struct launcher *l)
{
    uint64_t one = 1;

    while (write(l->kick_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static struct launcher_server *first(const struct launcher *l)
{
    return atomic_load_explicit(&l->servers, memory_order_acquire);
}

static struct launcher_server *after(const struct launcher_server *s)
{
    return atomic_load_explicit(&s->next, memory_order_acquire);
}

static struct launcher_server *find(const struct launcher *l, const char *name)
{
    struct launcher_server *s = first(l);

    while (s && strcmp(s->name, name) != 0)
        s = after(s);
    return s;
}

/* ---- the gate ---- */

static bool gate_enter(struct launcher_server *s)
{
    uint64_t gate = atomic_load_explicit(&s->gate, memory_order_relaxed);

    do {
        if (!(gate & GATE_OPEN))
            return false;
    } while (!atomic_compare_exchange_weak(&s->gate, &gate, gate + 1));
    atomic_store_explicit(&s->last_use_us, clock_mono_us(), memory_order_relaxed);
    return true;
}

/* The time goes first: whoever sees that nobody is in also sees since when. */
static void gate_leave(struct launcher_server *s)
{
    uint64_t before;

    atomic_store_explicit(&s->last_use_us, clock_mono_us(), memory_order_relaxed);
    before = atomic_fetch_sub(&s->gate, 1);
    assert(GATE_USES(before) > 0);
    if (GATE_USES(before) == 1 && (before & GATE_WATCHED))
        kick(s->launcher);
}

static int64_t gate_uses(struct launcher_server *s)
{
    return GATE_USES(atomic_load(&s->gate));
}

static void gate_open(struct launcher_server *s, bool watched)
{
    if (watched) {
        atomic_fetch_or(&s->gate, GATE_OPEN | GATE_WATCHED);
    } else {
        atomic_fetch_and(&s->gate, ~GATE_WATCHED);
        atomic_fetch_or(&s->gate, GATE_OPEN);
    }
}

static void gate_close(struct launcher_server *s)
{
    atomic_fetch_or(&s->gate, GATE_WATCHED);
    atomic_fetch_and(&s->gate, ~GATE_OPEN);
}

/* Closes it only while nobody is in. */
static bool gate_close_if_idle(struct launcher_server *s)
{
    uint64_t gate = atomic_load(&s->gate);

    do {
        if (GATE_USES(gate) > 0)
            return false;
    } while (!atomic_compare_exchange_weak(&s->gate, &gate, UINT64_C(0)));
    return true;
}

/* ---- wants ---- */

static void unqueue(struct launcher_want *w)
{
    w->queued_on->waiting--;
    w->queued_on = NULL;
    list_remove(&w->msg.link);
}

/* Hands w back. */
static void answer(struct launcher_want *w, enum err err, const char *why)
{
    w->err = err;
    err_say(&w->why, "%s", why);
    mailbox_post(w->reply_to, &w->msg);
}

static struct launcher_want *oldest_want(const struct launcher_server *s)
{
    return list_empty(&s->wants) ? NULL
                                 : CONTAINER_OF(s->wants.next, struct launcher_want, msg.link);
}

static void answer_all(struct launcher_server *s, enum err err, const char *why)
{
    struct launcher_want *w;

    while ((w = oldest_want(s))) {
        unqueue(w);
        answer(w, err, why);
    }
}

static void grant_all(struct launcher_server *s)
{
    struct launcher_want *w;

    while ((w = oldest_want(s)) && gate_enter(s)) {
        unqueue(w);
        answer(w, ERR_OK, "");
    }
}

/* ---- states ---- */

static void set_state(struct launcher_server *s, enum launcher_state state)
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

static bool has_child(const struct launcher_server *s)
{
    return s->state == LAUNCHER_STARTING || s->state == LAUNCHER_READY ||
           s->state == LAUNCHER_STOPPING;
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
    answer_all(s, ERR_UPSTREAM_CONNECT, s->last_error.s);
}

static void stop_probing(struct launcher_server *s)
{
    upstream_abort(&s->probe);
}

/* The gate is closed, or was never opened. */
static void begin_stop(struct launcher_server *s)
{
    stop_probing(s);
    child_signal(&s->child, SIGTERM);
    s->kill_due_us = clock_mono_us() + s->spec->stop_ms * 1000;
    s->killed_us = 0;
    set_state(s, LAUNCHER_STOPPING);
}

static void kill_group(struct launcher_server *s)
{
    child_signal(&s->child, SIGKILL);
    s->killed_us = clock_mono_us();
}

/* ---- the child's output ---- */

static void log_line_of(struct launcher_server *s)
{
    char name[128], text[LOG_LINE_BYTES * 2];

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
    char words[300];

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

static void start(struct launcher_server *s)
{
    const struct launcher_spec *spec = s->spec;
    bool v6 = strchr(spec->host, ':') != NULL;

    s->starts++;
    s->failed = s->reaped = false;
    s->tail_start = s->tail.written;
    s->probe_status = 0;
    if (port_taken(spec, &s->last_error) ||
        !child_start(&s->child, spec->argv, spec->env, spec->directory, &s->last_error)) {
        book_failure(s);
        set_state(s, LAUNCHER_FAILED);
        return;
    }
    s->started_us = clock_mono_us();
    s->probe_due_us = s->started_us;
    snprintf(s->authority, sizeof s->authority, v6 ? "[%s]:%u" : "%s:%u", spec->host,
             (unsigned)spec->port);
    s->target = (struct upstream_target){
        .backend = s->name, .host = spec->host, .port = spec->port, .authority = s->authority};
    watch_child(s);
    set_state(s, LAUNCHER_STARTING);
}

/* ---- readiness ---- */

static void review(struct launcher *l);

static void become_ready(struct launcher_server *s)
{
    s->start_took_us = clock_mono_us() - s->started_us;
    set_state(s, LAUNCHER_READY);
    atomic_store_explicit(&s->last_use_us, s->since_us, memory_order_relaxed);
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
    review(s->launcher);
    pthread_mutex_unlock(&s->launcher->lock);
}

static const struct upstream_handler probe_handler = {
    .on_head = on_probe_head, .on_data = on_probe_data, .on_done = on_probe_done};

static void probe(struct launcher_server *s)
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

static void fail_unready(struct launcher_server *s)
{
    char words[400], last[64] = "nobody listened on its port";

    if (s->probe_status)
        snprintf(last, sizeof last, "the last probe got status %d", s->probe_status);
    else if (upstream_active(&s->probe))
        snprintf(last, sizeof last, "the last probe got no answer");
    err_say(&s->last_error, "'%s' was not ready within %" PRId64 " ms: %s%s", s->spec->argv[0],
            s->spec->ready_timeout_ms, last, last_words(s, words, sizeof words));
    book_failure(s);
    begin_stop(s);
}

/* ---- the end of a child ---- */

static void on_end(evutil_socket_t fd, short what, void *arg)
{
    struct launcher_server *s = arg;
    struct err_text how;
    char words[400];
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
            gate_close(s);
            stop_probing(s);
            book_failure(s);
            kill_group(s); /* what it leaves behind holds its port, its GPU */
            set_state(s, LAUNCHER_STOPPING);
        }
        review(s->launcher);
    }
    pthread_mutex_unlock(&s->launcher->lock);
}

/* Nothing of it is left. */
static void finish(struct launcher_server *s)
{
    log_line_of(s);
    event_free(s->ended);
    event_free(s->output);
    s->ended = s->output = NULL;
    child_clear(&s->child);
    set_state(s, s->failed ? LAUNCHER_FAILED : LAUNCHER_STOPPED);
}

/* ---- review: the decisions ---- */

static void due(struct launcher *l, int64_t at_us)
{
    if (at_us < l->due_us)
        l->due_us = at_us;
}

static bool same_group(const struct launcher_server *a, const struct launcher_server *b)
{
    return a != b && a->spec && b->spec && a->spec->group && b->spec->group &&
           strcmp(a->spec->group, b->spec->group) == 0;
}

/* Does another member of its group wait to be started? */
static bool rival_waits(const struct launcher_server *s)
{
    for (struct launcher_server *o = first(s->launcher); o; o = after(o)) {
        if (same_group(s, o) && !list_empty(&o->wants) && !has_child(o))
            return true;
    }
    return false;
}

/* The group is free, and s has waited longest for it. */
static bool has_turn(const struct launcher_server *s)
{
    for (struct launcher_server *o = first(s->launcher); o; o = after(o)) {
        if (!same_group(s, o))
            continue;
        if (has_child(o) ||
            (!list_empty(&o->wants) && oldest_want(o)->number < oldest_want(s)->number))
            return false;
    }
    return true;
}

/* Takes the new spec, or none, now that nothing of the old one runs. */
static void adopt(struct launcher_server *s)
{
    free(s->spec);
    s->spec = s->next_spec;
    s->next_spec = NULL;
    s->replaced = false;
    s->failures_in_a_row = 0; /* the operator may have mended it */
    set_state(s, LAUNCHER_STOPPED);
}

/* STOPPED and FAILED. Each step returns whether it changed anything that others may depend on. */
static bool step_down(struct launcher_server *s, int64_t now_us)
{
    bool adopted = s->replaced;

    if (adopted)
        adopt(s);
    if (list_empty(&s->wants))
        return adopted;
    if (s->launcher->closing)
        answer_all(s, ERR_DRAINING, "weir is shutting down");
    else if (!s->spec)
        answer_all(s, ERR_UPSTREAM_CONNECT, "the policy no longer has this server");
    else if (s->state == LAUNCHER_FAILED && now_us < s->not_before_us)
        answer_all(s, ERR_UPSTREAM_CONNECT, s->last_error.s);
    else if (has_turn(s))
        start(s);
    else
        return adopted;
    return true;
}

static bool step_starting(struct launcher_server *s, int64_t now_us)
{
    int64_t ready_due_us = s->started_us + s->spec->ready_timeout_ms * 1000;

    if (s->launcher->closing || s->replaced || (list_empty(&s->wants) && rival_waits(s))) {
        begin_stop(s);
        return true;
    }
    if (now_us >= ready_due_us) {
        fail_unready(s);
        return true;
    }
    due(s->launcher, ready_due_us);
    if (upstream_active(&s->probe))
        return false;
    if (now_us >= s->probe_due_us)
        probe(s);
    else
        due(s->launcher, s->probe_due_us);
    return false;
}

/* A READY server must go, busy or not: uses end, none begin. */
static bool must_drain(struct launcher_server *s, bool rival, int64_t now_us)
{
    int64_t run_due_us = s->since_us + s->spec->min_run_ms * 1000;

    if (s->replaced || (rival && now_us >= run_due_us))
        return true;
    if (rival)
        due(s->launcher, run_due_us);
    return false;
}

/* Has it been without uses for long enough? The gate is open, and watched where that is not merely
 * looked at again later. */
static bool idled_out(struct launcher_server *s, bool rival, bool watched, int64_t now_us)
{
    int64_t patience_us = rival ? s->start_took_us : s->spec->idle_ms * 1000;
    int64_t idle_due_us = atomic_load_explicit(&s->last_use_us, memory_order_relaxed) + patience_us;

    if (!rival && s->spec->idle_ms < 0)
        return false;
    if (gate_uses(s) > 0) {
        if (!watched)
            due(s->launcher, now_us + patience_us);
        return false;
    }
    if (now_us >= idle_due_us)
        return true;
    due(s->launcher, idle_due_us);
    return false;
}

static bool step_ready(struct launcher_server *s, int64_t now_us)
{
    bool rival = rival_waits(s);
    bool watched = rival || s->spec->idle_ms < WATCHED_IDLE_MS;

    if (s->launcher->closing || must_drain(s, rival, now_us)) {
        gate_close(s);
        if (gate_uses(s) > 0 && !s->launcher->closing)
            return false;
        begin_stop(s);
        return true;
    }
    gate_open(s, watched);
    grant_all(s); /* before it is judged idle: who waited for it to become ready gets in */
    if (!idled_out(s, rival, watched, now_us) || !gate_close_if_idle(s))
        return false;
    begin_stop(s);
    return true;
}

static bool step_stopping(struct launcher_server *s, int64_t now_us)
{
    struct launcher *l = s->launcher;

    if (s->launcher->closing)
        answer_all(s, ERR_DRAINING, "weir is shutting down");
    if (s->reaped && !child_group_alive(&s->child)) {
        finish(s);
        return true;
    }
    if (!s->killed_us && now_us >= s->kill_due_us)
        kill_group(s);
    if (s->killed_us && l->closing && now_us >= s->killed_us + UNKILLABLE_US) {
        finish(s);
        return true;
    }
    due(l, !s->killed_us ? s->kill_due_us : l->closing ? s->killed_us + UNKILLABLE_US : NEVER_US);
    if (s->reaped)
        due(l, now_us + GROUP_POLL_US);
    return false;
}

static bool step(struct launcher_server *s, int64_t now_us)
{
    switch (s->state) {
    case LAUNCHER_STOPPED:
    case LAUNCHER_FAILED:
        return step_down(s, now_us);
    case LAUNCHER_STARTING:
        return step_starting(s, now_us);
    case LAUNCHER_READY:
        return step_ready(s, now_us);
    case LAUNCHER_STOPPING:
        return step_stopping(s, now_us);
    }
    return false;
}

static bool all_down(const struct launcher *l)
{
    for (struct launcher_server *s = first(l); s; s = after(s)) {
        if (has_child(s) || !list_empty(&s->wants))
            return false;
    }
    return true;
}

/* Called with the lock, on the launcher's thread, after anything happened. */
static void review(struct launcher *l)
{
    int64_t now_us;
    bool changed;

    do {
        changed = false;
        l->due_us = NEVER_US;
        now_us = clock_mono_us();
        for (struct launcher_server *s = first(l); s; s = after(s))
            changed = step(s, now_us) || changed;
    } while (changed);
    if (l->closing && all_down(l)) {
        event_base_loopbreak(l->base);
    } else if (l->due_us != NEVER_US) {
        int64_t wait_us = l->due_us > now_us ? l->due_us - now_us : 0;
        struct timeval tv = {wait_us / 1000000, wait_us % 1000000};

        evtimer_add(l->timer, &tv);
    } else {
        evtimer_del(l->timer);
    }
}

/* ---- the thread ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct launcher *l = arg;

    (void)fd;
    (void)what;
    pthread_mutex_lock(&l->lock);
    review(l);
    pthread_mutex_unlock(&l->lock);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
    uint64_t count;

    while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    on_timer(fd, what, arg);
}

static void *serve(void *arg)
{
    struct launcher *l = arg;

    event_base_dispatch(l->base);
    return NULL;
}

/* Signals belong to the control thread. */
static int start_thread(struct launcher *l)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&l->thread, NULL, serve, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static bool open_loop(struct launcher *l)
{
    l->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->kick_fd < 0 || !(l->base = event_base_new()) ||
        !(l->upstream = upstream_new(l->base, NULL)))
        return false;
    l->timer = evtimer_new(l->base, on_timer, l);
    l->kicked = event_new(l->base, l->kick_fd, EV_READ | EV_PERSIST, on_kick, l);
    return l->timer && l->kicked && event_add(l->kicked, NULL) == 0;
}

static void close_loop(struct launcher *l)
{
    if (l->timer)
        event_free(l->timer);
    if (l->kicked)
        event_free(l->kicked);
    upstream_free(l->upstream);
    if (l->base)
        event_base_free(l->base);
    if (l->kick_fd >= 0)
        close(l->kick_fd);
}

struct launcher *launcher_new(struct err_text *t)
{
    struct launcher *l = mem_zalloc(1, sizeof *l);
    int error = 0;

    pthread_mutex_init(&l->lock, NULL);
    if (open_loop(l) && (error = start_thread(l)) == 0)
        return l;
    err_say(t, "cannot start the launcher: %s", strerror(error ? error : errno));
    close_loop(l);
    pthread_mutex_destroy(&l->lock);
    free(l);
    return NULL;
}

void launcher_free(struct launcher *l)
{
    struct launcher_server *next;

    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->closing = true;
    pthread_mutex_unlock(&l->lock);
    kick(l);
    pthread_join(l->thread, NULL);
    for (struct launcher_server *s = first(l); s; s = next) {
        next = after(s);
        free(s->spec);
        free(s->next_spec);
        free(s->name);
        free(s);
    }
    close_loop(l);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- called by others ---- */

static struct launcher_server *add(struct launcher *l, const char *name)
{
    struct launcher_server *s = mem_zalloc(1, sizeof *s);

    s->launcher = l;
    s->name = mem_strdup(slice_str(name));
    s->since_us = clock_mono_us();
    s->child.pidfd = s->child.out_fd = -1;
    list_init(&s->wants);
    atomic_init(&s->next, first(l));
    atomic_store_explicit(&l->servers, s, memory_order_release);
    return s;
}

/* spec NULL: not wanted any more. */
static void set_spec(struct launcher_server *s, const struct launcher_spec *spec)
{
    bool unchanged = spec && s->spec ? launcher_spec_equal(spec, s->spec) : !spec && !s->spec;

    free(s->next_spec);
    s->next_spec = spec && !unchanged ? launcher_spec_copy(spec) : NULL;
    s->replaced = !unchanged; /* also takes a change back that has not come into force */
    if (s->replaced)
        gate_close(s); /* at once: who asks after this gets what the new policy says */
}

void launcher_configure(struct launcher *l, const struct launcher_spec *specs, size_t n)
{
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < n; i++) {
        if (!find(l, specs[i].name))
            add(l, specs[i].name);
    }
    for (struct launcher_server *s = first(l); s; s = after(s)) {
        size_t i = 0;

        while (i < n && strcmp(specs[i].name, s->name) != 0)
            i++;
        set_spec(s, i < n ? &specs[i] : NULL);
    }
    pthread_mutex_unlock(&l->lock);
    kick(l);
}

/* Called with the lock. false: w was answered. */
static bool enqueue(struct launcher *l, struct launcher_server *s, struct launcher_want *w)
{
    const struct launcher_spec *spec = s ? (s->replaced ? s->next_spec : s->spec) : NULL;
    struct err_text why;

    if (!spec) {
        answer(w, ERR_UPSTREAM_CONNECT, "the policy has no such server");
        return false;
    }
    if (s->waiting >= spec->max_queue) {
        err_say(&why, "%" PRId64 " requests wait for this server already", s->waiting);
        answer(w, ERR_UPSTREAM_BUSY, why.s);
        return false;
    }
    w->queued_on = s;
    w->number = l->wants++;
    w->asked_us = clock_mono_us();
    s->waiting++;
    list_push_back(&s->wants, &w->msg.link);
    return true;
}

bool launcher_want(struct launcher *l, const char *name, struct launcher_want *w)
{
    struct launcher_server *s = find(l, name);
    bool ready, queued = false;

    if (s && gate_enter(s))
        return true;
    pthread_mutex_lock(&l->lock);
    ready = s && gate_enter(s); /* it may have become ready meanwhile, and answered who waited */
    if (!ready)
        queued = enqueue(l, s, w);
    pthread_mutex_unlock(&l->lock);
    if (queued)
        kick(l);
    return ready;
}

void launcher_cancel(struct launcher *l, struct launcher_want *w)
{
    bool waited;

    pthread_mutex_lock(&l->lock);
    waited = w->queued_on != NULL;
    if (waited) {
        unqueue(w);
        answer(w, ERR_CLIENT_GONE, "cancelled");
    }
    pthread_mutex_unlock(&l->lock);
    if (waited)
        kick(l); /* another member of the group may have its turn now */
}

void launcher_done(struct launcher *l, const char *name)
{
    struct launcher_server *s = find(l, name);

    assert(s);
    gate_leave(s);
}

void launcher_forget(struct launcher *l, struct mailbox *reply_to)
{
    pthread_mutex_lock(&l->lock);
    for (struct launcher_server *s = first(l); s; s = after(s)) {
        LIST_FOREACH_SAFE (it, &s->wants) {
            struct launcher_want *w = CONTAINER_OF(it, struct launcher_want, msg.link);

            if (w->reply_to == reply_to) {
                unqueue(w);
                w->err = ERR_CLIENT_GONE;
                w->msg.discard(&w->msg);
            }
        }
    }
    pthread_mutex_unlock(&l->lock);
    kick(l);
}

/* ---- what people look at ---- */

/* Resident pages of one process if it is of the group; 0 else. proc_pid_stat(5): the command in
 * parentheses may hold anything, so fields are counted after its last ')'. */
static int64_t rss_pages(const char *pid, int group)
{
    char path[64], text[1024], *p;
    long pgrp = 0, pages = 0;
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    f = fopen(path, "re");
    if (!f)
        return 0;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    p = strrchr(text, ')');
    if (!p || sscanf(p + 1, " %*c %*d %ld", &pgrp) != 1 || pgrp != group)
        return 0;
    /* state is field 3, rss field 24 */
    for (int field = 2; field < 24 && p; field++)
        p = strchr(p + 1, ' ');
    if (p)
        pages = strtol(p, NULL, 10);
    return pages > 0 ? pages : 0;
}

static int64_t group_rss_bytes(int group)
{
    DIR *d = group > 0 ? opendir("/proc") : NULL;
    int64_t pages = 0;
    struct dirent *e;

    if (!d)
        return 0;
    while ((e = readdir(d))) {
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
            pages += rss_pages(e->d_name, group);
    }
    closedir(d);
    return pages * sysconf(_SC_PAGESIZE);
}

static void describe(struct launcher_server *s, struct launcher_info *out)
{
    *out = (struct launcher_info){
        .state = s->state,
        .pid = has_child(s) ? (int)s->child.pid : 0,
        .since_ms = (clock_mono_us() - s->since_us) / 1000,
        .uses = gate_uses(s),
        .waiting = s->waiting,
        .starts = s->starts,
        .failures = s->failures,
    };
    snprintf(out->name, sizeof out->name, "%s", s->name);
    memcpy(out->last_error, s->last_error.s, sizeof out->last_error);
}

size_t launcher_list(struct launcher *l, struct launcher_info *out, size_t max)
{
    size_t n = 0;

    pthread_mutex_lock(&l->lock);
    for (struct launcher_server *s = first(l); s; s = after(s)) {
        if (!s->spec && !s->next_spec && !has_child(s))
            continue;
        if (n < max)
            describe(s, &out[n]);
        n++;
    }
    pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < n && i < max; i++)
        out[i].rss_bytes = group_rss_bytes(out[i].pid);
    return n;
}

enum err launcher_log_tail(struct launcher *l, const char *name, struct buf *out)
{
    struct launcher_server *s = find(l, name);
    enum err err;

    if (!s)
        return ERR_NOT_FOUND;
    pthread_mutex_lock(&l->lock);
    err = tail_copy(&s->tail, out);
    pthread_mutex_unlock(&l->lock);
    return err;
}
