/* Do replicas that share a Redis decide as one would? The real learners, store, beliefs and plans,
 * without a gateway around them, on recorded questions: the same stream with the same labels, late
 * by a number of requests, once at one replica and once at several. Chance is the request's own:
 * with the same beliefs both take the same decision, so that what differs is what was learned when.
 * paired.py writes the questions and makes figures of what is printed: for each seed, a line of
 * each arm with its number (0: the one that others are set against), its name, successes, cost as
 * recorded, cost as is usual (what each model that was asked takes on average for a question of
 * that class, which is free of the draw of the questions), and the share of requests decided
 * otherwise than by arm 0; between tabs, all per request, costs in nano-dollars.
 *
 *   paired QUESTIONS FLOOR REPLICAS REQUESTS FIRST-SEED SEEDS ARMS
 *
 * ARMS: their numbers, such as 013. QUESTIONS: a line of models and their prices per million
 * tokens, "name input output ...", and for each question "class", and for each model "success
 * cost_nanousd score", all between tabs. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/arena.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cache/htable.h"
#include "policies/policy_load.h"
#include "router/decide/curve.h"
#include "router/decide/plan.h"
#include "router/evidence.h"
#include "router/learner.h"
#include "tests/unit/cache/redis_server.h"

#define MOST_REPLICAS 8
#define LABEL_SHARE   0.3
#define LABEL_LATE    200 /* requests */
#define NOISE         0.05
#define STEP          25 /* requests of 250 ms at 100 a second: so often a learner writes and reads */
#define SELDOM        100 /* requests of a second */
#define WAIT_MS       120000
#define LINE_BYTES    4096

struct cell {
    double success, cost, score;
    double usual; /* the mean cost of its model in its class */
};
struct question {
    const char *class;
    struct cell *model; /* [models] */
};
struct record {
    struct arena arena;
    const char *model[PANDORA_BOXES];
    double price[PANDORA_BOXES][2];
    int models;
    struct question *of;
    size_t count;
    double floor;
};

/* ---- the record ---- */

static const char *next_field(struct record *rec, char **line)
{
    char *field = strsep(line, "\t\n");

    if (!field || !*field) {
        fprintf(stderr, "paired: a line ends early\n");
        exit(2);
    }
    return arena_strdup(&rec->arena, slice_str(field));
}

static double next_number(struct record *rec, char **line)
{
    return strtod(next_field(rec, line), NULL);
}

static void read_models(struct record *rec, char *line)
{
    while (line && *line && rec->models < PANDORA_BOXES) {
        rec->model[rec->models] = next_field(rec, &line);
        for (int k = 0; k < 2; k++)
            rec->price[rec->models][k] = next_number(rec, &line);
        rec->models++;
    }
}

static void read_record(const char *path, struct record *rec)
{
    FILE *f = fopen(path, "r");
    char text[LINE_BYTES];
    size_t room = 0;

    arena_init(&rec->arena, 65536);
    if (!f || !fgets(text, sizeof text, f)) {
        perror(path);
        exit(2);
    }
    read_models(rec, text);
    while (fgets(text, sizeof text, f)) {
        char *line = text;

        if (rec->count == room) {
            room = room ? 2 * room : 1024;
            rec->of = mem_resize(rec->of, room, sizeof *rec->of);
        }
        struct question *q = &rec->of[rec->count++];
        q->class = next_field(rec, &line);
        q->model = ARENA_ARRAY(&rec->arena, struct cell, rec->models);
        for (int j = 0; j < rec->models; j++) {
            q->model[j].success = next_number(rec, &line);
            q->model[j].cost = next_number(rec, &line);
            q->model[j].score = next_number(rec, &line);
        }
    }
    fclose(f);
}

