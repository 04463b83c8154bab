/* The deadlines of one worker's exchanges: one coarse tick for all of them instead of a timer each,
 * because a timer that is added and removed per request costs more than the look at a list forty
 * times a second.
 *
 * A watch has a total deadline and the deadline of its present phase (connecting, waiting for the
 * first byte, between bytes). Activity only sets a flag; the tick turns it into a time. So a
 * deadline never fires early and at most 2 * WATCH_TICK_MS late. The tick runs only while there are
 * watches. threads: belongs to one worker. The expired callback may start, stop or free any watch.
 */
#ifndef BACKENDS_WATCH_H
#define BACKENDS_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/list.h"

#define WATCH_TICK_MS 25

struct event;
struct event_base;

struct watch_list {
    struct list running; /* of struct watch */
    struct event *tick;  /* owned */
    bool ticking;
};

struct watch {
    struct list link;                               /* in the list's running, or alone */
    void (*expired)(struct watch *w, enum err err); /* the watch is stopped before this is called */
    int64_t total_due_us;                           /* monotonic; -1: none */
    int64_t phase_us;                               /* allowed silence in this phase; -1: none */
    int64_t since_us;                               /* when the silence began */
    enum err phase_err;                             /* what the end of the phase's patience means */
    enum err verdict;                               /* the tick's: what has run out */
    bool touched;                                   /* something happened since the last tick */
    bool held; /* the phase's clock stands still (paused); the total deadline does not */
};

/* Returns false when out of memory. */
bool watch_list_init(struct watch_list *l, struct event_base *base) MUST_CHECK;
void watch_list_clear(struct watch_list *l);

void watch_start(struct watch_list *l, struct watch *w,
                 void (*expired)(struct watch *w, enum err err), int64_t total_ms, int64_t now_us);
/* Inside expired: the watch goes on after all (what ran out was only one of several tries). */
void watch_again(struct watch_list *l, struct watch *w);
void watch_phase(struct watch *w, int64_t phase_ms, enum err err, int64_t now_us);
static inline void watch_touch(struct watch *w)
{
    w->touched = true;
}
void watch_hold(struct watch *w);
void watch_release(struct watch *w); /* the phase's silence begins anew */
void watch_stop(struct watch *w);    /* idempotent */

#endif
