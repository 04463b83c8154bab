/* weir replay against worlds whose truth can be worked out: logs are written by the ledger itself,
 * with known propensities, and what another policy would have got is known. */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/rng.h"
#include "gateway/report/whatif.h"
#include "policies/policy_load.h"
#include "router/ledger.h"
#include "router/validate_set.h"
#include "tests/unit/sqlite_files.h"

/* The small model's answer looks fine 6 times in 10; it is right .95 of the time then, .3 else. The
 * big one is right .9 of the time. 200 tokens of each: 0.2 and 2 thousandths of a dollar. */
#define FINE         0.6
#define FINE_RIGHT   0.95
#define POOR_RIGHT   0.3
#define BIG_RIGHT    0.9
#define SMALL_COST   200000.0
#define BIG_COST     2000000.0
#define SAMPLES_COST 300000.0 /* two more answers of the small one, to one prompt */

static const char policy_text[] =
    "version: 1\n"
    "backends:\n"
    "  s: {dialect: openai, url: \"http://127.0.0.1:9\"}\n"
    "models:\n"
    "  small: {backend: s, price: {input: 1, output: 1}}\n"
    "  big: {backend: s, price: {input: 10, output: 10}}\n"
    "  other: {backend: s, price: {input: 10, output: 10}}\n"
    "routes:\n"
    "  - {name: ladder, match: {model: auto}, cascade: [small, %s], accept: 0.6%s}\n";

/* How the log's requests were, beside their answers; zeroed before each test. */
static struct {
    bool stream, small_fails, other_fails;
    double down; /* share of requests for which the whole cascade fails, and `other` answers */
    int32_t judged_tokens;
    uint64_t validators;
    bool refute_poor;                     /* by validators: else they have nothing to say */
    bool sampled;                         /* the small one was asked twice more, each time */
    int64_t small_us, big_us, request_us; /* how long they took; 0: no time at all */
    const char *tail;                     /* of the route in the policy, and what follows it */
    const char *tenant;                   /* NULL: none */
} world;

enum log_kind { RANDOM, FIXED, LYING, AUDITED };

static char dir[64], path[96];
static struct rng rng;

static bool happens(double p)
{
    return rng_unit(&rng) < p;
}

struct answer {
    bool small, fine, right;
};

static struct answer ask(bool small)
{
    bool fine = happens(FINE);

    return (struct answer){small, fine,
                           happens(!small ? BIG_RIGHT
                                   : fine ? FINE_RIGHT
                                          : POOR_RIGHT)};
}

static struct ledger_attempt attempt(const struct answer *a, int seq, const char *role, bool served)
{
    return (struct ledger_attempt){.seq = seq,
                                   .role = role,
                                   .started_wall_us = 1000,
                                   .model = a->small ? "small" : "big",
                                   .upstream_model = "m",
                                   .backend = "s",
                                   .endpoint = "e",
                                   .outcome = "ok",
                                   .http_status = 200,
                                   .usage = {.n = {[TOK_INPUT] = 100, [TOK_OUTPUT] = 100}},
                                   .cost = (nanousd)(a->small ? SMALL_COST : BIG_COST),
                                   .price_version = "v",
                                   .first_byte_us = 1,
                                   .duration_us = a->small ? world.small_us : world.big_us,
                                   .served = served,
                                   .confidence = !a->small ? 0.8
                                                 : a->fine ? 0.85
                                                           : 0.4,
                                   .judged_tokens = world.judged_tokens,
                                   .validators = world.validators,
                                   .validated_milli = !world.refute_poor     ? -1
                                                      : a->small && !a->fine ? 0
                                                                             : 1000,
                                   .verdict =
                                       world.refute_poor && a->small && !a->fine ? "refuted: no"
                                       : world.sampled && a->small ? "served; repeated 1.50 of 2"
                                                                   : ""};
}

