/* The tick and the list it looks through. Owned by struct upstream; runs on the worker's loop;
 * called by the transports. */
#include "backends/watch.h"

#include <event2/event.h>
#include "base/clock.h"

static void tick(evutil_socket_t fd, short what, void *arg);

static void arm(struct watch_list *l)
{
    static const struct timeval every = {0, WATCH_TICK_MS * 1000};

    l->ticking = event_add(l->tick, &every) == 0;
}

bool watch_list_init(struct watch_list *l, struct event_base *base)
{
    list_init(&l->running);
    l->ticking = false;
    l->tick = event_new(base, -1, 0, tick, l);
    return l->tick != NULL;
}

void watch_list_clear(struct watch_list *l)
{
    LIST_FOREACH_SAFE (it, &l->running)
        list_remove(it);
    if (l->tick)
        event_free(l->tick);
    l->tick = NULL;
}

void watch_start(struct watch_list *l, struct watch *w,
                 void (*expired)(struct watch *w, enum err err), int64_t total_ms, int64_t now_us)
{
    *w = (struct watch){
        .expired = expired,
        .total_due_us = total_ms < 0 ? -1 : now_us + total_ms * 1000,
        .phase_us = -1,
        .since_us = now_us,
    };
    list_push_back(&l->running, &w->link);
    if (!l->ticking)
        arm(l);
}

void watch_again(struct watch_list *l, struct watch *w)
{
    list_push_back(&l->running, &w->link);
}

void watch_phase(struct watch *w, int64_t phase_ms, enum err err, int64_t now_us)
{
    w->phase_us = phase_ms < 0 ? -1 : phase_ms * 1000;
    w->phase_err = err;
    w->since_us = now_us;
    w->touched = false;
}

void watch_hold(struct watch *w)
{
    w->held = true;
}

void watch_release(struct watch *w)
{
    if (w->held)
        w->touched = true;
    w->held = false;
}

void watch_stop(struct watch *w)
{
    list_remove(&w->link);
}

/* What has run out, or ERR_OK. */
static enum err verdict(struct watch *w, int64_t now_us)
{
    if (w->total_due_us >= 0 && now_us >= w->total_due_us)
        return ERR_UPSTREAM_TOTAL_TIMEOUT;
    if (w->touched) {
        w->touched = false;
        w->since_us = now_us;
    }
    if (w->phase_us >= 0 && !w->held && now_us - w->since_us >= w->phase_us)
        return w->phase_err;
    return ERR_OK;
}

/* A callback may stop or start any watch, so that nothing may be remembered across it: those that
 * have run out are moved to a list of their own first. */
static void tick(evutil_socket_t fd, short what, void *arg)
{
    struct watch_list *l = arg;
    struct list late;
    int64_t now_us = clock_mono_us();

    (void)fd;
    (void)what;
    list_init(&late);
    LIST_FOREACH_SAFE (it, &l->running) {
        struct watch *w = CONTAINER_OF(it, struct watch, link);

        w->verdict = verdict(w, now_us);
        if (w->verdict != ERR_OK) {
            list_remove(it);
            list_push_back(&late, it);
        }
    }
    while (!list_empty(&late)) {
        struct watch *w = CONTAINER_OF(late.next, struct watch, link);

        list_remove(&w->link);
        w->expired(w, w->verdict);
    }
    if (list_empty(&l->running))
        l->ticking = false;
    else
        arm(l);
}
