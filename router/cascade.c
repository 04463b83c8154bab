/* Owns a request's plan, what its answers say of themselves, and the answer that is kept. Called by
 * request.c as the flow orders, by attempt.c while an answer is read, and by account.c. */
#include "router/cascade.h"

#include <math.h>
#include "base/clock.h"
#include "cache/htable.h"
#include "router/confidence.h"
#include "router/foreseen.h"
#include "router/affinity.h"
#include "router/learner.h"
#include "router/neighbours.h"
#include "router/prefix_memory.h"
#include "router/recording.h"
#include "router/request_int.h"
#include "router/sampling.h"
#include "router/scorer_table.h"
#include "router/validate_run.h"

/* Of an answer that is judged: what lies beyond is not looked at. */
#define SIGNALS_MAX_BYTES ((size_t)256 * 1024)
/* Where nothing has been learnt of a model's answers. */
#define USUAL_OUTPUT_TOKENS     300
#define USUAL_TOKENS_PER_SECOND 50
/* What makes the draw of a holdout another than those of the plan. */
#define HOLDOUT_SALT UINT64_C(0x686f6c646f7574)

/* An answer that was passed over, as it would have gone out. */
struct kept_answer {
    int arm; /* -1: none */
    int attempt;
    struct buf body, out;
    struct answer_whole whole;
    struct http1_header *pass;
    size_t pass_count;
    struct answer_record *record;
};

struct cascade {
    struct plan plan;
    const struct policy_decide *how;
    struct beliefs *beliefs;         /* held; NULL: there are none */
    int arms, arm;                   /* of the cascade; the one under way */
    int step_of[PANDORA_BOXES];      /* flow's step of an arm; -1: it cannot serve the request */
    double accept[PANDORA_BOXES];    /* for the plan */
    double foretold[PANDORA_BOXES];  /* cost of an arm, uncorrected; 0: its length is not known */
    const struct foreseen *foreseen; /* likewise; NULL: nothing is */
    unsigned given_up; /* arms whose held streams were cancelled: they can be asked again */
    bool holdout;
    uint64_t conversation; /* names it; 0: no model of the cascade has a price for cached input */
    bool final;            /* nothing can follow the answer under way: it is not held back */
    struct answer_signals signals[2]; /* of the answer under way and of the one before it */
    int now;
    bool has_earlier;
    double earlier_score;
    struct validate_run *checking;   /* validators of the answer at hand; NULL: none run */
    enum confidence_verdict verdict; /* what they said */
    struct sampling *sampling;       /* its model is asked the same again; NULL: it is not */
    struct kept_answer kept;
};

/* ---- what the plan wants to know ---- */

static bool is_judged(const struct request *r)
{
    return r->route->decide.mode != POLICY_DECIDE_ORDER && r->api != WIRE_EMBEDDINGS;
}

static const struct policy_model *model_of(const struct request *r, int arm)
{
    return &r->snap->policy->models[r->route->steps[arm].model];
}

const char *cascade_arm_model(const struct request *r, int arm)
{
    return model_of(r, arm)->name;
}

/* Beliefs of the policy before this one may speak of other models. */
static bool fits(const struct request *r, const struct beliefs_context *b)
{
    if (!b || b->arms != (int)r->route->cascade_count)
        return false;
    for (int j = 0; j < b->arms; j++)
        if (strcmp(b->arm[j].model, cascade_arm_model(r, j)) != 0)
            return false;
    return true;
}

static const struct beliefs_context *find_beliefs(struct request *r, struct cascade *c)
{
    const struct beliefs_context *found;

    c->beliefs = r->env->learner ? learner_beliefs(r->env->learner, r->snap->policy) : NULL;
    if (!c->beliefs)
        return NULL;
    found = beliefs_find(c->beliefs, slice_str(r->route->name), r->class.is.label);
    return fits(r, found) ? found : NULL;
}

static const struct policy_price *price_of(const struct request *r, int arm)
{
    return policy_price_at(model_of(r, arm), r->received_wall_us);
}

static bool has_cached_price(const struct policy_price *p)
{
    return p->per_mtok[TOK_CACHED_INPUT] != p->per_mtok[TOK_INPUT];
}