static void find_usual_costs(struct record *rec)
{
    for (size_t i = 0; i < rec->count; i++) {
        double sum[PANDORA_BOXES] = {0}, n = 0;

        if (rec->of[i].model[0].usual > 0)
            continue; /* its class was done */
        for (size_t k = i; k < rec->count; k++) {
            if (strcmp(rec->of[k].class, rec->of[i].class) != 0)
                continue;
            for (int j = 0; j < rec->models; j++)
                sum[j] += rec->of[k].model[j].cost;
            n++;
        }
        for (size_t k = i; k < rec->count; k++)
            for (int j = 0; j < rec->models && !strcmp(rec->of[k].class, rec->of[i].class); j++)
                rec->of[k].model[j].usual = sum[j] / n;
    }
}

static struct policy *make_policy(const struct record *rec)
{
    struct policy_load_options options = {.resolve_secrets = false};
    struct policy *p = NULL;
    struct diags d;
    struct buf b;
    enum err err;

    buf_init(&b, 65536);
    err = buf_printf(&b, "version: 1\nbackends: {up: {dialect: openai, url: "
                         "\"http://127.0.0.1:1/v1\"}}\nmodels:\n");
    for (int j = 0; j < rec->models && err == ERR_OK; j++)
        err = buf_printf(&b, "  %s: {backend: up, price: {input: %g, output: %g}}\n", rec->model[j],
                         rec->price[j][0], rec->price[j][1]);
    if (err == ERR_OK)
        err = buf_printf(&b,
                         "routes:\n  - name: live\n    match: {model: auto}\n    objective: "
                         "{floor: %.4f}\n    cascade: [",
                         rec->floor * (1 - 2 * NOISE) + NOISE);
    for (int j = 0; j < rec->models && err == ERR_OK; j++)
        err = buf_printf(&b, "%s%s", j ? ", " : "", rec->model[j]);
    if (err == ERR_OK)
        err = buf_printf(&b, "]\n");
    diags_init(&d);
    if (err != ERR_OK || policy_load_text(buf_slice(&b), "paired", &options, &d, &p) != ERR_OK) {
        fprintf(stderr, "paired: the policy does not load\n");
        exit(1);
    }
    diags_clear(&d);
    buf_clear(&b);
    return p;
}

/* ---- one arm of the comparison ---- */

struct done {
    double success, cost, usual;
    int served;
};

struct arm {
    const struct record *rec;
    struct policy *policy;
    struct learner *replica[MOST_REPLICAS];
    struct beliefs *beliefs[MOST_REPLICAS];
    int replicas;
    bool in_step; /* all know all before each step */
    size_t every; /* else each learns once in so many requests, one after the other */
    uint64_t seed, salt;
    size_t requests;
    const size_t *order;
    struct done *done; /* [requests] */
};

static uint64_t chance_of(uint64_t seed, size_t i, uint64_t salt)
{
    return htable_hash_id(htable_hash_id(seed * 1000003 + i) ^ salt);
}

static void name_request(const struct arm *a, size_t i, char out[48])
{
    snprintf(out, 48, "req_%" PRIu64 "_%zu", a->seed, i);
}

static void take_beliefs(struct arm *a, int k)
{
    beliefs_unref(a->beliefs[k]);
    a->beliefs[k] = learner_beliefs(a->replica[k], a->policy);
}

static void flush(struct arm *a, int k)
{
    if (!learner_flush(a->replica[k], WAIT_MS)) {
        fprintf(stderr, "paired: a learner does not come to an end\n");
        exit(1);
    }
}

/* Learners' own reads go on beside; requests see what was there when theirs was taken. */
static void learn(struct arm *a, size_t i)
{
    if (a->in_step)
        for (int round = 0; round < 2; round++) /* the second hears what the others wrote */
            for (int k = 0; k < a->replicas; k++)
                flush(a, k);
    for (int k = 0; k < a->replicas; k++) {
        size_t turn = (size_t)k * a->every / (size_t)a->replicas / STEP * STEP;
        bool mine = !a->in_step && i % a->every == turn;

        if (mine)
            flush(a, k);
        if (mine || a->in_step)
            take_beliefs(a, k);
    }
}

