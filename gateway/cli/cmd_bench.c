/* weir bench: recorded results of many models through the decision code. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "gateway/cli/bench_figures.h"
#include "gateway/cli/bench_json.h"
#include "gateway/cli/bench_run.h"
#include "gateway/cli/bench_stream.h"
#include "gateway/cli/bench_svg.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/out.h"
#include "gateway/cli/training.h"
#include "router/decide/beliefs_way.h"
#include "router/encoder/features.h"

struct bench {
    const struct cli_args *args;
    struct policy *policy; /* NULL: none */
    struct rows rows;
    struct bench_set set;
    struct bench_options options;
    float *vector; /* owned: of the queries; NULL: not asked for */
    bool prequential;
    struct stream_options {
        double requests, feedback, noise, delay, interval, break_at, break_share;
        double floor, floor_of_best, failure_price; /* NAN: the policy's, or none */
    } stream;
};

/* ---- options ---- */

/* Those that one of the two splits has no use for. */
static const struct {
    const char *name;
    bool prequential; /* the split that has one */
} split_options[] = {
    {"folds", false},   {"labels", false},       {"svg", false},          {"requests", true},
    {"feedback", true}, {"noise", true},         {"delay", true},         {"interval", true},
    {"floor", true},    {"floor-of-best", true}, {"failure-price", true}, {"break", true},
    {"break-at", true}, {"break-share", true},
};

static bool take_split(struct bench *k)
{
    const char *split = cli_value(k->args, "split");

    k->prequential = split && strcmp(split, "prequential") == 0;
    if (split && !k->prequential && strcmp(split, "cv") != 0) {
        fprintf(stderr, "weir bench: --split: '%s' is neither cv nor prequential\n", split);
        return false;
    }
    for (size_t i = 0; i < sizeof split_options / sizeof *split_options; i++)
        if (split_options[i].prequential != k->prequential &&
            cli_value(k->args, split_options[i].name)) {
            fprintf(stderr, "weir bench: --%s has no effect with --split %s\n",
                    split_options[i].name, k->prequential ? "prequential" : "cv");
            return false;
        }
    return true;
}

/* A policy names its models itself. */
static bool take_source(const struct bench *k)
{
    const char *wrong = cli_value(k->args, "models") && cli_value(k->args, "policy")
                            ? "--models has no effect with --policy, whose route names the models"
                        : cli_value(k->args, "route") && !cli_value(k->args, "policy")
                            ? "--route has no effect without --policy"
                            : NULL;

    if (wrong)
        fprintf(stderr, "weir bench: %s\n", wrong);
    return !wrong;
}

/* What gets worse, and from when on within the stream. */
static bool take_break(const struct bench *k)
{
    const char *at = cli_value(k->args, "break-at"), *share = cli_value(k->args, "break-share");

    if ((at || share) && !cli_value(k->args, "break")) {
        fprintf(stderr, "weir bench: --%s has no effect without --break\n",
                at ? "break-at" : "break-share");
        return false;
    }
    if (!at || k->stream.break_at < k->stream.requests)
        return true;
    fprintf(stderr, "weir bench: --break-at %s: the stream has %.0f requests\n", at,
            k->stream.requests);
    return false;
}