static struct ledger_decision decision(int step, const char *chosen, double propensity,
                                       const char *candidates)
{
    return (struct ledger_decision){.step = step,
                                    .kind = step == 1 ? "first" : "next",
                                    .mode = "objective",
                                    .context = "ladder/",
                                    .candidates = candidates,
                                    .chosen = chosen,
                                    .propensity = propensity,
                                    .success_value = 1,
                                    .reason = "first"};
}

static struct ledger_request request(const char *id, int64_t at_us, const char *purpose,
                                     const char *served, nanousd cost)
{
    return (struct ledger_request){.request_id = id,
                                   .received_wall_us = at_us,
                                   .api = "chat",
                                   .requested_model = "auto",
                                   .tenant = world.tenant ? world.tenant : "",
                                   .route = "ladder",
                                   .policy_version = "p",
                                   .served_model = served,
                                   .stream = world.stream,
                                   .status = 200,
                                   .outcome = "ok",
                                   .attempts = 1,
                                   .cost = cost,
                                   .ttft_us = -1,
                                   .duration_us = world.request_us,
                                   .class_name = "",
                                   .class_tier = "",
                                   .class_us = -1,
                                   .cache = "",
                                   .cache_cosine = -1,
                                   .cache_probability = -1,
                                   .purpose = purpose,
                                   .cap = ""};
}

static void label(struct ledger *l, const char *id, const struct answer *a)
{
    ledger_post(l, ledger_outcome_new(&(struct ledger_outcome){.request_id = id,
                                                               .tenant = "",
                                                               .route = "ladder",
                                                               .class_name = "",
                                                               .model = a->small ? "small" : "big",
                                                               .source = "judge",
                                                               .value_milli = a->right ? 1000 : 0,
                                                               .weight_milli = 800,
                                                               .said_wall_us = 7,
                                                               .booked_wall_us = 8,
                                                               .note = ""}));
}

/* A request whose decisions were drawn as they say: small first with 0.8, on with 0.9 from a poor
 * answer and with 0.1 from a fine one. LYING: they were not, small came first every second time. */
static void post_random(struct ledger *l, const char *id, int64_t at_us, enum log_kind kind)
{
    bool small = happens(kind == LYING ? 0.5 : 0.8), on;
    struct answer first = ask(small), second = ask(false);
    char after[96];
    const char *before = "[{\"model\":\"small\",\"propensity\":0.8,\"cost_nanousd\":200000},"
                         "{\"model\":\"big\",\"propensity\":0.2,\"cost_nanousd\":2000000}]";
    double p_on = first.fine ? 0.1 : 0.9;

    on = small && happens(p_on);
    snprintf(after, sizeof after, "[{\"model\":\"big\",\"propensity\":%.1f,\"cost_nanousd\":1}]",
             p_on);
    struct ledger_decision d[] = {decision(1, small ? "small" : "big", small ? 0.8 : 0.2, before),
                                  decision(2, on ? "big" : "stop", on ? p_on : 1 - p_on, after)};
    struct ledger_attempt a[3] = {attempt(&first, 1, on ? "escalated" : "serve", !on)};
    size_t n = 1;
    nanousd cost = 0;

    if (on)
        a[n++] = attempt(&second, 2, "serve", true);
    if (small && world.sampled) {
        a[n] = attempt(&first, 3, "sample", false);
        a[n].usage.n[TOK_OUTPUT] = 200; /* of both */
        a[n].cost = (nanousd)SAMPLES_COST;
        a[n].confidence = -1;
        n++;
    }
    for (size_t i = 0; i < n; i++)
        cost += a[i].cost;
    struct ledger_request r = request(id, at_us, "serve", on || !small ? "big" : "small", cost);
    ledger_post(l, ledger_record_new(&r, a, n, d, small ? 2 : 1));
    if (happens(0.5))
        label(l, id, on ? &second : &first);
}

static struct ledger_attempt failure(const char *model, int seq)
{
    const struct answer none = {.small = true};
    struct ledger_attempt a = attempt(&none, seq, "serve", false);

    a.model = model;
    a.outcome = "upstream_reset";
    a.cost = 0;
    a.usage = (struct token_usage){.source = USAGE_NONE};
    a.confidence = -1;
    return a;
}