static void fill_evidence(const struct arm *a, const struct plan *p, const struct question *q,
                          int served, struct evidence_answer *all, int *count)
{
    for (int i = 0; i < p->log.count; i++) {
        const struct plan_choice *c = &p->log.choice[i];

        if (c->chosen < 0)
            continue;
        all[*count] = (struct evidence_answer){.model = a->rec->model[c->chosen],
                                               .bin = curve_bin(q->model[c->chosen].score),
                                               .stage = c->stage,
                                               .chance = p->log.expected,
                                               .first = *count == 0,
                                               .served = c->chosen == served,
                                               .cost = (nanousd)q->model[c->chosen].cost,
                                               .tokens_in = 1,
                                               .tokens_out = 1,
                                               .verdict_milli = -1};
        ++*count;
    }
}

static void request(struct arm *a, size_t i, int k)
{
    const struct question *q = &a->rec->of[a->order[i]];
    struct evidence_answer all[PANDORA_BOXES + 3];
    unsigned allowed = (1u << a->rec->models) - 1;
    struct done *d = &a->done[i];
    char id[48];
    struct plan p;
    int count = 0;
    struct plan_question ask = {.mode = PLAN_OBJECTIVE,
                                .arms = a->rec->models,
                                .allowed = allowed,
                                .beliefs =
                                    beliefs_find(a->beliefs[k], SLICE("live"), slice_str(q->class)),
                                .budget_nanousd = -1,
                                .pin = -1,
                                .explore = true,
                                .seed = chance_of(a->seed, i, a->salt)};
    struct plan_step step = plan_begin(&p, &ask);

    *d = (struct done){0};
    while (step.verb == PLAN_ASK) {
        const struct cell *c = &q->model[step.arm];

        d->cost += c->cost;
        d->usual += c->usual;
        plan_answer(&p, c->score, PLAN_UNCHECKED, c->cost);
        step = plan_next(&p, allowed);
    }
    d->served = step.arm;
    d->success = q->model[step.arm].success;
    fill_evidence(a, &p, q, step.arm, all, &count);
    name_request(a, i, id);
    learner_post(a->replica[k], &(struct evidence){.tenant = "",
                                                   .request_id = id,
                                                   .route = "live",
                                                   .class_name = q->class,
                                                   .decided_wall_us = clock_wall_us(),
                                                   .ended_wall_us = clock_wall_us(),
                                                   .learn = true,
                                                   .answers = all,
                                                   .count = count});
}

static void free_label(struct message *m)
{
    struct learner_label *l = CONTAINER_OF(m, struct learner_label, msg);

    free((void *)(uintptr_t)l->request_id);
    free(l);
}

/* What is said of a request, and where, is the request's own chance, too. */
static void label(struct arm *a, size_t i)
{
    struct rng rng;

    rng_seed(&rng, chance_of(a->seed, i, 1));
    if (rng_unit(&rng) >= LABEL_SHARE)
        return;
    bool right = (a->done[i].success >= 0.5) != (rng_unit(&rng) < NOISE);
    struct learner_label *l = mem_zalloc(1, sizeof *l);
    char *id = mem_alloc(48);

    name_request(a, i, id);
    *l = (struct learner_label){.msg.discard = free_label,
                                .tenant = "",
                                .request_id = id,
                                .model = "",
                                .source = TALLY_EXPLICIT,
                                .value_milli = right ? 1000 : 0,
                                .said_us = clock_wall_us(),
                                .note = ""};
    learner_label(a->replica[rng_below(&rng, (uint64_t)a->replicas)], l);
}

static void open_arm(struct arm *a, struct redis_server *redis)
{
    redis_server_do(redis, "FLUSHALL");
    for (int k = 0; k < a->replicas; k++) {
        struct learner_options opt = {.redis_url = redis->url, .prefix = "paired"};
        struct err_text t = {""};

        if (learner_open(&opt, &a->replica[k], &t) != ERR_OK) {
            fprintf(stderr, "paired: %s\n", t.s);
            exit(1);
        }
        learner_set_policy(a->replica[k], a->policy);
        if (!learner_prepare(a->replica[k], a->policy, WAIT_MS))
            exit(1);
        flush(a, k);
        take_beliefs(a, k);
    }
}