/* Before anything is read. false: it was said what is wrong. */
static bool take_options(struct bench *k)
{
    const struct cli_args *a = k->args;
    struct stream_options *s = &k->stream;
    double seeds = 5, folds = 5, labels = 0;

    *s = (struct stream_options){.requests = 12000,
                                 .feedback = 0.3,
                                 .noise = 0,
                                 .delay = 500,
                                 .interval = 10,
                                 .break_at = (double)NAN,
                                 .break_share = 0.5,
                                 .floor = (double)NAN,
                                 .floor_of_best = 0,
                                 .failure_price = (double)NAN};
    if (!take_source(k) || !take_split(k) || !training_whole(a, "seeds", 1, BENCH_SEEDS, &seeds) ||
        !training_whole(a, "folds", 2, 20, &folds) ||
        !training_whole(a, "labels", 0, 1e6, &labels) ||
        !training_whole(a, "requests", 2000, 1e6, &s->requests) ||
        !training_number(a, "feedback", 0, 1, &s->feedback) ||
        !training_number(a, "noise", 0, 0.49, &s->noise) ||
        !training_whole(a, "delay", 0, 1e6, &s->delay) ||
        !training_number(a, "interval", 0.001, 86400, &s->interval) ||
        !training_whole(a, "break-at", 0, 1e6, &s->break_at) ||
        !training_number(a, "break-share", 0, 1, &s->break_share) ||
        !training_number(a, "floor", 0, 1, &s->floor) ||
        !training_number(a, "floor-of-best", 0, 1, &s->floor_of_best) ||
        !training_number(a, "failure-price", 0, 1e6, &s->failure_price) || !take_break(k))
        return false;
    k->options.seeds = (int)seeds;
    k->options.folds = (int)folds;
    k->options.labels = (size_t)labels;
    return true;
}

/* ---- rows and arms ---- */