/* Only where it can make a difference: the beginning of the conversation is hashed. */
static void name_conversation(struct request *r, struct cascade *c)
{
    bool matters = false;

    for (int j = 0; j < c->arms; j++)
        matters = matters || has_cached_price(price_of(r, j));
    if (!matters)
        return;
    if (!r->env->prefixes)
        r->env->prefixes = prefix_memory_new();
    c->conversation = affinity_prefix(&r->ask, SLICE("")) | 1;
}

static uint64_t model_hash(const struct request *r, int arm)
{
    return htable_hash_slice(slice_str(cascade_arm_model(r, arm)));
}

/* Of the prompt, what the model has read in an earlier turn and most likely still has. */
static int64_t cached_tokens(const struct request *r, const struct cascade *c, int arm)
{
    int64_t tokens = 0;

    if (c->conversation)
        tokens = prefix_memory_tokens(r->env->prefixes, c->conversation, model_hash(r, arm),
                                      r->received_us);
    return tokens < r->ask.prompt_tokens ? tokens : r->ask.prompt_tokens;
}

/* Whoever has answered has read the prompt. */
static void note_prefixes(struct request *r, const struct cascade *c)
{
    for (int i = 0; c->conversation && i < r->attempt_count; i++) {
        const struct attempt *at = &r->attempts[i];

        if (at->err == ERR_OK || at->served || at->passed_over)
            prefix_memory_note(
                r->env->prefixes, c->conversation,
                htable_hash_slice(slice_str(r->snap->policy->models[at->model].name)),
                r->ask.prompt_tokens, r->received_us);
    }
}

/* What this request is expected to cost on an arm, alone or with its samples: by its own length,
 * and as such estimates have come out (another tokenizer, reasoning, caches, further tries). */
static double cost_of(const struct request *r, struct cascade *c, const struct beliefs_arm *b,
                      int arm, int samples)
{
    const struct policy_model *m = model_of(r, arm);
    bool seen = b && b->tokens_out > 0;
    int64_t tokens = seen ? (int64_t)b->tokens_out : USUAL_OUTPUT_TOKENS;
    int64_t took_us = b && b->latency_ms > 0 ? (int64_t)(b->latency_ms * 1000)
                                             : tokens * 1000000 / USUAL_TOKENS_PER_SECOND;
    struct token_usage u = {.source = USAGE_ESTIMATED};

    if (m->max_output_tokens != POLICY_NONE && m->max_output_tokens < tokens)
        tokens = m->max_output_tokens;
    u.n[TOK_CACHED_INPUT] = cached_tokens(r, c, arm);
    u.n[TOK_INPUT] = r->ask.prompt_tokens - u.n[TOK_CACHED_INPUT];
    u.n[TOK_OUTPUT] = tokens;
    double cost = (double)(policy_cost(price_of(r, arm), &u, took_us) +
                           (samples ? sampling_cost(r, m, &u, took_us, samples) : 0));
    c->foretold[arm] = seen ? cost : 0;
    return b ? b->cost_factor * cost : cost;
}

static unsigned able_arms(const struct cascade *c)
{
    unsigned bits = 0;

    for (int j = 0; j < c->arms; j++)
        bits |= c->step_of[j] >= 0 ? 1u << j : 0;
    return bits;
}

/* Canaries that the learner took out of use: none of their requests, unless nothing else is left.
 */
static unsigned without_barred(const struct cascade *c, unsigned arms)
{
    const struct beliefs_context *b = c->plan.q.beliefs;
    unsigned left = arms;

    for (int j = 0; b && j < c->arms; j++)
        if (b->arm[j].cap <= 0)
            left &= ~(1u << j);
    return left ? left : arms;
}

/* Of those, arms that are expected to answer before the deadline; all, if none is. */
static unsigned allowed_arms(const struct request *r, const struct cascade *c)
{
    const struct beliefs_context *b = c->plan.q.beliefs;
    unsigned able = without_barred(c, able_arms(c)), in_time = 0;
    double left_ms;

    if (r->deadline_us < 0 || !b)
        return able;
    left_ms = (double)(r->deadline_us - clock_mono_us()) / 1000;
    for (int j = 0; j < c->arms; j++)
        if (able & 1u << j && b->arm[j].latency_ms <= left_ms)
            in_time |= 1u << j;
    return in_time ? in_time : able;
}