static void run_arm(struct arm *a, struct redis_server *redis)
{
    open_arm(a, redis);
    for (size_t i = 0; i < a->requests; i++) {
        if (i % STEP == 0)
            learn(a, i);
        request(a, i, (int)(i % (size_t)a->replicas));
        if (i >= LABEL_LATE)
            label(a, i - LABEL_LATE);
    }
    for (int k = 0; k < a->replicas; k++) {
        flush(a, k);
        beliefs_unref(a->beliefs[k]);
        a->beliefs[k] = NULL;
        learner_close(a->replica[k]);
    }
}

/* ---- comparing ---- */

static void say(const struct arm *one, const struct arm *a, int number, const char *what)
{
    double n = (double)a->requests, success = 0, cost = 0, usual = 0, unlike = 0;

    for (size_t i = 0; i < a->requests; i++) {
        success += a->done[i].success / n;
        cost += a->done[i].cost / n;
        usual += a->done[i].usual / n;
        unlike += a->done[i].served != one->done[i].served ||
                  fabs(a->done[i].cost - one->done[i].cost) > 0.5;
    }
    printf("%" PRIu64 "\t%d\t%s\t%.6f\t%.3f\t%.3f\t%.6f\n", a->seed, number, what, success, cost,
           usual, unlike / n);
    fflush(stdout);
}

static void shuffle(const struct record *rec, uint64_t seed, size_t requests, size_t *order)
{
    struct rng rng;

    rng_seed(&rng, seed);
    for (size_t i = 0; i < requests; i++)
        order[i] = rng_below(&rng, rec->count);
}

static const struct {
    const char *what;
    bool many, in_step;
    size_t every;
    uint64_t salt;
} arms[] = {
    {"one replica", false, true, STEP, 0},
    {"replicas, one after the other", true, false, STEP, 0},
    {"replicas that learn once a second", true, false, SELDOM, 0},
    {"one that learns once a second", false, false, SELDOM, 0},
    {"replicas, all in step", true, true, STEP, 0},
    {"one, with other draws", false, true, STEP, 2},
};
#define ARMS ((int)(sizeof arms / sizeof arms[0]))

/* One stream, at each arm that is wanted. */
static void run_seed(struct arm *stream, const char *wanted, int replicas,
                     struct redis_server *redis, struct done *done[2])
{
    struct arm one = *stream;

    for (int k = 0; k < ARMS; k++) {
        struct arm a = *stream;

        if (k > 0 && !strchr(wanted, '0' + k))
            continue;
        a.replicas = arms[k].many ? replicas : 1;
        a.in_step = arms[k].in_step;
        a.every = arms[k].every;
        a.salt = arms[k].salt;
        a.done = done[k > 0];
        run_arm(&a, redis);
        one.done = done[0];
        say(&one, &a, k, arms[k].what);
    }
}

int main(int argc, char **argv)
{
    struct record rec = {.models = 0};
    struct redis_server redis = {.pid = 0};

    if (argc != 8)
        return 2;
    int replicas = (int)strtol(argv[3], NULL, 10);
    size_t requests = strtoull(argv[4], NULL, 10);
    uint64_t first = strtoull(argv[5], NULL, 10), seeds = strtoull(argv[6], NULL, 10);
    read_record(argv[1], &rec);
    find_usual_costs(&rec);
    rec.floor = strtod(argv[2], NULL);
    if (replicas < 2 || replicas > MOST_REPLICAS || requests < 1 || seeds < 1 || rec.count == 0)
        return 2;
    struct policy *p = make_policy(&rec);
    size_t *order = mem_zalloc(requests, sizeof *order);
    struct done *done[2] = {mem_zalloc(requests, sizeof **done),
                            mem_zalloc(requests, sizeof **done)};
    redis_server_start(&redis);
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        shuffle(&rec, seed, requests, order);
        run_seed(
            &(struct arm){
                .rec = &rec, .policy = p, .seed = seed, .requests = requests, .order = order},
            argv[7], replicas, &redis, done);
    }
    redis_server_remove(&redis);
    policy_unref(p);
    for (int k = 0; k < 2; k++)
        free(done[k]);
    free(order);
    free(rec.of);
    arena_clear(&rec.arena);
    return 0;
}
