/* Threads for training and for encoding rows. They live for one call: a call lasts milliseconds to
 * minutes, a thread's start some ten microseconds. */
#include "router/encoder/train/parallel.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

struct part {
    pthread_t thread;
    parallel_fn fn;
    void *ctx;
    int part, parts;
};

int parallel_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > PARALLEL_MAX ? PARALLEL_MAX : n;
}

static void *run_part(void *arg)
{
    struct part *p = arg;
    p->fn(p->ctx, p->part, p->parts);
    return NULL;
}

void parallel_run(parallel_fn fn, void *ctx, int parts)
{
    assert(parts >= 1 && parts <= PARALLEL_MAX);
    struct part part[PARALLEL_MAX];
    bool started[PARALLEL_MAX] = {false};
    for (int i = 0; i < parts; i++)
        part[i] = (struct part){.fn = fn, .ctx = ctx, .part = i, .parts = parts};
    for (int i = 0; i < parts - 1; i++)
        started[i] = pthread_create(&part[i].thread, NULL, run_part, &part[i]) == 0;
    run_part(&part[parts - 1]);
    for (int i = 0; i < parts - 1; i++)
        if (started[i])
            pthread_join(part[i].thread, NULL);
        else
            run_part(&part[i]); /* no thread was to be had: the work is done all the same */
}