/* The big one answers after others failed; what an audit asked is none of them. */
static void post_failures(struct ledger *l, const char *id, int64_t at_us)
{
    struct answer big = ask(false);
    struct ledger_attempt a[3], b = attempt(&big, 1, "audit", true);
    struct ledger_request r = request(id, at_us, "serve", "big", (nanousd)BIG_COST);
    int n = 0;

    a[n++] = failure("small", 1);
    if (world.other_fails)
        a[n++] = failure("other", 2);
    a[n] = attempt(&big, 3, "serve", true);
    ledger_post(l, ledger_record_new(&r, a, (size_t)n + 1, NULL, 0));
    label(l, id, &big);
    r = request(id, at_us, "audit", "extra", b.cost);
    b.model = "extra";
    ledger_post(l, ledger_record_new(&r, &b, 1, NULL, 0));
}

/* A request whose cascade is down, whichever way it is gone through. */
static void post_down(struct ledger *l, const char *id, int64_t at_us)
{
    bool small = happens(0.8);
    const char *first = small ? "small" : "big", *second = small ? "big" : "small";
    struct answer other = ask(false);
    struct ledger_attempt a[] = {failure(first, 1), failure(second, 2),
                                 attempt(&other, 3, "serve", true)};
    char after[64];
    struct ledger_decision d[] = {
        decision(
            1, first, small ? 0.8 : 0.2,
            "[{\"model\":\"small\",\"propensity\":0.8},{\"model\":\"big\",\"propensity\":0.2}]"),
        decision(2, second, 1, after)};
    struct ledger_request r = request(id, at_us, "serve", "other", a[2].cost);

    snprintf(after, sizeof after, "[{\"model\":\"%s\",\"propensity\":1.0}]", second);
    a[2].model = "other";
    ledger_post(l, ledger_record_new(&r, a, 3, d, 2));
    ledger_post(l,
                ledger_outcome_new(&(struct ledger_outcome){.request_id = id,
                                                            .tenant = "",
                                                            .route = "ladder",
                                                            .class_name = "",
                                                            .model = "other",
                                                            .source = "judge",
                                                            .value_milli = other.right ? 1000 : 0,
                                                            .weight_milli = 800,
                                                            .said_wall_us = 7,
                                                            .booked_wall_us = 8,
                                                            .note = ""}));
}

/* Always the big one; audited: the small one is asked beside it. */
static void post_fixed(struct ledger *l, const char *id, int64_t at_us, enum log_kind kind)
{
    struct answer big = ask(false), small = ask(true);
    struct ledger_attempt a = attempt(&big, 1, "serve", true),
                          b = attempt(&small, 1, "audit", true);
    struct ledger_decision d = decision(
        1, "big", 1,
        "[{\"model\":\"big\",\"propensity\":1.0},{\"model\":\"small\",\"propensity\":0.0}]");
    struct ledger_request r = request(id, at_us, "serve", "big", a.cost);
    char fresh[48];

    ledger_post(l, ledger_record_new(&r, &a, 1, &d, 1));
    label(l, id, &big);
    if (kind != AUDITED)
        return;
    r = request(id, at_us, "audit", "small", b.cost);
    ledger_post(l, ledger_record_new(&r, &b, 1, NULL, 0));
    snprintf(fresh, sizeof fresh, "%s/audit", id);
    label(l, fresh, &small);
}

static void write_log(enum log_kind kind, int n)
{
    struct err_text t = {""};
    struct ledger *l = ledger_open(path, 1000000, &t);

    assert_non_null(l);
    for (int i = 0; i < n; i++) {
        char id[32];
        int64_t at_us = INT64_C(1000000) * (1000 + 20 * (int64_t)i);
        snprintf(id, sizeof id, "req_%d", i);
        if (world.down > 0 && happens(world.down))
            post_down(l, id, at_us);
        else if (kind == RANDOM || kind == LYING)
            post_random(l, id, at_us, kind);
        else if (world.small_fails)
            post_failures(l, id, at_us);
        else
            post_fixed(l, id, at_us, kind);
    }
    assert_true(ledger_flush(l, 30000));
    ledger_close(l);
}

