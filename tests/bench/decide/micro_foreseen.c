/* What foresight adds to a request that the static tier classified: the look at weir's own heads
 * (three models) and the shifts of two arms; the vector that is kept; a full memory of neighbours,
 * asked, and made.
 * usage: micro_foreseen */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "base/mem.h"
#include "base/rng.h"
#include "router/encoder/static_table.h"
#include "router/foreseen.h"
#include "router/neighbours.h"
#include "router/request_int.h"

enum { REQUESTS = 200000 };

/* CPU time, so that a busy machine tells the same. */
static double cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Questions about the one that will be asked, in all directions; what came of them hangs on one
 * number, so that they are trusted. */
static struct neighbours *full_memory(struct slice text)
{
    static const char *const models[2] = {"small", "large"};
    enum { DIM = 192 };
    float *vector = mem_zalloc(EXANTE_ROWS * DIM, sizeof *vector);
    struct exante_outcome *outcome = mem_zalloc(2 * EXANTE_ROWS, sizeof *outcome);
    float asked[DIM];
    struct rng r;
    double begin;

    static_table_embed(static_table_builtin(), text, asked, NULL);
    rng_seed(&r, 1);
    for (size_t i = 0; i < EXANTE_ROWS; i++) {
        double square = 0;
        for (size_t k = 0; k < DIM; k++) {
            vector[i * DIM + k] = asked[k] + (float)(rng_unit(&r) - 0.5) / 6;
            square += (double)(vector[i * DIM + k] * vector[i * DIM + k]);
        }
        for (size_t k = 0; k < DIM; k++)
            vector[i * DIM + k] /= (float)sqrt(square);
        for (size_t j = 0; j < 2; j++)
            outcome[2 * i + j] =
                (struct exante_outcome){vector[i * DIM] > asked[0] ? 1 : 0, 1, 0.5F, true};
    }
    struct neighbours_route_in in = {.name = "main",
                                     .model = models,
                                     .arms = 2,
                                     .rows = EXANTE_ROWS,
                                     .vector = vector,
                                     .outcome = outcome};
    begin = cpu_us();
    struct neighbours *n = neighbours_new(&in, 1, DIM);
    printf("neighbours_new, %d questions: %.1f ms (trust %.2f)\n", EXANTE_ROWS,
           (cpu_us() - begin) / 1e3, neighbours_trust(neighbours_find(n, SLICE("main"))));
    free(outcome);
    free(vector);
    return n;
}

static void measure(struct request *r, const struct beliefs_context *b, const struct neighbours *n,
                    const char *what)
{
    double sum = 0, begin = cpu_us();

    for (int i = 0; i < REQUESTS; i++) {
        r->class.success = NULL;
        const struct foreseen *f = foreseen_find(r, b, n);
        sum += f ? f->shift[0] : 0;
        arena_clear(&r->arena);
    }
    printf("foreseen_find, static tier, %s: %.2f us of CPU a request (mean shift %.3f)\n", what,
           (cpu_us() - begin) / REQUESTS, sum / REQUESTS);
}

int main(void)
{
    static const struct policy_encoder encoder = {
        .model = POLICY_ENCODER_STATIC, .max_tokens = POLICY_NONE, .static_first = POLICY_OFF};
    struct policy_model models[2] = {{.name = "small", .upstream_name = "small"},
                                     {.name = "large", .upstream_name = "large"}};
    struct policy_step steps[2] = {{.model = 0}, {.model = 1}};
    struct policy_route route = {
        .name = "main", .decide.mode = POLICY_DECIDE_OBJECTIVE, .steps = steps, .cascade_count = 2};
    struct policy policy = {.models = models, .routes = &route, .route_count = 1};
    static struct beliefs_context b = {
        .arms = 2,
        .arm = {{.model = "small", .success = 0.5, .foresight.trust = 1},
                {.model = "large", .success = 0.8}}};
    static struct request r;
    struct snapshot snap = {.policy = &policy};
    const struct slice text =
        SLICE("How do I prove that the square root of two is not a rational number?");
    struct neighbours *n = full_memory(text);
    struct err_text t;

    if (classifier_new(&(struct classifier_options){.encoder = &encoder}, &snap.classifier, &t) !=
        ERR_OK) {
        fprintf(stderr, "micro_foreseen: %s\n", t.s);
        return 1;
    }
    r.snap = &snap;
    r.route = &route;
    arena_init(&r.arena, 4096);
    r.class.text = text;
    route.decide.learn.neighbours = POLICY_LEARN_OFF;
    measure(&r, &b, NULL, "heads alone");
    route.decide.learn.neighbours = POLICY_LEARN_ON;
    measure(&r, &b, NULL, "and the vector that is kept");
    measure(&r, &b, n, "and neighbours");
    neighbours_unref(n);
    classifier_unref(snap.classifier);
    return 0;
}