static int arm_of_model(const struct request *r, size_t model)
{
    for (size_t j = 0; j < r->route->cascade_count; j++)
        if (r->route->steps[j].model == model)
            return (int)j;
    return -1;
}

static bool pin_applies(const struct request *r, const struct policy_pin *pin)
{
    return (!pin->tenant || (r->tenant && strcmp(pin->tenant, r->tenant->name) == 0)) &&
           (!pin->class_name || slice_eq(slice_str(pin->class_name), r->class.is.label));
}

/* The one model that this request stays with, -1: none. */
static int pinned_arm(const struct request *r, struct cascade *c, uint64_t seed)
{
    const struct policy_holdout *h = &c->how->holdout;
    struct rng rng;

    for (size_t i = 0; i < c->how->explore.pin_count; i++)
        if (pin_applies(r, &c->how->explore.pins[i]))
            return arm_of_model(r, c->how->explore.pins[i].model);
    if (h->share <= 0)
        return -1;
    rng_seed(&rng, seed ^ HOLDOUT_SALT);
    if (rng_unit(&rng) >= h->share)
        return -1;
    c->holdout = true;
    return h->model == SIZE_MAX ? c->arms - 1 : arm_of_model(r, h->model);
}

/* ---- beginning ---- */

/* Returns how many of flow's steps belong to the cascade. */
static int map_steps(struct cascade *c, const struct request *r)
{
    int judged = 0;

    c->arms = (int)r->route->cascade_count;
    for (int j = 0; j < c->arms; j++)
        c->step_of[j] = -1;
    while (judged < r->step_count && r->steps[judged] < c->arms) {
        c->step_of[r->steps[judged]] = judged;
        judged++;
    }
    return judged;
}

/* Two rows for each sample: one that is lost with its connection leaves a second. */
static void make_room(struct request *r, const struct cascade *c)
{
    size_t rows = 0;

    for (int j = 0; j < c->arms; j++)
        if (r->route->steps[j].samples > 1)
            rows += 2 * ((size_t)r->route->steps[j].samples - 1);
    r->samples = rows ? ARENA_ARRAY(&r->arena, struct attempt, rows) : NULL;
}

/* Whose answers are served whatever they say: of streams that are not held anybody's, and where a
 * step's `accept` asks for no more than is believed of its model, as it is for one whose score
 * tells nothing. */
static unsigned final_arms(const struct request *r, const struct cascade *c,
                           const struct beliefs_context *b)
{
    unsigned out = 0;

    if (r->ask.stream && c->how->confidence.hold == POLICY_HOLD_OFF)
        return ~0u;
    for (int j = 0; b && j < c->arms; j++) {
        double accept = r->route->steps[j].accept;
        if (accept != POLICY_OFF && b->arm[j].success >= accept)
            out |= 1u << j;
    }
    return out;
}

static struct plan_step begin_plan(struct request *r, struct cascade *c)
{
    const struct beliefs_context *b = find_beliefs(r, c);
    uint64_t seed = htable_hash_slice(slice_str(r->id));
    bool search = c->how->mode == POLICY_DECIDE_OBJECTIVE && b;
    struct neighbours *near = b ? learner_neighbours(r->env->learner) : NULL;
    const struct foreseen *f = c->foreseen = foreseen_find(r, b, near);
    nanousd budget = c->how->objective.budget;
    double cost[PANDORA_BOXES];
    struct plan_question q = {
        .mode = search ? PLAN_OBJECTIVE : PLAN_ACCEPT,
        .arms = c->arms,
        .beliefs = b,
        .accept = c->accept,
        .cost_nanousd = cost,
        .shift = f ? f->shift : NULL,
        .budget_nanousd = search && budget != POLICY_NONE ? (double)budget : -1,
        .pin = pinned_arm(r, c, seed),
        .final = final_arms(r, c, b),
        .explore = search && !r->background,
        .seed = seed,
    };