static void replay(enum log_kind kind, int n, const char *second, struct whatif *w)
{
    struct ledger_reader *reader = NULL;
    struct policy *policy = NULL;
    struct traffic traffic;
    struct err_text t = {""};
    struct diags diags;
    char text[1024];

    rng_seed(&rng, 5 + (uint64_t)kind);
    write_log(kind, n);
    snprintf(text, sizeof text, policy_text, second, world.tail ? world.tail : "");
    diags_init(&diags);
    assert_int_equal(policy_load_text(slice_str(text), "test", &(struct policy_load_options){0},
                                      &diags, &policy),
                     ERR_OK);
    diags_clear(&diags);
    assert_int_equal(ledger_reader_open(path, &reader, &t), ERR_OK);
    traffic_init(&traffic);
    assert_int_equal(ledger_scan(reader,
                                 &(struct ledger_scan){.since_wall_us = 0,
                                                       .until_wall_us = INT64_MAX,
                                                       .visit = traffic_add,
                                                       .ctx = &traffic},
                                 &t),
                     ERR_OK);
    ledger_reader_close(reader);
    traffic_end(&traffic);
    assert_int_equal(traffic.requests, n);
    assert_int_equal(traffic.requests_cost, traffic.attempts_cost);
    whatif_run(w, &traffic, policy);
    traffic_clear(&traffic);
    policy_unref(policy);
}

static void covers(struct interval i, double truth, double width)
{
    if (!(i.low < truth && truth < i.high && i.high - i.low < width * truth))
        fail_msg("%g (%g to %g), truth %g", i.value, i.low, i.high, truth);
}

/* small first, on to the big one from poor answers */
static void covers_the_ladder(const struct whatif_estimate *e)
{
    double cost = SMALL_COST + (1 - FINE) * BIG_COST;
    double success = FINE * FINE_RIGHT + (1 - FINE) * BIG_RIGHT;

    covers(e->cost, cost, 0.25);
    covers(e->success, success, 0.1);
    covers(e->cost_per_success, cost / success, 0.25);
}

static void a_random_log_answers_by_weights(void **state)
{
    struct whatif w;

    (void)state;
    replay(RANDOM, 3000, "big", &w);
    assert_int_equal(w.verdict, OFFPOLICY_VALID);
    assert_int_equal(w.answer, WHATIF_BY_WEIGHTS);
    assert_int_equal(w.decided, 3000);
    assert_true(w.weights.resolved > 1300 && w.weights.resolved < 1700);
    covers_the_ladder(&w.weights);
}

static void audits_answer_though_nothing_was_random(void **state)
{
    struct whatif w;

    (void)state;
    replay(AUDITED, 1500, "big", &w);
    assert_int_equal(w.answer, WHATIF_BY_AUDITS);
    assert_int_equal(w.verdict, OFFPOLICY_UNSUPPORTED);
    assert_int_equal(w.unusable, 0);
    covers_the_ladder(&w.audits);
}

static void a_log_without_chance_is_refused(void **state)
{
    struct whatif w;

    (void)state;
    replay(FIXED, 500, "big", &w);
    assert_int_equal(w.answer, WHATIF_REFUSED);
    assert_int_equal(w.verdict, OFFPOLICY_UNSUPPORTED);
    assert_true(w.check.unsupported > 499);
}

static void a_model_that_nobody_asked_is_refused(void **state)
{
    struct whatif w;

    (void)state;
    replay(RANDOM, 1000, "other", &w);
    assert_int_equal(w.answer, WHATIF_REFUSED);
    assert_int_equal(w.verdict, OFFPOLICY_UNSUPPORTED);
}

static void propensities_that_lie_are_found_out(void **state)
{
    struct whatif w;

    (void)state;
    replay(LYING, 3000, "big", &w);
    assert_int_equal(w.answer, WHATIF_REFUSED);
    assert_int_equal(w.verdict, OFFPOLICY_BIASED);
}

