/* What a decision costs, and a snapshot of 64 classes x 6 models.
 * usage: micro_decide */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "base/mem.h"
#include "base/rng.h"
#include "router/decide/plan.h"

enum { CLASSES = 64, ARMS = 6, DECISIONS = 1000000, BUILDS = 20 };

static struct tally_view view[CLASSES * ARMS];
static char label[CLASSES][16];

/* CPU time, so that a busy machine tells the same. */
static double cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void fill(struct rng *r)
{
    for (int i = 0; i < CLASSES * ARMS; i++) {
        struct tally_view *v = &view[i];
        double skill = 0.5 + 0.4 * (i % ARMS) / ARMS, cost = 1000 * pow(3, i % ARMS);
        v->x[TALLY_FIRST] = v->x[TALLY_ASKED] = 400;
        v->x[TALLY_COST_NANOUSD] = 400 * cost;
        v->x[TALLY_COST_SQUARE] = 400 * cost * cost / 1e6;
        for (int k = 0; k < 400; k++) {
            double p = skill + 0.3 * (rng_unit(r) - 0.5);
            int bin = curve_bin(p);
            v->x[tally_answers(0, bin)]++;
            v->x[tally_label(TALLY_EXPLICIT, rng_unit(r) < p, false, bin)] += 1000;
        }
    }
}

static struct beliefs *build(double floor)
{
    const struct tally_view *slow[CLASSES * ARMS];
    struct beliefs_class_in class[CLASSES];
    struct beliefs_arm_in arm[ARMS];
    struct beliefs_route_in route = {"r", beliefs_objective_default, arm, ARMS, class, CLASSES,
                                     NULL};
    static const char *const names[ARMS] = {"a", "b", "c", "d", "e", "f"};

    route.objective.price.floor = floor;
    for (int j = 0; j < ARMS; j++)
        arm[j] = (struct beliefs_arm_in){names[j], 1000 * pow(3, j), 1, true, NULL, 0};
    for (int g = 0; g < CLASSES; g++) {
        for (int j = 0; j < ARMS; j++)
            slow[g * ARMS + j] = &view[g * ARMS + j];
        snprintf(label[g], sizeof label[g], g ? "class %d" : "", g);
        class[g] = (struct beliefs_class_in){label[g], slow + (size_t)(g * ARMS), NULL};
    }
    return beliefs_build(&(struct beliefs_in){&route, 1, tally_trust_default, 1, 0});
}

static double decide(const struct beliefs *b, const double *shift)
{
    struct plan p;
    unsigned asked = 0;
    double begin = cpu_us();

    for (int i = 0; i < DECISIONS; i++) {
        const struct plan_question q = {.mode = PLAN_OBJECTIVE,
                                        .arms = ARMS,
                                        .allowed = (1u << ARMS) - 1,
                                        .beliefs = beliefs_at(b, (size_t)(i % CLASSES)),
                                        .shift = shift,
                                        .budget_nanousd = -1,
                                        .pin = -1,
                                        .explore = true,
                                        .seed = (uint64_t)i};
        plan_begin(&p, &q);
        plan_answer(&p, (i % 100) / 100.0, PLAN_UNCHECKED, 1000);
        asked += plan_next(&p, ~0u).verb == PLAN_ASK;
    }
    double ns = 1000.0 * (cpu_us() - begin) / (2.0 * DECISIONS);
    fprintf(stderr, "(%u of %d went on)\n", asked, DECISIONS);
    return ns;
}

int main(void)
{
    const double shift[ARMS] = {0.4, 0.2, 0, -0.2, 0.1, 0.3};
    double best_ms = INFINITY;
    struct beliefs *b = NULL;
    struct rng r;

    rng_seed(&r, 1);
    fill(&r);
    for (int i = 0; i < BUILDS; i++) {
        beliefs_unref(b);
        double begin = cpu_us();
        b = build(0.85);
        best_ms = fmin(best_ms, (cpu_us() - begin) / 1000);
    }
    printf("snapshot of %d classes x %d models      %8.2f ms (best of %d)\n", CLASSES, ARMS,
           best_ms, BUILDS);
    printf("decision (mean of first and next)      %8.0f ns\n", decide(b, NULL));
    printf("... with estimates before the answer   %8.0f ns\n", decide(b, shift));
    beliefs_unref(b);
    return 0;
}