    neighbours_unref(near);
    for (int j = 0; j < c->arms; j++) {
        double accept = r->route->steps[j].accept;

        c->accept[j] = accept == POLICY_OFF ? 0 : accept;
    }
    c->plan.q.beliefs = b;
    q.allowed = able_arms(c) & allowed_arms(r, c);
    for (int j = 0; j < c->arms; j++)
        cost[j] = cost_of(r, c, b ? &b->arm[j] : NULL, j,
                          q.pin < 0 && q.allowed & ~(1u << j) ? sampling_expected(r, j) : 0);
    return plan_begin(&c->plan, &q);
}

static bool others_left(const struct request *r, const struct cascade *c, int arm)
{
    return (allowed_arms(r, c) & c->plan.q.allowed & ~c->plan.asked & ~(1u << arm)) != 0;
}

/* Once nothing can follow, and nothing was kept to compare with, an answer need not be held. */
static void ask_arm(struct request *r, struct cascade *c, int arm)
{
    c->arm = arm;
    c->final = !others_left(r, c, arm) && c->kept.arm < 0;
}

void cascade_begin(struct request *r, struct flow_limits *l)
{
    struct cascade *c;
    struct plan_step first;
    int judged;

    if (!is_judged(r))
        return;
    c = ARENA_NEW(&r->arena, struct cascade);
    judged = map_steps(c, r);
    if (judged == 0)
        return; /* no model of the cascade can serve it: the fall-backs do */
    c->how = &r->route->decide;
    c->kept.arm = -1;
    answer_signals_init(&c->signals[0], SIGNALS_MAX_BYTES);
    answer_signals_init(&c->signals[1], SIGNALS_MAX_BYTES);
    r->cascade = c;
    make_room(r, c);
    name_conversation(r, c);
    first = begin_plan(r, c);
    ask_arm(r, c, first.arm);
    l->judged = judged;
    l->first = c->step_of[first.arm];
}

/* ---- the answer that is kept ---- */

static void drop_kept(struct cascade *c)
{
    struct kept_answer *k = &c->kept;

    if (k->arm < 0)
        return;
    buf_clear(&k->body);
    buf_clear(&k->out);
    answer_record_free(k->record);
    k->arm = -1;
}

/* The answer at hand is put by, ready to go out; it is whole. */
static bool keep(struct request *r, struct cascade *c)
{
    struct kept_answer *k = &c->kept;

    if (r->ask.stream && answer_end(&r->answer, &r->out) != ERR_OK)
        return false;
    drop_kept(c);
    *k = (struct kept_answer){.arm = c->arm,
                              .attempt = r->hand,
                              .body = r->body,
                              .out = r->out,
                              .whole = r->whole,
                              .pass = r->pass,
                              .pass_count = r->pass_count,
                              .record = r->record};
    buf_init(&r->body, k->body.max_bytes);
    buf_init(&r->out, k->out.max_bytes);
    r->record = NULL;
    flow_keep(&r->flow);
    return true;
}

void cascade_recall(struct request *r)
{
    struct kept_answer *k = &r->cascade->kept;

    attempt_end(r, ERR_SUPERSEDED, NULL);
    answer_clear(&r->answer);
    recording_forget(r);
    buf_clear(&r->body);
    buf_clear(&r->out);
    r->body = k->body;
    r->out = k->out;
    r->whole = k->whole;
    r->pass = k->pass;
    r->pass_count = k->pass_count;
    r->record = k->record;
    r->done_written = true;
    r->hand = k->attempt;
    r->attempts[k->attempt].passed_over = false;
    k->arm = -1;
}

void cascade_end(struct request *r)
{
    struct cascade *c = r->cascade;

    if (!c)
        return;
    note_prefixes(r, c);
    drop_kept(c);
    validate_cancel(c->checking);
    cascade_stop_sampling(r);
    answer_signals_clear(&c->signals[0]);
    answer_signals_clear(&c->signals[1]);
    beliefs_unref(c->beliefs);
    r->cascade = NULL;
}