static void few_requests_are_refused(void **state)
{
    struct whatif w;

    (void)state;
    replay(RANDOM, 100, "big", &w);
    assert_int_equal(w.answer, WHATIF_REFUSED);
    assert_int_equal(w.verdict, OFFPOLICY_FEW);
}

/* ---- validators and holds ---- */

static uint64_t fingerprint(enum policy_validator_kind kind)
{
    struct policy_validator v = {.kind = kind,
                                 .pattern = kind == POLICY_VALIDATE_REGEX ? "a" : NULL};
    struct policy_confidence c = {.validators = &v, .validator_count = 1};
    struct validate_set *set = validate_set_new(&c);
    uint64_t f = set->fingerprint;

    validate_set_free(set);
    return f;
}

static void refused_for(const struct whatif *w, enum whatif_misfit why, int64_t requests)
{
    assert_int_equal(w->answer, WHATIF_REFUSED);
    assert_int_equal(w->refusals, 1);
    assert_int_equal(w->refusal[0].why, why);
    assert_int_equal(w->refused_requests, requests);
    assert_int_equal(w->logged.n, 0);
}

static void validators_that_did_not_look_are_refused(void **state)
{
    struct whatif w;

    (void)state;
    world.tail = ", confidence: {validators: [non_empty]}";
    replay(AUDITED, 100, "big", &w);
    refused_for(&w, WHATIF_VALIDATORS, 100);
}

static void other_validators_are_refused(void **state)
{
    struct whatif w;

    (void)state;
    assert_true(fingerprint(POLICY_VALIDATE_NON_EMPTY) != fingerprint(POLICY_VALIDATE_REGEX));
    world.tail = ", confidence: {validators: [non_empty]}";
    world.validators = fingerprint(POLICY_VALIDATE_REGEX);
    replay(RANDOM, 1000, "big", &w);
    refused_for(&w, WHATIF_VALIDATORS, 1000);
}

/* What they said is in the scores that the policy would have to do without. */
static void validators_that_are_taken_away_are_refused(void **state)
{
    struct whatif w;

    (void)state;
    world.validators = fingerprint(POLICY_VALIDATE_NON_EMPTY);
    replay(AUDITED, 100, "big", &w);
    refused_for(&w, WHATIF_VALIDATORS, 100);
}

static void what_validators_said_is_played(void **state)
{
    struct whatif w;

    (void)state;
    world.tail = ", confidence: {validators: [non_empty]}";
    world.validators = fingerprint(POLICY_VALIDATE_NON_EMPTY);
    world.refute_poor = true;
    replay(AUDITED, 1500, "big", &w);
    assert_int_equal(w.answer, WHATIF_BY_AUDITS);
    assert_int_equal(w.refusals, 0);
    covers_the_ladder(&w.audits);
}

static void streams_that_were_judged_whole(void **state)
{
    struct whatif w;

    (void)state;
    world.stream = true; /* held by 24 tokens, of 100 */
    replay(AUDITED, 100, "big", &w);
    refused_for(&w, WHATIF_HOLD, 100);
}

static void held_streams_are_played_along_the_log(void **state)
{
    struct whatif w;

    (void)state;
    world.stream = true;
    world.judged_tokens = 24;
    replay(RANDOM, 3000, "big", &w);
    assert_int_equal(w.answer, WHATIF_BY_WEIGHTS);
    covers_the_ladder(&w.weights);
}

static void streams_held_otherwise_are_refused(void **state)
{
    struct whatif w;

    (void)state;
    world.stream = true;
    world.judged_tokens = 24;
    world.tail = ", confidence: {hold_tokens: 48}";
    replay(RANDOM, 500, "big", &w);
    assert_int_equal(w.refusals, 1);
    assert_int_equal(w.refusal[0].why, WHATIF_HOLD);
    assert_int_equal(w.answer, WHATIF_REFUSED);
}

