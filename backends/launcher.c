/* Decides when each model server starts and stops; owns the loop that their children live on.
 *
 * One thread: children's ends and output, readiness probes, one timer, and a kick from other
 * threads. Whatever happens is first written down in the server it concerns (launcher_server.c);
 * then launcher_review(), the one place that decides, walks all servers until nothing changes any
 * more and arms the timer for the next moment at which something could.
 *
 * threads: everything in struct launcher_server is under the launcher's lock, but for the gate, by
 * which workers count their uses of a READY server without it. Servers are added to the list and
 * freed only with the launcher, so the list is walked without the lock.
 * Lock order: the launcher's before a mailbox's. */
#include "backends/launcher_int.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "backends/launcher_spec.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#define NEVER_US      INT64_MAX
#define GROUP_POLL_US INT64_C(20000) /* the end of a process group is not an event */
/* A process that SIGKILL does not end hangs in the kernel (a driver, a dead disk); weir's own exit
 * does not wait for that longer. */
#define UNKILLABLE_US INT64_C(5000000)
/* With less patience than this a server's last use is announced, not looked for by timer. */
#define WATCHED_IDLE_MS 1000

static void kick(const struct launcher *l)
{
    uint64_t one = 1;

    while (write(l->kick_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

struct launcher_server *launcher_find(const struct launcher *l, const char *name)
{
    struct launcher_server *s = launcher_first(l);

    while (s && strcmp(s->name, name) != 0)
        s = launcher_after(s);
    return s;
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
    for (struct launcher_server *o = launcher_first(s->launcher); o; o = launcher_after(o)) {
        if (same_group(s, o) && !list_empty(&o->wants) && !launcher_server_has_child(o))
            return true;
    }
    return false;
}

/* The group is free, and s has waited longest for it. */
static bool has_turn(const struct launcher_server *s)
{
    for (struct launcher_server *o = launcher_first(s->launcher); o; o = launcher_after(o)) {
        if (!same_group(s, o))
            continue;
        if (launcher_server_has_child(o) ||
            (!list_empty(&o->wants) &&
             launcher_server_oldest(o)->number < launcher_server_oldest(s)->number))
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
    launcher_server_set_state(s, LAUNCHER_STOPPED);
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
        launcher_server_answer_all(s, ERR_DRAINING, "weir is shutting down");
    else if (!s->spec)
        launcher_server_answer_all(s, ERR_UPSTREAM_CONNECT, "the policy no longer has this server");
    else if (s->state == LAUNCHER_FAILED && now_us < s->not_before_us)
        launcher_server_answer_all(s, ERR_UPSTREAM_CONNECT, s->last_error.s);
    else if (has_turn(s))
        launcher_server_start(s);
    else
        return adopted;
    return true;
}

static bool step_starting(struct launcher_server *s, int64_t now_us)
{
    int64_t ready_due_us = s->started_us + s->spec->ready_timeout_ms * 1000;

    if (s->launcher->closing || s->replaced || (list_empty(&s->wants) && rival_waits(s))) {
        launcher_server_stop(s);
        return true;
    }
    if (now_us >= ready_due_us) {
        launcher_server_give_up(s);
        return true;
    }
    due(s->launcher, ready_due_us);
    if (upstream_active(&s->probe))
        return false;
    if (now_us >= s->probe_due_us)
        launcher_server_probe(s);
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
    int64_t idle_due_us =
        atomic_load_explicit(&s->gate.last_use_us, memory_order_relaxed) + patience_us;

    if (!rival && s->spec->idle_ms < 0)
        return false;
    if (gate_uses(&s->gate) > 0) {
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
        gate_close(&s->gate);
        if (gate_uses(&s->gate) > 0 && !s->launcher->closing)
            return false;
        launcher_server_stop(s);
        return true;
    }
    gate_open(&s->gate, watched);
    launcher_server_grant_all(
        s); /* before it is judged idle: who waited for it to become ready gets in */
    if (!idled_out(s, rival, watched, now_us) || !gate_close_if_idle(&s->gate))
        return false;
    launcher_server_stop(s);
    return true;
}

static bool step_stopping(struct launcher_server *s, int64_t now_us)
{
    struct launcher *l = s->launcher;

    if (s->launcher->closing)
        launcher_server_answer_all(s, ERR_DRAINING, "weir is shutting down");
    if (s->reaped && !child_group_alive(&s->child)) {
        launcher_server_finish(s);
        return true;
    }
    if (!s->killed_us && now_us >= s->kill_due_us)
        launcher_server_kill(s);
    if (s->killed_us && l->closing && now_us >= s->killed_us + UNKILLABLE_US) {
        launcher_server_finish(s);
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
    for (struct launcher_server *s = launcher_first(l); s; s = launcher_after(s)) {
        if (launcher_server_has_child(s) || !list_empty(&s->wants))
            return false;
    }
    return true;
}

/* Called with the lock, on the launcher's thread, after anything happened. */
void launcher_review(struct launcher *l)
{
    int64_t now_us;
    bool changed;

    do {
        changed = false;
        l->due_us = NEVER_US;
        now_us = clock_mono_us();
        for (struct launcher_server *s = launcher_first(l); s; s = launcher_after(s))
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
    launcher_review(l);
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
    if (open_loop(l) && (error = thread_start(&l->thread, NULL, serve, l)) == 0)
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
    for (struct launcher_server *s = launcher_first(l); s; s = next) {
        next = launcher_after(s);
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
    atomic_init(&s->next, launcher_first(l));
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
        gate_close(&s->gate); /* at once: who asks after this gets what the new policy says */
}

void launcher_configure(struct launcher *l, const struct launcher_spec *specs, size_t n)
{
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < n; i++) {
        if (!launcher_find(l, specs[i].name))
            add(l, specs[i].name);
    }
    for (struct launcher_server *s = launcher_first(l); s; s = launcher_after(s)) {
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
        launcher_server_answer(w, ERR_UPSTREAM_CONNECT, "the policy has no such server");
        return false;
    }
    if (s->waiting >= spec->max_queue) {
        err_say(&why, "%" PRId64 " requests wait for the server of '%s' already", s->waiting,
                s->name);
        launcher_server_answer(w, ERR_UPSTREAM_BUSY, why.s);
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
    struct launcher_server *s = launcher_find(l, name);
    bool ready, queued = false;

    if (s && gate_enter(&s->gate))
        return true;
    pthread_mutex_lock(&l->lock);
    ready =
        s && gate_enter(&s->gate); /* it may have become ready meanwhile, and answered who waited */
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
        launcher_server_unqueue(w);
        launcher_server_answer(w, ERR_CLIENT_GONE, "cancelled");
    }
    pthread_mutex_unlock(&l->lock);
    if (waited)
        kick(l); /* another member of the group may have its turn now */
}

void launcher_done(struct launcher *l, const char *name)
{
    struct launcher_server *s = launcher_find(l, name);

    assert(s);
    if (gate_leave(&s->gate))
        kick(l);
}

void launcher_forget(struct launcher *l, struct mailbox *reply_to)
{
    pthread_mutex_lock(&l->lock);
    for (struct launcher_server *s = launcher_first(l); s; s = launcher_after(s)) {
        LIST_FOREACH_SAFE (it, &s->wants) {
            struct launcher_want *w = CONTAINER_OF(it, struct launcher_want, msg.link);

            if (w->reply_to == reply_to) {
                launcher_server_unqueue(w);
                w->err = ERR_CLIENT_GONE;
                w->msg.discard(&w->msg);
            }
        }
    }
    pthread_mutex_unlock(&l->lock);
    kick(l);
}
