/* Beliefs on their way out: who builds them and when, and under which policy a request finds which.
 * Building and swapping are the learner's thread's own; any thread waits and reads. */
#include "router/learner_int.h"

#include <stdlib.h>
#include "base/clock.h"

#define BUILD_SHARE   50 /* building takes at most this part of the time: one in so many */
#define KEEP_OTHER_US (INT64_C(60) * 1000000)

/* A place that is taken out is cleared outside the lock. */
static struct learner_published swap(struct learner *l, struct learner_published *at,
                                     struct learner_published now)
{
    struct learner_published old;

    pthread_mutex_lock(&l->lock);
    old = *at;
    *at = now;
    pthread_cond_broadcast(&l->progress);
    pthread_mutex_unlock(&l->lock);
    return old;
}

static void clear(struct learner_published b)
{
    beliefs_unref(b.beliefs);
    policy_unref(b.policy);
}

/* Wall-clock microseconds, and still another one when two are built in the same. */
static uint64_t next_version(struct learner *l, int64_t now_us)
{
    l->version = (uint64_t)now_us > l->version ? (uint64_t)now_us : l->version + 1;
    return l->version;
}

static struct learner_published build(struct learner *l, struct policy *p, int64_t now_us)
{
    return (struct learner_published){p ? policy_ref(p) : NULL,
                                      learner_build(l, p, now_us, next_version(l, now_us))};
}

void learner_publish(struct learner *l)
{
    int64_t begun_us = clock_mono_us(), now_us = clock_wall_us();

    l->changed = false;
    l->built_bucket_us = tally_bucket_start(TALLY_QUICK, now_us);
    learned_forget(&l->learned, now_us);
    l->forgot_us = now_us > l->forgot_us ? now_us : l->forgot_us;
    clear(swap(l, &l->serving, build(l, l->serving.policy, now_us)));
    l->built_us = clock_mono_us();
    l->build_took_us = l->built_us - begun_us;
    stats_observe_us(l->build_us, l->build_took_us);
    for (int i = 0; i < LEARNER_OTHERS && l->built_us - l->other_us > KEEP_OTHER_US; i++)
        clear(swap(l, &l->other[i], (struct learner_published){NULL, NULL}));
}

bool learner_publish_due(const struct learner *l)
{
    if (clock_mono_us() - l->built_us < BUILD_SHARE * l->build_took_us)
        return false;
    return l->changed || l->built_bucket_us != tally_bucket_start(TALLY_QUICK, clock_wall_us());
}

/* ---- another policy ---- */

/* NULL: nothing was built for it, or that is gone. */
static struct learner_published *find(struct learner *l, const struct policy *p)
{
    if (l->serving.policy == p)
        return &l->serving;
    for (int i = 0; i < LEARNER_OTHERS; i++)
        if (l->other[i].policy == p)
            return &l->other[i];
    return NULL;
}

void learner_publish_next(struct learner *l, struct policy *p)
{
    if (find(l, p))
        return;
    l->other_us = clock_mono_us();
    clear(swap(l, &l->other[l->next_other], build(l, p, clock_wall_us())));
    l->next_other = (l->next_other + 1) % LEARNER_OTHERS;
}

/* The one before stays for requests that began with it. */
void learner_publish_under(struct learner *l, struct policy *p)
{
    struct learner_published before = l->serving, *next;

    if (before.policy == p)
        return;
    learner_publish_next(l, p);
    next = find(l, p);
    pthread_mutex_lock(&l->lock);
    l->serving = *next;
    *next = before;
    pthread_mutex_unlock(&l->lock);
    l->other_us = clock_mono_us();
}

void learner_publish_end(struct learner *l)
{
    clear(l->serving);
    for (int i = 0; i < LEARNER_OTHERS; i++)
        clear(l->other[i]);
}

/* ---- for all threads ---- */

struct beliefs *learner_beliefs(struct learner *l, const struct policy *p)
{
    const struct learner_published *of;
    struct beliefs *found;

    pthread_mutex_lock(&l->lock);
    of = p ? find(l, p) : NULL;
    found = of ? of->beliefs : l->serving.beliefs;
    if (found)
        beliefs_ref(found);
    pthread_mutex_unlock(&l->lock);
    return found;
}

bool learner_await_next(struct learner *l, const struct policy *p, int64_t timeout_ms)
{
    int64_t until_us = clock_mono_us() + timeout_ms * 1000;
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    bool built = false;
    int rc = 0;

    pthread_mutex_lock(&l->lock);
    while (!(built = find(l, p) != NULL) && rc == 0)
        rc = pthread_cond_timedwait(&l->progress, &l->lock, &until);
    pthread_mutex_unlock(&l->lock);
    return built;
}
