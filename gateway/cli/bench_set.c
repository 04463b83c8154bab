/* Rows become cells. Called by cmd_bench. */
#include "gateway/cli/bench_set.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "base/rng.h"

#define DRAW_SEED 1 /* of votes: the same rows give the same figures */

/* Where the arms lie in the rows' table of names. */
static enum err find_arms(struct bench_set *s, const struct rows *r, const struct bench_arms *arms,
                          size_t *at, struct err_text *t)
{
    if (arms->count == 0 && r->models > PANDORA_BOXES) {
        err_say(t, "the rows have %zu models and a cascade at most %d: name some with --models",
                r->models, PANDORA_BOXES);
        return ERR_BAD_REQUEST;
    }
    s->arms = arms->count ? arms->count : (int)r->models;
    for (int j = 0; j < s->arms; j++) {
        at[j] = arms->count ? r->models : (size_t)j;
        for (size_t m = 0; arms->count && m < r->models; m++)
            if (slice_eq(r->model_name[m], slice_str(arms->model[j])))
                at[j] = m;
        if (at[j] == r->models) {
            err_say(t, "the rows have no model '%s'", arms->model[j]);
            return ERR_BAD_REQUEST;
        }
        s->arm[j] = arena_strdup(&s->arena, r->model_name[at[j]]);
    }
    if (s->arms > 0)
        return ERR_OK;
    err_say(t, "the rows name no models");
    return ERR_BAD_REQUEST;
}

/* By the policy's prices, as the gateway estimates a request it has not sent: four bytes a token.
 * Each further answer costs as much as the first. */
static double priced(const struct policy_model *m, struct slice text, const struct bench_cell *o)
{
    const struct policy_price *p = policy_price_at(m, INT64_MAX);
    struct token_usage u = {0};

    u.n[TOK_INPUT] = (int64_t)(text.n / 4);
    u.n[TOK_OUTPUT] = isnan(o->tokens_out) ? 0 : (int64_t)o->tokens_out;
    return p->per_token ? (double)policy_cost(p, &u, 0) * (o->samples + 1) : (double)NAN;
}

static const struct row_outcome *outcome_of(const struct row *row, size_t model, double *success)
{
    for (size_t i = 0; i < row->score_count; i++)
        if (row->model[i] == model) {
            *success = (double)row->score[i];
            return &row->outcome[i];
        }
    return NULL;
}

/* Case and white space do not make another answer. */
static bool same_answer(struct slice a, struct slice b)
{
    size_t i = 0, j = 0;

    for (;;) {
        while (i < a.n && isspace((unsigned char)a.p[i]))
            i++;
        while (j < b.n && isspace((unsigned char)b.p[j]))
            j++;
        if (i == a.n || j == b.n)
            return i == a.n && j == b.n;
        if (tolower((unsigned char)a.p[i++]) != tolower((unsigned char)b.p[j++]))
            return false;
    }
}

/* As many of the recorded answers as are asked for, drawn without putting back. The first is the
 * one that the score is of. */
static void draw_samples(struct bench_cell *c, int wanted, struct rng *rng)
{
    int pool = c->samples, alike = c->repeats;

    if (wanted == 0 || wanted > c->samples)
        return;
    c->samples = wanted - 1;
    c->repeats = 0;
    for (int i = 0; i < c->samples; i++) {
        bool same = (int)rng_below(rng, (uint64_t)pool--) < alike;
        alike -= same;
        c->repeats += same;
    }
}

/* One row's cells; false: it lacks something. */
static bool fill_row(const struct bench_set *s, const struct row *row, const size_t *at,
                     const struct bench_arms *arms, struct rng *rng, struct bench_cell *cell)
{
    struct slice answer[PANDORA_BOXES];

    for (int j = 0; j < s->arms; j++) {
        double success = (double)NAN;
        const struct row_outcome *o = outcome_of(row, at[j], &success);
        if (!o || isnan(success))
            return false;
        cell[j] = (struct bench_cell){success, o->cost_nanousd, o->confidence, o->tokens_out,
                                      -1,      o->samples,      o->repeats};
        if (arms->count)
            draw_samples(&cell[j], arms->samples[j], rng);
        if (isnan(cell[j].cost_nanousd) && arms->count && arms->priced[j])
            cell[j].cost_nanousd = priced(arms->priced[j], row->text, &cell[j]);
        if (isnan(cell[j].cost_nanousd))
            return false;
        answer[j] = o->answer;
        for (int i = 0; i <= j && answer[j].n && cell[j].answer < 0; i++)
            if (answer[i].n && same_answer(answer[i], answer[j]))
                cell[j].answer = i;
    }
    return true;
}

static void name_classes(struct bench_set *s, const struct rows *r)
{
    s->classes = (int)r->classes + 1;
    s->label = ARENA_ARRAY(&s->arena, const char *, s->classes);
    for (size_t i = 0; i < r->classes; i++)
        s->label[i] = arena_strdup(&s->arena, r->class_name[i]);
    s->label[r->classes] = "";
}

static void take_means(struct bench_set *s)
{
    for (int j = 0; j < s->arms; j++) {
        for (size_t i = 0; i < s->rows; i++) {
            const struct bench_cell *c = bench_cell(s, i, j);
            s->mean_cost[j] += c->cost_nanousd / (double)s->rows;
            s->mean_success[j] += c->success / (double)s->rows;
            s->confident = s->confident || !isnan(c->confidence) || c->samples > 0;
        }
    }
}

enum err bench_set_init(struct bench_set *s, const struct rows *r, const struct bench_arms *arms,
                        struct err_text *t)
{
    size_t at[PANDORA_BOXES];
    struct rng rng;

    rng_seed(&rng, DRAW_SEED);
    *s = (struct bench_set){.rows = 0};
    arena_init(&s->arena, 65536);
    enum err e = find_arms(s, r, arms, at, t);
    if (e != ERR_OK)
        return e;
    name_classes(s, r);
    s->class_of = mem_zalloc(r->count + 1, sizeof *s->class_of);
    s->text = mem_zalloc(r->count + 1, sizeof *s->text);
    s->cell = mem_zalloc((r->count + 1) * (size_t)s->arms, sizeof *s->cell);
    for (size_t i = 0; i < r->count; i++) {
        const struct row *row = &r->row[i];
        if (!fill_row(s, row, at, arms, &rng, &s->cell[s->rows * (size_t)s->arms])) {
            s->dropped++;
            continue;
        }
        s->text[s->rows] = row->text;
        s->class_of[s->rows++] = row->label >= 0 ? row->label : s->classes - 1;
    }
    take_means(s);
    if (s->rows > 0)
        return ERR_OK;
    err_say(t, "none of the %zu rows has a score and a cost of every arm%s", r->count,
            arms->count && arms->priced[0] ? ""
                                           : " (costs that were not recorded come from a policy)");
    return ERR_BAD_REQUEST;
}

void bench_set_level_costs(struct bench_set *s)
{
    for (size_t i = 0; i < s->rows; i++)
        for (int j = 0; j < s->arms; j++)
            s->cell[i * (size_t)s->arms + (size_t)j].cost_nanousd = s->mean_cost[j];
}

void bench_set_clear(struct bench_set *s)
{
    free(s->cell);
    free(s->text);
    free(s->class_of);
    arena_clear(&s->arena);
}