static void streams_that_are_not_held_stay_with_the_first_model(void **state)
{
    struct whatif w;

    (void)state;
    world.stream = true;
    world.tail = ", confidence: {hold: off}";
    replay(AUDITED, 1500, "big", &w);
    assert_int_equal(w.answer, WHATIF_BY_AUDITS);
    assert_true(fabs(w.audits.cost.value - SMALL_COST) < 1);
    covers(w.audits.success, FINE * FINE_RIGHT + (1 - FINE) * POOR_RIGHT, 0.15);
}

/* ---- failures ---- */

static void the_big_one_alone(const struct whatif *w)
{
    assert_int_equal(w->answer, WHATIF_BY_AUDITS);
    assert_int_equal(w->unusable, 0);
    assert_true(fabs(w->audits.cost.value - BIG_COST) < 1);
    covers(w->audits.success, BIG_RIGHT, 0.15);
}

static void models_that_failed_fail_again(void **state)
{
    struct whatif w;

    (void)state;
    world.small_fails = true;
    replay(AUDITED, 600, "big", &w);
    the_big_one_alone(&w);
}

static void fall_backs_are_played(void **state)
{
    struct whatif w;

    (void)state;
    world.small_fails = world.other_fails = true;
    world.tail = ", fallback: [big]";
    replay(AUDITED, 600, "other", &w);
    the_big_one_alone(&w);
}

static void fall_backs_are_paid_for_along_the_log(void **state)
{
    double cost = SMALL_COST + (1 - FINE) * BIG_COST;
    struct whatif w;

    (void)state;
    world.down = 0.3;
    world.tail = ", fallback: [other]";
    replay(RANDOM, 4000, "big", &w);
    assert_int_equal(w.answer, WHATIF_BY_WEIGHTS);
    covers(w.weights.cost, 0.7 * cost + 0.3 * BIG_COST, 0.25);
}

static void a_model_that_was_not_asked_is_not_guessed(void **state)
{
    struct whatif w;

    (void)state;
    world.small_fails = true;
    world.tail = ", fallback: [big]";
    replay(AUDITED, 200, "other", &w);
    assert_int_equal(w.unusable, 200);
    assert_int_equal(w.answer, WHATIF_REFUSED);
}

static int make_dir(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    snprintf(dir, sizeof dir, "/tmp/weir_whatif_XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/ledger.sqlite", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    sqlite_files_remove(path);
    return rmdir(dir);
}

/* ---- samples ---- */

static void samples_are_paid_for(void **state)
{
    struct whatif w;

    (void)state;
    world.sampled = true;
    world.tail = ", confidence: {samples: 3}";
    replay(RANDOM, 3000, "big", &w);
    assert_int_equal(w.answer, WHATIF_BY_WEIGHTS);
    covers(w.weights.cost, SMALL_COST + SAMPLES_COST + (1 - FINE) * BIG_COST, 0.25);
}

static void other_samples_than_the_log_s_are_refused(void **state)
{
    static const struct {
        bool sampled;
        const char *tail;
    } cases[] = {
        {true, ""},
        {true, ", confidence: {samples: 2}"},
        {true, ", confidence: {samples: 5}"},
        {false, ", confidence: {samples: 3, logprobs: false}"},
    };
    struct whatif w;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        remove_dir(state);
        make_dir(state);
        world.sampled = cases[i].sampled;
        world.tail = cases[i].tail;
        replay(RANDOM, 500, "big", &w);
        assert_int_equal(w.refusals, 1);
        assert_int_equal(w.refusal[0].why, WHATIF_SAMPLES);
        assert_int_equal(w.refused_requests, 500);
    }
}

/* ---- deadlines ---- */

/* Audits: 1 s and 3 s an answer. */
static void replay_with_deadline(void **state, const char *tail, struct whatif *w)
{
    remove_dir(state);
    make_dir(state);
    world.small_us = 1000000;
    world.big_us = world.request_us = 3000000;
    world.tail = tail;
    replay(AUDITED, 1500, "big", w);
    assert_int_equal(w->answer, WHATIF_BY_AUDITS);
}