/* ---- sampling ---- */

/* Only answers that something else may follow: else it is served in any case, sure or not. Audits
 * ask models one by one, and want what would be known of their answers among others. */
static bool decides_something(const struct request *r, const struct cascade *c)
{
    return r->background || others_left(r, c, c->arm);
}

static bool has_room(const struct request *r, const struct cascade *c, int samples,
                     const char **why)
{
    const struct attempt *at = &r->attempts[r->hand];
    double budget = c->plan.q.budget_nanousd;
    nanousd more = sampling_cost(r, model_of(r, c->arm), &at->usage, at->duration_us, samples);

    *why = NULL;
    if (r->deadline_us >= 0 && clock_mono_us() + at->duration_us > r->deadline_us)
        *why = "the deadline is too near";
    else if (budget >= 0 && c->plan.spent_nanousd + (double)(at->cost + more) > budget)
        *why = "its budget does not suffice";
    return !*why;
}

/* How often the answer at hand is to be sampled; 0: not at all. */
static int samples_wanted(struct request *r, struct cascade *c)
{
    const struct answer_signals *s = &c->signals[c->now];
    struct attempt *at = &r->attempts[r->hand];
    bool always = c->how->confidence.samples.when == POLICY_SAMPLES_ALWAYS;
    int samples;

    if (r->flow.at_hand != FLOW_WHOLE || r->route->steps[c->arm].samples <= 1 ||
        (s->tokens.count > 0 && !always) || c->verdict == CONFIDENCE_FAIL || s->cut ||
        !decides_something(r, c))
        return 0;
    samples = sampling_wanted(r, c->arm, &at->unsampled);
    return samples && has_room(r, c, samples, &at->unsampled) ? samples : 0;
}

static void on_sampled(struct request *r);

/* false: the answer is judged as it is. */
static bool sample(struct request *r, struct cascade *c)
{
    int samples = samples_wanted(r, c);

    if (samples)
        c->sampling = sampling_start(r, &c->signals[c->now], samples, on_sampled,
                                     &r->attempts[r->hand].unsampled);
    if (c->sampling)
        r->attempts[r->hand].unsampled = NULL;
    return c->sampling != NULL;
}

void cascade_stop_sampling(struct request *r)
{
    if (!r->cascade || !r->cascade->sampling)
        return;
    sampling_stop(r->cascade->sampling);
    r->cascade->sampling = NULL;
}

/* ---- judging ---- */

/* What the answer at hand says of itself, as features and as a score. */
static double score_answer(struct request *r, struct cascade *c, bool whole)
{
    const struct answer_signals *s = &c->signals[c->now], *before = &c->signals[!c->now];
    const struct beliefs_context *b = c->plan.q.beliefs;
    const struct scorer_record *by = b ? b->arm[c->arm].scored_by : NULL;
    struct attempt *at = &r->attempts[r->hand];
    struct confidence_context ctx = {
        .samples = at->samples,
        .repeats = at->repeats,
        .output_tokens = at->usage.n[TOK_OUTPUT],
        .usual_tokens = b ? b->arm[c->arm].tokens_out : 0,
        .verdict = c->verdict,
        .has_earlier = c->has_earlier,
        .earlier_score = c->earlier_score,
    };

    at->features = ARENA_ARRAY(&r->arena, float, CONFIDENCE_FEATURES);
    if (whole && c->has_earlier)
        ctx.agreement = confidence_agreement(s, before);
    if (whole)
        confidence_features(s, &ctx, at->features);
    else
        confidence_features_so_far(s, at->features);
    at->score = scorer_table_score(by, at->features);
    at->scorer = by ? by->scorer.version : 0;
    return at->score;
}

static struct flow_event chosen(enum flow_choice choice)
{
    return (struct flow_event){.kind = FLOW_EV_CHOSEN, .choice = choice, .retry_after_ms = -1};
}

static struct flow_event ask(struct request *r, struct cascade *c, int arm)
{
    struct flow_event ev = chosen(FLOW_ASK);

    ask_arm(r, c, arm);
    ev.step = c->step_of[arm];
    ev.last = !others_left(r, c, arm);
    return ev;
}

