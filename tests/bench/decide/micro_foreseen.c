/* What foresight adds to a request that the static tier classified: the look at weir's own heads
 * (three models) and the shifts of two arms.
 * usage: micro_foreseen */
#include <stdio.h>
#include <time.h>
#include "router/foreseen.h"
#include "router/request_int.h"

enum { REQUESTS = 200000 };

/* CPU time, so that a busy machine tells the same. */
static double cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(void)
{
    static const struct policy_encoder encoder = {
        .model = POLICY_ENCODER_STATIC, .max_tokens = POLICY_NONE, .static_first = POLICY_OFF};
    struct policy_model models[2] = {{.name = "small", .upstream_name = "small"},
                                     {.name = "large", .upstream_name = "large"}};
    struct policy_step steps[2] = {{.model = 0}, {.model = 1}};
    struct policy_route route = {
        .decide.mode = POLICY_DECIDE_OBJECTIVE, .steps = steps, .cascade_count = 2};
    struct policy policy = {.models = models, .routes = &route, .route_count = 1};
    static struct beliefs_context b = {
        .arms = 2, .arm = {{.success = 0.5, .foresight.trust = 1}, {.success = 0.8}}};
    static struct request r;
    struct snapshot snap = {.policy = &policy};
    struct err_text t;
    double sum = 0, begin;

    if (classifier_new(&(struct classifier_options){.encoder = &encoder}, &snap.classifier, &t) !=
        ERR_OK) {
        fprintf(stderr, "micro_foreseen: %s\n", t.s);
        return 1;
    }
    r.snap = &snap;
    r.route = &route;
    arena_init(&r.arena, 4096);
    r.class.text = SLICE("How do I prove that the square root of two is not a rational number?");
    begin = cpu_us();
    for (int i = 0; i < REQUESTS; i++) {
        r.class.success = NULL;
        sum += foreseen_find(&r, &b)->shift[0];
        arena_clear(&r.arena);
    }
    printf("foreseen_find, static tier: %.2f us of CPU a request (mean shift %.3f)\n",
           (cpu_us() - begin) / REQUESTS, sum / REQUESTS);
    classifier_unref(snap.classifier);
    return 0;
}