static enum err read_rows(struct bench *k, struct err_text *t)
{
    for (int i = 0; i < k->args->operand_count; i++) {
        const char *file = k->args->operands[i], *slash = strrchr(file, '/');
        const struct rows_options opt = {
            .class_key = cli_value(k->args, "class-key"),
            .class_name = cli_flag(k->args, "class-by-file") ? (slash ? slash + 1 : file) : NULL,
            .outcomes = true,
        };
        enum err e = rows_read(&k->rows, file, &opt, t);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static enum err add_arm(struct bench_arms *arms, const char *name, const struct policy_model *m,
                        struct err_text *t)
{
    if (arms->count == PANDORA_BOXES) {
        err_say(t, "more than %d models", PANDORA_BOXES);
        return ERR_BAD_REQUEST;
    }
    arms->priced[arms->count] = m;
    arms->model[arms->count++] = name;
    return ERR_OK;
}

/* The arm of that name in the rows, or -1. */
static int arm_named(const struct bench_arms *arms, const char *name)
{
    for (int j = 0; j < arms->count; j++)
        if (strcmp(arms->model[j], name) == 0)
            return j;
    return -1;
}

static enum err named_twice(const char *name, struct err_text *t)
{
    err_say(t, "--models names '%s' twice", name);
    return ERR_BAD_REQUEST;
}

/* "a,b,c"; the names stay in the text, which is cut at the commas. */
static enum err named_arms(char *text, struct bench_arms *arms, struct err_text *t)
{
    enum err e = ERR_OK;

    for (char *at = text; at && e == ERR_OK;) {
        char *comma = strchr(at, ',');
        if (comma)
            *comma++ = '\0';
        e = arm_named(arms, at) >= 0 ? named_twice(at, t) : add_arm(arms, at, NULL, t);
        at = comma;
    }
    return e;
}

static bool is_recorded(const struct rows *r, const char *name)
{
    for (size_t m = 0; m < r->models; m++)
        if (slice_eq(r->model_name[m], slice_str(name)))
            return true;
    return false;
}

/* Two models that were recorded as one would have each other's answers, and the second would look
 * as if it always agreed: refused. */
static enum err add_priced_arm(const struct rows *r, struct bench_arms *arms,
                               const struct policy_model *m, struct err_text *t)
{
    const char *name = is_recorded(r, m->name) ? m->name : m->upstream_name;
    int other = arm_named(arms, name);

    if (other < 0)
        return add_arm(arms, name, m, t);
    err_say(t, "'%s' and '%s' are both '%s' in the rows, which tell no two models of it apart",
            arms->priced[other]->name, m->name, name);
    return ERR_BAD_REQUEST;
}

/* The cascade of --route, or of the first route that has an objective. */
static const struct policy_route *chosen_route(const struct bench *k)
{
    const char *name = cli_value(k->args, "route");

    for (size_t i = 0; i < k->policy->route_count; i++) {
        const struct policy_route *r = &k->policy->routes[i];
        if (name ? strcmp(r->name, name) == 0 : r->decide.mode == POLICY_DECIDE_OBJECTIVE)
            return r;
    }
    return NULL;
}

/* The route's objective and its models, by the operator's name or the server's. */
static enum err policy_arms(struct bench *k, struct bench_arms *arms, struct err_text *t)
{
    const struct policy_route *r = chosen_route(k);
    struct beliefs_objective *o = &k->options.objective;
    enum err e = ERR_OK;

    if (!r) {
        const char *name = cli_value(k->args, "route");
        err_say(t, "%s has no route %s%s%s", cli_value(k->args, "policy"), name ? "'" : "",
                name ? name : "with an objective", name ? "'" : "");
        return ERR_BAD_REQUEST;
    }
    for (size_t i = 0; i < r->cascade_count && e == ERR_OK; i++) {
        const struct policy_model *m = &k->policy->models[r->steps[i].model];
        arms->samples[i] = (int)r->steps[i].samples;
        e = add_priced_arm(&k->rows, arms, m, t);
    }
    const struct policy_objective *p = &r->decide.objective;
    o->price.floor = p->floor.success == POLICY_OFF ? PRICE_NONE : p->floor.success;
    o->class_floor = p->floor.min_class == POLICY_OFF ? PRICE_NONE : p->floor.min_class;
    o->per_class = p->floor.scope == POLICY_FLOOR_CLASS;
    o->price.failure_price_nanousd = (double)p->failure_price;
    o->price.budget_nanousd = p->budget == POLICY_NONE ? PRICE_NONE : (double)p->budget;
    o->explore = r->decide.explore.share;
    o->explore_spend = r->decide.explore.max_spend_share;
    o->cold_share = r->decide.explore.cold_start;
    o->flip = r->decide.explore.step_share;
    return e;
}

/* Prices from "never worth it" to "whatever it costs", evenly in logarithms, around the dearest
 * arm's cost. */
static void spread_prices(struct bench *k)
{
    double dearest = 1;

    for (int j = 0; j < k->set.arms; j++)
        dearest = fmax(dearest, k->set.mean_cost[j]);
    k->options.prices = BENCH_PRICES;
    for (int i = 1; i < BENCH_PRICES; i++)
        k->options.price[i] = dearest * pow(10, -2.5 + 5.0 * (i - 1) / (BENCH_PRICES - 2));
}

/* ---- printing ---- */

static void put_head(const struct bench *k)
{
    printf("%zu rows, %d arms, %d classes; %zu rows left out\n\n", k->set.rows, k->set.arms,
           k->set.classes - 1, k->set.dropped);
}

/* never: what is printed of a figure that cannot be had. */
static void put_or(const struct bench_figure *f, double scale, const char *never)
{
    if (isnan(f->value))
        printf("  %-18s", never);
    else if (isnan(f->high))
        printf("  %5.1f [%5.1f, never]", scale * f->value, scale * f->low);
    else
        printf("  %5.1f [%5.1f, %5.1f]", scale * f->value, scale * f->low, scale * f->high);
}

static void put_figure(const struct bench_figure *f, double scale)
{
    put_or(f, scale, "never");
}

static void put_singles(const struct bench *k, const struct bench_figures *f)
{
    printf("%-34s %12s  %s\n", "single models", "USD/1,000", "success %, 95 % interval");
    for (int j = 0; j < k->set.arms; j++) {
        printf("  %-32.32s %12.4g", k->set.arm[j], f->single[j].cost / 1e6);
        put_figure(&f->success[j], 100);
        printf("%s%s%s\n", j == f->best ? "  best" : "", j == f->cheapest ? "  cheapest" : "",
               j == f->dearest ? "  dearest" : "");
    }
    printf("  %-32s %12.4g  %5.1f\n\n", "oracle (cheapest that succeeds)", f->oracle.cost / 1e6,
           100 * f->oracle.success);
}

static void put_row(const char *name, const struct bench_figure share[BENCH_TARGETS])
{
    printf("  %-14s", name);
    for (int t = 0; t < BENCH_TARGETS; t++)
        put_figure(&share[t], 100);
    putchar('\n');
}

static void put_shares(const struct bench_figures *f)
{
    printf("%-16s", "cost, % of best's");
    for (int t = 0; t < BENCH_TARGETS; t++)
        printf("  at %2.0f %% of its success", 100 * bench_targets[t]);
    putchar('\n');
    for (int i = 0; i < BENCH_FAMILIES; i++)
        put_row(bench_family_name((enum bench_family)i), f->family[i].cost_share);
    put_row("random mix", f->mix_share);
    puts("weir less that of, paired");
    for (int p = 0; p < BENCH_PEERS; p++)
        put_row(bench_peer_name((enum bench_peer)p), f->over[p]);
    printf("\n%-16s  %-20s  %-20s  %-20s  %s\n", "", "APGR", "CPT50 %", "CPT80 %", "AIQ");
    for (int i = 0; i < BENCH_FAMILIES; i++) {
        printf("  %-14s", bench_family_name((enum bench_family)i));
        put_or(&f->family[i].apgr, 100, "none"); /* the cheapest model is the best */
        put_or(&f->family[i].cpt50, 100, "none");
        put_or(&f->family[i].cpt80, 100, "none");
        put_or(&f->family[i].aiq, 100, "none");
        putchar('\n');
    }
    if (isnan(f->mix_aiq))
        printf("  %-14s  none\n\n", "random mix");
    else
        printf("  %-14s  %5.1f%57s%5.1f\n\n", "random mix", 50.0, "", 100 * f->mix_aiq);
}

static void put_dollars(const struct bench_figure *f)
{
    char text[64];

    if (isnan(f->value))
        snprintf(text, sizeof text, "never");
    else if (isnan(f->high))
        snprintf(text, sizeof text, "%.4g [%.4g, never]", f->value, f->low);
    else
        snprintf(text, sizeof text, "%.4g [%.4g, %.4g]", f->value, f->low, f->high);
    printf("  %-28s", text);
}

/* What a success costs, and how far that is from knowing each answer beforehand. */
static void put_regrets(const struct bench_figures *f)
{
    const struct evaluate_point *best = &f->single[f->best];

    printf("%-16s  %-28s  %s\n", "", "USD per 1,000 successes", "regret, points of success");
    for (int i = 0; i < BENCH_FAMILIES; i++) {
        printf("  %-14s", bench_family_name((enum bench_family)i));
        put_dollars(&f->family[i].per_success);
        put_figure(&f->family[i].regret, 100);
        putchar('\n');
    }
    printf("  %-14s", "random mix");
    put_dollars(&f->mix_per_success);
    put_figure(&f->mix_regret, 100);
    printf("\n  %-14s  %.4g\n", "best model", best->cost / best->success / 1e6);
    printf("  %-14s  %-28.4g  %5.1f\n", "oracle", f->oracle.cost / f->oracle.success / 1e6, 0.0);
    printf("at %.0f %% of the best model's success; regret: what the oracle has more for its own "
           "cost\n\n",
           100 * bench_targets[BENCH_TARGET]);
}

/* ---- running ---- */

/* Where it does not help, in words. */
static void put_verdicts(const struct bench_figures *f)
{
    for (int t = 0; t < BENCH_TARGETS; t++) {
        const struct bench_figure *weir = &f->family[BENCH_WEIR].cost_share[t];
        const struct bench_figure *class = &f->family[BENCH_CLASS_MEAN].cost_share[t];
        double bar = fmin(isnan(class->value) ? INFINITY : class->value,
                          isnan(f->mix_share[t].value) ? INFINITY : f->mix_share[t].value);
        if (!(weir->value < bar))
            printf("at %.0f %% of the best model's success weir does not help: a mix of single "
                   "models, or one for each class, costs less\n",
                   100 * bench_targets[t]);
    }
}

/* What is believed after all rows, at the objective's price, or that of 97 % of the best success.
 */
static struct beliefs *believe(struct bench *k)
{
    struct bench_learner l;
    struct beliefs_objective o = k->options.objective;
    size_t *rows = mem_zalloc(k->set.rows, sizeof *rows);

    for (size_t i = 0; i < k->set.rows; i++)
        rows[i] = i;
    if (o.price.floor < 0 && o.price.failure_price_nanousd <= 0) {
        o.price.floor_of_best = 0.97;
        o.price.window = 0;
    }
    bench_learner_init(&l, &k->set);
    bench_learner_study(&l, rows, k->set.rows);
    struct beliefs *b = bench_learner_believe(&l, &o, 0, 0);
    bench_learner_clear(&l);
    free(rows);
    return b;
}

static void put_classes(const struct beliefs *b)
{
    for (size_t i = 0; i < beliefs_count(b); i++) {
        const struct beliefs_context *c = beliefs_at(b, i);
        struct beliefs_way way;
        if (c->traffic <= 0)
            continue;
        beliefs_way(c, &way);
        if (c->single >= 0)
            printf("class '%s': one model is best: %s\n", c->label, c->arm[c->single].model);
        else
            printf("class '%s': a cascade: success %.3f at USD %.4g per 1,000\n", c->label,
                   way.success, way.cost_nanousd / 1e6);
    }
}

static void put_all(const struct bench *k, const struct bench_figures *f, const struct beliefs *b)
{
    put_head(k);
    put_singles(k, f);
    put_shares(f);
    put_regrets(f);
    put_verdicts(f);
    put_classes(b);
}

/* Figures are shares of the best model's success and cost, or compare them: they need both. */
static enum err check_best(const struct bench_set *s, struct err_text *t)
{
    int best = 0;

    for (int j = 1; j < s->arms; j++)
        if (s->mean_success[j] > s->mean_success[best])
            best = j;
    if (s->mean_success[best] > 0 && s->mean_cost[best] > 0)
        return ERR_OK;
    if (s->mean_success[best] <= 0)
        err_say(t, "no model succeeded on any of the %zu rows: there is nothing to compare",
                s->rows);
    else
        err_say(t, "the best model, '%s', costs nothing: there is nothing to save", s->arm[best]);
    return ERR_BAD_REQUEST;
}

static enum err cross_validate(struct bench *k, struct err_text *t)
{
    struct bench_results r;
    struct bench_figures f;
    const char *svg = cli_value(k->args, "svg");

    bench_results_init(&r, &k->options, k->set.rows);
    bench_cv(&k->set, &k->options, &r);
    bench_figures(&k->set, &r, &f);
    struct beliefs *b = believe(k);
    if (cli_flag(k->args, "json"))
        out_json(bench_json(&k->set, &f, b));
    else
        put_all(k, &f, b);
    beliefs_unref(b);
    bench_results_clear(&r);
    return svg ? bench_svg(svg, &k->set, &f, t) : ERR_OK;
}

/* The arm that --break names, or -1. */
static enum err broken_arm(const struct bench *k, int *arm, struct err_text *t)
{
    const char *name = cli_value(k->args, "break");

    *arm = -1;
    for (int j = 0; name && j < k->set.arms; j++)
        if (strcmp(name, k->set.arm[j]) == 0)
            *arm = j;
    if (!name || *arm >= 0)
        return ERR_OK;
    err_say(t, "--break: no model '%s' takes part", name);
    return ERR_BAD_REQUEST;
}

static enum err stream(struct bench *k, struct err_text *t)
{
    const struct stream_options *s = &k->stream;
    struct beliefs_objective *o = &k->options.objective;
    double floor = isnan(s->floor) ? o->price.floor : s->floor;
    struct bench_stream how = {.believe_every = 100, .vectors = k->options.vectors};

    for (int j = 0; s->floor_of_best > 0 && j < k->set.arms; j++)
        floor = fmax(floor, s->floor_of_best * k->set.mean_success[j]);
    if (!isnan(s->failure_price))
        o->price.failure_price_nanousd = s->failure_price * 1e9;
    how.requests = (size_t)s->requests;
    how.feedback = s->feedback;
    how.noise = s->noise;
    how.delay = (size_t)s->delay;
    how.request_s = s->interval;
    how.broken_from = isnan(s->break_at) ? how.requests / 2 : (size_t)s->break_at;
    how.broken_share = s->break_share;
    enum err e = broken_arm(k, &how.broken, t);
    if (e != ERR_OK)
        return e;
    struct bench_streams *f = mem_zalloc(1, sizeof *f);
    bench_streams(&k->set, o, &how, k->options.seeds, floor, f);
    if (cli_flag(k->args, "json")) {
        out_json(bench_json_streams(f));
    } else {
        put_head(k);
        bench_streams_print(f);
    }
    free(f);
    return ERR_OK;
}

static enum err open_set(struct bench *k, struct err_text *t)
{
    struct bench_arms arms = {.count = 0};
    const char *models = cli_value(k->args, "models");
    char *names = models ? mem_strdup(slice_str(models)) : NULL;
    enum err e = ERR_OK;

    if (names)
        e = named_arms(names, &arms, t);
    else if (k->policy)
        e = policy_arms(k, &arms, t);
    if (e == ERR_OK)
        e = bench_set_init(&k->set, &k->rows, &arms, t);
    if (e == ERR_OK && cli_flag(k->args, "per-call"))
        bench_set_level_costs(&k->set);
    free(names);
    return e;
}

static void scale_to_one(const float *x, int dim, float *out)
{
    double square = 0;

    for (int i = 0; i < dim; i++)
        square += (double)x[i] * (double)x[i];
    for (int i = 0; i < dim; i++)
        out[i] = square > 0 ? (float)((double)x[i] / sqrt(square)) : 0;
}

/* What the queries mean, by the encoder of --estimate; vectors of length 1. */
static enum err encode(struct bench *k, struct err_text *t)
{
    struct training w;
    const char *asked = cli_value(k->args, "estimate"), *model = asked ? asked : "static";

    if (strcmp(model, "none") == 0)
        return ERR_OK;
    training_init(&w);
    enum err e = training_open(&w, model, NULL, t);
    size_t width = e == ERR_OK ? feature_source_width(&w.source) : 0;
    /* the first vector of a transformer's features is the mean of its tokens */
    int dim = w.encoder ? encoder_facts(w.encoder).dim : (int)(width - FEATURES_SCALARS);
    if (e == ERR_OK) {
        float *x = mem_zalloc(k->set.rows, width * sizeof *x);
        e = row_features(&w.source, k->set.text, k->set.rows, x, w.threads, NULL, NULL, t);
        k->vector = mem_zalloc(k->set.rows, (size_t)dim * sizeof *k->vector);
        for (size_t i = 0; i < k->set.rows; i++)
            scale_to_one(x + i * width, dim, k->vector + i * (size_t)dim);
        free(x);
    }
    k->options.vectors = (struct bench_vectors){k->vector, dim};
    training_clear(&w);
    return e;
}

static enum err bench(struct bench *k, struct err_text *t)
{
    enum err e = read_rows(k, t);

    k->options.objective = beliefs_objective_default;
    if (e != ERR_OK || (e = open_set(k, t)) != ERR_OK || (e = check_best(&k->set, t)) != ERR_OK ||
        (e = encode(k, t)) != ERR_OK)
        return e;
    spread_prices(k);
    return k->prequential ? stream(k, t) : cross_validate(k, t);
}

static int run(const struct cli_args *a)
{
    struct bench k = {.args = a};
    struct err_text t = {""};
    const char *file = cli_value(a, "policy");

    if (!take_options(&k))
        return EXIT_CODE_USAGE;
    if (file && !(k.policy = out_load_policy(file, false)))
        return EXIT_CODE_POLICY;
    rows_init(&k.rows);
    enum err e = bench(&k, &t);
    policy_unref(k.policy);
    free(k.vector);
    bench_set_clear(&k.set);
    rows_clear(&k.rows);
    if (e == ERR_OK)
        return out_finish(EXIT_CODE_OK);
    fprintf(stderr, "weir bench: %s\n", t.s);
    return EXIT_CODE_RUNTIME;
}

const struct cli_command cmd_bench = {
    .name = "bench",
    .operands = "FILE...",
    .min_operands = 1,
    .max_operands = -1,
    .summary = "replay recorded results of many models through the decision code",
    .description =
        "Reads queries with each model's recorded success, cost, confidence, votes and answer "
        "(routing-rows/1, as 'weir train' does) and decides about each as the gateway would: which "
        "model first, whether its answer is good enough, which next.",
    .options =
        (const struct cli_option[]){
            {.name = "models",
             .argument = "NAME,NAME...",
             .help = "The models that take part. Default: all of the rows."},
            {.name = "policy",
             .argument = "FILE",
             .help = "Models and objective of a route of this policy. Costs that were not recorded "
                     "come from its prices, and of recorded votes as many are looked at as its "
                     "'samples' say."},
            {.name = "route",
             .argument = "NAME",
             .help = "That route. Default: the first one with an objective."},
            {.name = "split",
             .argument = "cv|prequential",
             .help = "cv (the default): learn from all models' results on the other folds, decide, "
                     "frozen, over a range of prices of a success. prequential: a stream of "
                     "requests, each decided on what was known before, similar questions and their "
                     "outcomes among it (--estimate); beside it class routing that "
                     "learns from the same labels (each class to one model, one try, nothing read "
                     "from answers, the same learner and floor), what it costs at weir's success "
                     "by its runs at several prices of a failure, and class routing that knows the "
                     "record."},
            {.name = "folds", .argument = "N", .help = "Of cross-validation. Default: 5."},
            {.name = "seeds", .argument = "N", .help = "Repetitions. Default: 5."},
            {.name = "labels",
             .argument = "N",
             .help = "Rows of each class that are learnt from at most. Default: all."},
            TRAINING_OPTION_CLASS_KEY,
            {.name = "class-by-file", .help = "Each file is a class of its own."},
            {.name = "requests", .argument = "N", .help = "Of the stream. Default: 12000."},
            {.name = "feedback",
             .argument = "SHARE",
             .help = "Requests of the stream whose served answer gets a label. Default: 0.3."},
            {.name = "noise",
             .argument = "SHARE",
             .help = "Labels that say the contrary of the truth. Default: 0."},
            {.name = "delay",
             .argument = "N",
             .help = "Requests until a label is known. Default: 500."},
            {.name = "interval",
             .argument = "SECONDS",
             .help = "Between two requests: what half-lives of 7 days and 2 hours see. Default: "
                     "10."},
            {.name = "floor", .argument = "SHARE", .help = "The stream's least success."},
            {.name = "floor-of-best",
             .argument = "SHARE",
             .help = "The same as a share of the best model's success."},
            {.name = "failure-price",
             .argument = "USD",
             .help = "What a failed answer costs the operator. Default: 0."},
            {.name = "break",
             .argument = "NAME",
             .help = "A model that silently gets worse within the stream."},
            {.name = "break-at",
             .argument = "N",
             .help = "... at that request. Default: half-way."},
            {.name = "break-share",
             .argument = "SHARE",
             .help = "... by that share of its successes. Default: 0.5."},
            {.name = "per-call",
             .help =
                 "A call of a model costs its mean, whatever the query: shares of cost are then "
                 "shares of calls."},
            {.name = "estimate",
             .argument = "NAME|FOLDER|static|none",
             .help = "Estimate each model's success before it answers, from queries that mean "
                     "something similar to this encoder. none: by its class alone. Default: "
                     "static."},
            OUT_OPTION_JSON,
            {.name = "svg", .argument = "FILE", .help = "Draw the quality-cost frontier there."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir bench rows.jsonl.gz --models small,mid,big", "What would a cascade save?"},
            {0},
        },
    .run = run,
};