/* The answer at hand is not the one to serve: another model is asked. */
static void pass_over(struct request *r, struct cascade *c, bool whole, bool best)
{
    r->attempts[r->hand].passed_over = true;
    if (!whole) {
        attempt_end(r, ERR_SUPERSEDED, NULL);
        plan_drop(&c->plan, c->arm);
        c->given_up |= 1u << c->arm;
        return;
    }
    if ((best || !c->how->confidence.recall) && !keep(r, c))
        plan_drop(&c->plan, c->arm);
    c->now = !c->now;
    c->has_earlier = true;
}

/* What follows the answer at hand. */
static struct flow_event follow(struct request *r, struct cascade *c, struct plan_step next,
                                bool whole)
{
    int arm = c->arm;

    if (next.verb == PLAN_SERVE && next.arm != arm && c->how->confidence.recall &&
        c->kept.arm == next.arm) {
        r->attempts[r->hand].passed_over = true;
        return chosen(FLOW_SERVE);
    }
    if (next.verb != PLAN_ASK)
        return chosen(FLOW_ACCEPT);
    pass_over(r, c, whole, c->plan.best == arm);
    return ask(r, c, next.arm);
}

/* What is left last will not be sampled, nor cost as much as if it were. */
static void renew_costs(const struct request *r, struct cascade *c)
{
    const struct beliefs_context *b = c->plan.q.beliefs;

    for (int j = 0; j < c->arms; j++)
        if (!(c->plan.asked & 1u << j) && sampling_expected(r, j) && !others_left(r, c, j))
            plan_set_cost(&c->plan, j, cost_of(r, c, b ? &b->arm[j] : NULL, j, 0));
}

/* With an objective a step's `accept`, where there is one, ends the search. */
static bool sure_enough(const struct request *r, const struct cascade *c)
{
    double accept = r->route->steps[c->arm].accept;

    return c->plan.q.mode == PLAN_OBJECTIVE && accept != POLICY_OFF &&
           !r->attempts[r->hand].refuted && plan_chance(&c->plan, c->arm) >= accept;
}

static struct flow_event judge(struct request *r)
{
    static const enum plan_verdict checked[] = {[CONFIDENCE_UNKNOWN] = PLAN_UNCHECKED,
                                                [CONFIDENCE_PASS] = PLAN_PASSED,
                                                [CONFIDENCE_FAIL] = PLAN_REFUTED};
    struct cascade *c = r->cascade;
    bool whole = r->flow.at_hand == FLOW_WHOLE;
    struct attempt *at = &r->attempts[r->hand];
    double score = score_answer(r, c, whole);
    struct flow_event ev;

    plan_answer(&c->plan, score, checked[c->verdict],
                whole ? (double)(at->cost + at->samples_cost) : c->plan.cost[c->arm]);
    renew_costs(r, c);
    at->confidence = plan_chance(&c->plan, c->arm);
    at->judged_tokens = whole ? 0 : (int32_t)c->how->confidence.hold_tokens;
    ev = follow(r, c, plan_next(&c->plan, sure_enough(r, c) ? 0 : allowed_arms(r, c)), whole);
    c->earlier_score = score;
    return ev;
}

static void note_verdict(struct request *r, const struct validate_result *result)
{
    struct attempt *at = &r->attempts[r->hand];

    r->cascade->verdict = result->verdict;
    if (result->verdict == CONFIDENCE_UNKNOWN)
        return;
    at->verdict_milli = (int)lround(1000 * result->score);
    if (result->verdict == CONFIDENCE_FAIL)
        at->refuted = arena_strdup(&r->arena, slice_str(result->why.s));
}

static void on_validated(void *ctx, const struct validate_result *result)
{
    struct request *r = ctx;

    r->cascade->checking = NULL;
    note_verdict(r, result);
    if (r->flow.state == FLOW_AWAIT_VERDICT && !sample(r, r->cascade))
        request_step(r, judge(r)); /* in another state the deadline has decided */
}

static void on_sampled(struct request *r)
{
    r->cascade->sampling = NULL;
    request_step(r, judge(r));
}