static void a_deadline_is_played_on_audits(void **state)
{
    struct whatif w;

    replay_with_deadline(state, ", deadline: 10s", &w);
    covers_the_ladder(&w.audits);
    /* No time is left for the big one: it is not asked, and poor answers go out. */
    replay_with_deadline(state, ", deadline: 3500ms", &w);
    assert_true(fabs(w.audits.cost.value - SMALL_COST) < 1);
    covers(w.audits.success, FINE * FINE_RIGHT + (1 - FINE) * POOR_RIGHT, 0.1);
    /* Nobody answers in time. */
    replay_with_deadline(state, ", deadline: 500ms", &w);
    assert_true(fabs(w.audits.cost.value - SMALL_COST) < 1);
    assert_true(w.audits.success.value <= 0);
}

static void a_deadline_that_would_have_ended_the_log_is_refused(void **state)
{
    struct whatif w;

    (void)state;
    world.request_us = 3000000;
    world.tail = ", deadline: 2s";
    replay(RANDOM, 500, "big", &w);
    assert_int_equal(w.refusals, 1);
    assert_int_equal(w.refusal[0].why, WHATIF_DEADLINE);
    assert_int_equal(w.refused_requests, 500);
}

static void a_deadline_that_ends_nothing_changes_nothing(void **state)
{
    struct whatif w;

    (void)state;
    world.request_us = 3000000;
    world.tail = ", deadline: 4s";
    replay(RANDOM, 3000, "big", &w);
    assert_int_equal(w.answer, WHATIF_BY_WEIGHTS);
    covers_the_ladder(&w.weights);
}

/* ---- budgets ---- */

static void replay_with_budget(void **state, const char *usd_per_day, struct whatif *w)
{
    char tail[256];

    remove_dir(state);
    make_dir(state);
    snprintf(tail, sizeof tail,
             "}\ntenants:\n  acme: {keys: [{sha256: "
             "a000000000000000000000000000000000000000000000000000000000000001}], budget: "
             "{max_usd_per_day: %s}",
             usd_per_day);
    world.tenant = "acme";
    world.tail = tail;
    replay(FIXED, 500, "big", w);
}

/* 500 requests of $0.002 in three hours. */
static void a_budget_that_the_log_would_have_reached_is_named(void **state)
{
    struct whatif w;

    replay_with_budget(state, "0.02", &w);
    assert_int_equal(w.limits, 1);
    assert_int_equal(w.limit[0].requests, 490);
    replay_with_budget(state, "2", &w);
    assert_int_equal(w.limits, 0);
}

#define IN_A_DIR(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_DIR(a_random_log_answers_by_weights),
        IN_A_DIR(audits_answer_though_nothing_was_random),
        IN_A_DIR(a_log_without_chance_is_refused),
        IN_A_DIR(a_model_that_nobody_asked_is_refused),
        IN_A_DIR(propensities_that_lie_are_found_out),
        IN_A_DIR(few_requests_are_refused),
        IN_A_DIR(validators_that_did_not_look_are_refused),
        IN_A_DIR(other_validators_are_refused),
        IN_A_DIR(validators_that_are_taken_away_are_refused),
        IN_A_DIR(what_validators_said_is_played),
        IN_A_DIR(streams_that_were_judged_whole),
        IN_A_DIR(held_streams_are_played_along_the_log),
        IN_A_DIR(streams_held_otherwise_are_refused),
        IN_A_DIR(streams_that_are_not_held_stay_with_the_first_model),
        IN_A_DIR(models_that_failed_fail_again),
        IN_A_DIR(fall_backs_are_played),
        IN_A_DIR(fall_backs_are_paid_for_along_the_log),
        IN_A_DIR(a_model_that_was_not_asked_is_not_guessed),
        IN_A_DIR(samples_are_paid_for),
        IN_A_DIR(a_budget_that_the_log_would_have_reached_is_named),
        IN_A_DIR(a_deadline_is_played_on_audits),
        IN_A_DIR(a_deadline_that_would_have_ended_the_log_is_refused),
        IN_A_DIR(a_deadline_that_ends_nothing_changes_nothing),
        IN_A_DIR(other_samples_than_the_log_s_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
