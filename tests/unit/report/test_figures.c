/* The savings of a report on logs whose truth is known: does the interval hold it? Conversations
 * hang together (a long one is dear in all its turns), and routes differ in how much they hold out.
 */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/rng.h"
#include "gateway/report/figures.h"

#define SEEDS    100
#define COVERED  90 /* of them at least; the intervals are 95 % ones */
#define REQUESTS 1500

/* One route's share of conversations, size of its prompts, chance to escalate, and holdout. */
struct world {
    double share, scale, escalates, holdout;
};
static const struct world two_routes[] = {{0.8, 1, 0.3, 0.05}, {0.2, 10, 0.6, 0.3}};

#define SMALL_COST 100000.0
#define BIG_COST   1000000.0

/* A decided request asks the small model, and goes on to the big one; held out it is the big one's.
 */
static double true_saving(const struct world *w, size_t n)
{
    double now = 0, then = 0;

    for (size_t i = 0; i < n; i++) {
        now += w[i].share * w[i].scale * (SMALL_COST + w[i].escalates * BIG_COST);
        then += w[i].share * w[i].scale * BIG_COST;
    }
    return 1 - now / then;
}

/* ---- a log ---- */

struct conversation {
    uint64_t key;
    const struct world *route;
    const char *name;
    double length; /* all its requests cost so many times as much; 1 on average */
};

static struct ledger_attempt attempt(const char *model, const char *role, double cost)
{
    return (struct ledger_attempt){.seq = 1,
                                   .role = role,
                                   .model = model,
                                   .outcome = "ok",
                                   .cost = (nanousd)cost,
                                   .served = strcmp(role, "escalated") != 0,
                                   .confidence = -1,
                                   .verdict = ""};
}

static struct ledger_request request(const struct conversation *c, const char *id,
                                     const char *purpose, int64_t at_us, nanousd cost)
{
    return (struct ledger_request){.request_id = id,
                                   .received_wall_us = at_us,
                                   .requested_model = "auto",
                                   .tenant = "",
                                   .route = c->name,
                                   .served_model = "big",
                                   .status = 200,
                                   .outcome = "ok",
                                   .cost = cost,
                                   .class_name = "",
                                   .cache = "",
                                   .purpose = purpose,
                                   .conversation = c->key};
}

/* Of answers of that length; a turn varies by half either way. */
static double cost_of(struct rng *rng, const struct conversation *c, double model)
{
    return model * c->route->scale * c->length * (0.5 + rng_unit(rng));
}

static void add_request(struct traffic *t, struct rng *rng, const struct conversation *c,
                        const char *id, int64_t at_us)
{
    bool held = rng_unit(rng) < c->route->holdout, on = rng_unit(rng) < c->route->escalates;
    struct ledger_attempt a[2];
    struct ledger_decision d = {.step = 1,
                                .kind = "first",
                                .mode = "objective",
                                .context = "",
                                .candidates = "[{\"model\":\"small\",\"propensity\":1.0}]",
                                .chosen = held ? "big" : "small",
                                .propensity = 1,
                                .reason = held ? "holdout" : "first"};
    struct ledger_story s = {.attempts = a, .decisions = &d, .decision_count = 1};

    if (!held)
        a[s.attempt_count++] =
            attempt("small", on ? "escalated" : "serve", cost_of(rng, c, SMALL_COST));
    if (held || on)
        a[s.attempt_count++] = attempt("big", "serve", cost_of(rng, c, BIG_COST));
    s.request = request(c, id, "serve", at_us, 0);
    for (size_t i = 0; i < s.attempt_count; i++)
        s.request.cost += a[i].cost;
    traffic_add(t, &s);
}

/* What the baseline would have cost for the same request. */
static void add_audit(struct traffic *t, struct rng *rng, const struct conversation *c,
                      const char *id, int64_t at_us)
{
    struct ledger_attempt a = attempt("big", "audit", cost_of(rng, c, BIG_COST));
    struct ledger_story s = {
        .request = request(c, id, "audit", at_us, a.cost), .attempts = &a, .attempt_count = 1};

    traffic_add(t, &s);
}

/* audits: the share of requests that are audited; then none is held out. */
static void write_log(struct traffic *t, const struct world *w, size_t routes, double audits,
                      uint64_t seed)
{
    static const char *const names[] = {"first", "second"};
    struct rng rng;
    int n = 0;

    rng_seed(&rng, seed);
    for (uint64_t g = 1; n < REQUESTS; g++) {
        size_t r = routes == 1 || rng_unit(&rng) < w[0].share ? 0 : 1;
        struct world plain = w[r];
        double u = rng_unit(&rng);
        struct conversation c = {g, audits > 0 ? &plain : &w[r], names[r], 0.25 + 2.25 * u * u};
        plain.holdout = 0;
        for (int turns = 1 + (int)rng_below(&rng, 8); turns > 0; turns--) {
            char id[32];
            int64_t at_us = (int64_t)n * 1000000;
            snprintf(id, sizeof id, "r%d", n++);
            add_request(t, &rng, &c, id, at_us);
            if (rng_unit(&rng) < audits)
                add_audit(t, &rng, &c, id, at_us);
        }
    }
    traffic_end(t);
}

/* ---- does it hold? ---- */

struct coverage {
    int covered;
    double width, off; /* means */
};

static struct coverage cover(const struct world *w, size_t routes, double audits,
                             enum figures_basis basis)
{
    double truth = true_saving(w, routes);
    struct coverage c = {0};

    for (int seed = 0; seed < SEEDS; seed++) {
        const struct figures_options o = {.baseline = "big"};
        struct traffic t;
        struct figures f;
        traffic_init(&t);
        write_log(&t, w, routes, audits, 1000 + (uint64_t)seed);
        figures_init(&f, &t, &o);
        assert_int_equal(f.saving.basis, basis);
        c.covered += f.saving.share.low <= truth && truth <= f.saving.share.high;
        c.width += (f.saving.share.high - f.saving.share.low) / SEEDS;
        c.off += (f.saving.share.value - truth) / SEEDS;
        figures_clear(&f);
        traffic_clear(&t);
    }
    print_message("truth %.3f: in %d of %d intervals, %.3f wide; off by %+.3f on average\n", truth,
                  c.covered, SEEDS, c.width, c.off);
    return c;
}

static void holds(struct coverage c, double width)
{
    assert_true(c.covered >= COVERED);
    assert_true(c.width < width); /* it says something, too */
    assert_true(fabs(c.off) < 0.03);
}

static void a_holdout(void **state)
{
    static const struct world one[] = {{1, 1, 0.3, 0.15}};

    (void)state;
    holds(cover(one, 1, 0, BASIS_HOLDOUT), 0.4);
}

/* Dear requests are held out six times as often as cheap ones: means of all would mislead. */
static void holdouts_of_routes_that_differ(void **state)
{
    (void)state;
    holds(cover(two_routes, 2, 0, BASIS_HOLDOUT), 0.8);
}

static void audits(void **state)
{
    (void)state;
    holds(cover(two_routes, 2, 0.2, BASIS_AUDITS), 0.6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_holdout),
                                       cmocka_unit_test(holdouts_of_routes_that_differ),
                                       cmocka_unit_test(audits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