bool cascade_judge(struct request *r, struct flow_event *ev)
{
    struct cascade *c = r->cascade;
    const struct validate_set *set = snapshot_validators(r->snap, r->route);
    struct validate_result result = {.verdict = CONFIDENCE_UNKNOWN};

    if (set && r->flow.at_hand == FLOW_WHOLE) {
        struct validate_subject what = {.signals = &c->signals[c->now],
                                        .request = ask_neutral(&r->ask, &r->arena),
                                        .body = r->ask.body,
                                        .model = cascade_arm_model(r, c->arm)};

        r->attempts[r->hand].validators = set->fingerprint;
        c->checking = validate_start(&r->env->validators, set, &what, &result, on_validated, r);
    }
    if (c->checking)
        return false;
    note_verdict(r, &result);
    if (sample(r, c))
        return false;
    *ev = judge(r);
    return true;
}

/* An arm whose held stream was given up for better ones that then failed: it is asked again, and
 * its answer is final. */
static int arm_to_ask_again(struct cascade *c)
{
    int arm = c->given_up ? __builtin_ctz(c->given_up) : -1;

    c->given_up = 0;
    if (arm >= 0)
        plan_ask_again(&c->plan, arm);
    return arm;
}

struct flow_event cascade_choose(struct request *r)
{
    struct cascade *c = r->cascade;
    struct plan_step next;
    int again;

    plan_failed(&c->plan, 0);
    next = plan_next(&c->plan, allowed_arms(r, c));
    if (next.verb == PLAN_ASK)
        return ask(r, c, next.arm);
    if (next.verb == PLAN_SERVE && c->kept.arm >= 0)
        return chosen(FLOW_SERVE);
    again = arm_to_ask_again(c);
    return again >= 0 ? ask(r, c, again) : chosen(FLOW_NONE);
}

void cascade_whole(struct request *r)
{
    struct cascade *c = r->cascade;
    struct attempt *at;

    if (!c || r->hand < 0 || r->flow.step >= r->flow.limits.judged)
        return;
    at = &r->attempts[r->hand];
    (void)score_answer(r, c, true);
    if (at->confidence >= 0)
        return; /* its beginning was judged, and it counts as it was */
    plan_answer(&c->plan, at->score, PLAN_UNCHECKED, (double)at->cost);
    at->confidence = plan_chance(&c->plan, c->arm);
}

/* ---- the attempt under way ---- */

void cascade_forget_answer(struct request *r)
{
    if (!r->cascade)
        return;
    answer_signals_clear(&r->cascade->signals[r->cascade->now]);
    r->cascade->verdict = CONFIDENCE_UNKNOWN;
}

struct answer_signals *cascade_signals(const struct request *r)
{
    return r->cascade ? &r->cascade->signals[r->cascade->now] : NULL;
}

bool cascade_holds(const struct request *r)
{
    const struct cascade *c = r->cascade;

    return c && !c->final && r->flow.step < r->flow.limits.judged &&
           c->how->confidence.hold != POLICY_HOLD_OFF;
}

/* ---- for the books ---- */

const struct plan *cascade_plan(const struct request *r)
{
    return r->cascade ? &r->cascade->plan : NULL;
}

double cascade_foretold(const struct request *r, int arm)
{
    return r->cascade ? r->cascade->foretold[arm] : 0;
}

const struct foreseen *cascade_foreseen(const struct request *r)
{
    return r->cascade ? r->cascade->foreseen : NULL;
}

uint64_t cascade_beliefs_version(const struct request *r)
{
    const struct cascade *c = r->cascade;

    return c && c->plan.q.beliefs ? beliefs_version(c->beliefs) : 0;
}

bool cascade_said(const struct request *r, struct slice *out)
{
    const struct cascade *c = r->cascade;
    const struct answer_signals *s = &c->signals[c->now];

    if (r->hand != r->attempt_count - 1 || s->cut || s->call_count || !s->finished)
        return false;
    *out = answer_signals_text(s);
    return out->n > 0;
}

bool cascade_is_holdout(const struct request *r)
{
    return r->cascade->holdout;
}
