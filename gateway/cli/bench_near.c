/* Neighbours from recorded results. Called by bench_run. */
#include "gateway/cli/bench_near.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "router/decide/remembered.h"
#include "router/neighbours.h"

struct bench_near {
    const struct bench_set *set;
    struct bench_vectors vectors;
    struct neighbours *all; /* owned reference */
    const struct neighbours_route *route;
    size_t *place; /* owned: [rows of the set], among the neighbours; NEIGHBOURS_NONE: it is none */
};

/* What is collected before it is made into neighbours. */
struct collected {
    struct bench_near *near;
    float *vector;                  /* [EXANTE_ROWS][dim] */
    struct exante_outcome *outcome; /* [EXANTE_ROWS][arms] */
    size_t rows;
};

static void begin(const struct bench_set *s, const struct bench_vectors *v, struct collected *c)
{
    struct bench_near *n = mem_zalloc(1, sizeof *n);

    *n = (struct bench_near){.set = s, .vectors = *v};
    n->place = mem_zalloc(s->rows, sizeof *n->place);
    for (size_t i = 0; i < s->rows; i++)
        n->place[i] = NEIGHBOURS_NONE;
    *c = (struct collected){.near = n};
    c->vector = mem_zalloc(EXANTE_ROWS, (size_t)v->dim * sizeof *c->vector);
    c->outcome = mem_zalloc(EXANTE_ROWS, (size_t)s->arms * sizeof *c->outcome);
}

/* [arms] of the next row to be taken. */
static struct exante_outcome *next_outcome(const struct collected *c)
{
    return c->outcome + c->rows * (size_t)c->near->set->arms;
}

static void take(struct collected *c, size_t row)
{
    size_t dim = (size_t)c->near->vectors.dim;

    memcpy(c->vector + c->rows * dim, c->near->vectors.of + row * dim, dim * sizeof *c->vector);
    c->near->place[row] = c->rows++;
}

static struct bench_near *finish(struct collected *c)
{
    struct bench_near *n = c->near;
    struct neighbours_route_in in = {.name = BENCH_ROUTE,
                                     .model = n->set->arm,
                                     .arms = n->set->arms,
                                     .rows = c->rows,
                                     .vector = c->vector,
                                     .outcome = c->outcome};

    n->all = neighbours_new(&in, 1, n->vectors.dim);
    n->route = neighbours_find(n->all, SLICE(BENCH_ROUTE));
    free(c->outcome);
    free(c->vector);
    return n;
}

struct bench_near *bench_near_of_rows(const struct bench_set *s, const struct bench_vectors *v,
                                      const struct beliefs *b, const size_t *rows, size_t count)
{
    struct collected c;

    begin(s, v, &c);
    for (size_t i = 0; i < count && i < EXANTE_ROWS; i++) {
        const struct beliefs_context *class = bench_context(s, b, rows[i]);
        for (int j = 0; j < s->arms; j++)
            remembered_outcome(&class->arm[j],
                               &(struct remembered){.bin = -1,
                                                    .value = bench_cell(s, rows[i], j)->success,
                                                    .weight = 1},
                               &next_outcome(&c)[j]);
        take(&c, rows[i]);
    }
    return finish(&c);
}

/* ---- of a stream ---- */

/* The answers of the request whose last one is at `end` - 1; returns where they begin. false in
 * *told: none of them has a label that counts. */
static size_t note_request(const struct bench_learner *l, const struct beliefs *b, int64_t now_us,
                           size_t end, struct exante_outcome *out, bool *told)
{
    const struct bench_answer *last = &l->answer[end - 1];
    const struct beliefs_context *class = bench_context(l->set, b, last->row);
    size_t i = end;

    memset(out, 0, (size_t)l->set->arms * sizeof *out);
    *told = false;
    for (; i > 0 && l->answer[i - 1].when_us == last->when_us; i--) {
        const struct bench_answer *a = &l->answer[i - 1];
        bool known = bench_learner_knows(a, now_us);
        struct remembered is = {.stage = a->stage,
                                .bin = curve_bin(scorer_score(&l->scorer[a->arm], a->feature)),
                                .value = known ? a->label : -1,
                                .weight = 1,
                                .decided_us = a->when_us};
        *told |= remembered_outcome(&class->arm[a->arm], &is, &out[a->arm]) && out[a->arm].told;
    }
    return i;
}

struct bench_near *bench_near_of_answers(const struct bench_learner *l,
                                         const struct bench_vectors *v, const struct beliefs *b,
                                         int64_t now_us)
{
    struct collected c;
    bool told;

    begin(l->set, v, &c);
    for (size_t i = l->answers; i > 0 && c.rows < EXANTE_ROWS;) {
        size_t row = l->answer[i - 1].row;
        i = note_request(l, b, now_us, i, next_outcome(&c), &told);
        if (told && c.near->place[row] == NEIGHBOURS_NONE)
            take(&c, row);
    }
    return finish(&c);
}

void bench_near_free(struct bench_near *n)
{
    if (!n)
        return;
    neighbours_unref(n->all);
    free(n->place);
    free(n);
}

/* ---- asking ---- */

void bench_near_shift(const struct bench_near *n, const struct beliefs *b, size_t row,
                      double *shift)
{
    double believed[PANDORA_BOXES], trust = n ? neighbours_trust(n->route) : 0;

    memset(shift, 0, PANDORA_BOXES * sizeof *shift);
    if (!(trust > 0))
        return;
    for (int j = 0; j < n->set->arms; j++)
        believed[j] = bench_context(n->set, b, row)->arm[j].success;
    neighbours_lift(n->route, n->vectors.of + row * (size_t)n->vectors.dim, believed, n->place[row],
                    shift);
    for (int j = 0; j < n->set->arms; j++)
        shift[j] *= trust;
}
