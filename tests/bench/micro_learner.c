/* What learning costs a request: the worker's part (evidence is copied and posted), and the
 * learner's thread behind it (counted, remembered in a file of its own), in CPU time of each.
 *
 *   micro_learner [REQUESTS] [FOLDER]      100000, /tmp */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "router/confidence.h"
#include "router/evidence.h"
#include "router/learner.h"

#define BATCH 10000 /* then the learner may catch up: its mailbox is bounded */

static double cpu_us(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* A cascade of two, as most requests of a route that learns; the last 20 digits of ids are random.
 */
static void post(struct learner *l, uint64_t i)
{
    static const float features[CONFIDENCE_FEATURES] = {0.5F, 1, 2, 0.25F};
    static const char *const classes[] = {"math", "code", "chat", "law", "medicine", "creative"};
    struct evidence_answer a[] = {
        {.model = "qwen2.5-7b-instruct",
         .bin = (int)(i % TALLY_BINS),
         .chance = 0.4,
         .first = true},
        {.model = "gpt-4.1", .bin = 11, .stage = 2, .chance = 0.9, .served = true},
    };
    char id[48];

    for (int k = 0; k < 2; k++) {
        a[k].cost = 1000000;
        a[k].tokens_in = 500;
        a[k].tokens_out = 200;
        a[k].latency_ms = 700;
        a[k].verdict_milli = -1;
        a[k].features = features;
        a[k].feature_count = CONFIDENCE_FEATURES;
    }
    snprintf(id, sizeof id, "req_%012" PRIx64 "%020" PRIx64, i, i * UINT64_C(0x9e3779b97f4a7c15));
    learner_post(l, &(struct evidence){.tenant = "acme",
                                       .request_id = id,
                                       .route = "support",
                                       .class_name = classes[i % 6],
                                       .decided_wall_us = clock_wall_us(),
                                       .ended_wall_us = clock_wall_us(),
                                       .learn = true,
                                       .answers = a,
                                       .count = 1 + (int)(i % 2)});
}

int main(int argc, char **argv)
{
    uint64_t requests = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
    char folder[256], path[300];
    struct learner *l;
    struct err_text t = {""};
    double mine = 0, all;

    snprintf(folder, sizeof folder, "%s/micro_learner_XXXXXX", argc > 2 ? argv[2] : "/tmp");
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/learn.sqlite", folder);
    if (learner_open(&(struct learner_options){.path = path}, &l, &t) != ERR_OK) {
        fprintf(stderr, "%s\n", t.s);
        return 1;
    }
    all = cpu_us(CLOCK_PROCESS_CPUTIME_ID);
    for (uint64_t i = 0; i < requests; i++) {
        if (i % BATCH == 0 && !learner_flush(l, 60000))
            return 1;
        double begun = i % BATCH == 0 ? cpu_us(CLOCK_THREAD_CPUTIME_ID) : 0;
        post(l, i);
        mine += i % BATCH == 0 ? -begun : 0;
        if (i % BATCH == BATCH - 1 || i + 1 == requests)
            mine += cpu_us(CLOCK_THREAD_CPUTIME_ID);
    }
    if (!learner_flush(l, 60000))
        return 1;
    all = cpu_us(CLOCK_PROCESS_CPUTIME_ID) - all;
    printf("%" PRIu64 " requests: worker %.2f us, learner %.2f us of CPU each\n", requests,
           mine / (double)requests, (all - mine) / (double)requests);
    learner_close(l);
    for (const char *const *s = (const char *const[]){"", "-wal", "-shm", NULL}; *s; s++) {
        char name[320];

        snprintf(name, sizeof name, "%s%s", path, *s);
        unlink(name);
    }
    return rmdir(folder);
}
