/* Which budgets there are, and what they come to. Owns every struct risk of the cache. Called by
 * cache_meaning.c, on the cache thread. */
#include "cache/cache_budgets_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/mem.h"
#include "base/rng.h"

#define ROOT_ANSWERS  50000
#define SCOPE_ANSWERS 2000
#define ROOT_ERROR    0.01 /* never used: each question has a bound of its own */

/* ---- making ---- */

/* Bounds in parts per billion: a name must not hang on how a double is stored. */
static void name_note(const struct cache_budgets *b, struct budget *x, const char *kind)
{
    struct digest_stream *d = digest_stream_new();
    char numbers[96], hex[DIGEST_HEX_BYTES];

    snprintf(numbers, sizeof numbers, "%s %lld %lld ", kind, llround(x->max_error * 1e9),
             llround(x->audit_min * 1e9));
    digest_stream_add(d, slice_make((const char *)b->fingerprint, sizeof b->fingerprint));
    digest_stream_add(d, slice_str(numbers));
    digest_stream_add(d, slice_make(x->scope, x->scope_bytes));
    digest_hex(digest_stream_end(d), hex);
    snprintf(x->note, sizeof x->note, "risk:%.32s", hex);
}

static struct budget *budget_new(struct cache_budgets *b, const char *kind, struct slice scope,
                                 const struct risk_options *opt)
{
    struct budget *x = mem_zalloc(1, sizeof *x);

    x->of = b;
    x->scope = mem_strdup(scope);
    x->scope_bytes = scope.n;
    x->max_error = opt->max_error;
    x->audit_min = opt->audit_min;
    x->max_answers = opt->max_answers;
    x->risk = risk_new(opt, b->root ? b->root->risk : NULL);
    name_note(b, x, kind);
    return x;
}

static void budget_free(struct budget *x)
{
    if (!x)
        return;
    risk_free(x->risk);
    free(x->scope);
    free(x);
}

struct cache_budgets *cache_budgets_new(struct store *store,
                                        const uint8_t fingerprint[CACHE_FINGERPRINT_BYTES])
{
    struct cache_budgets *b = mem_zalloc(1, sizeof *b);
    struct rng r;

    b->store = store;
    rng_seed_os(&r);
    b->writer = rng_u64(&r);
    memcpy(b->fingerprint, fingerprint, sizeof b->fingerprint);
    b->root =
        budget_new(b, "root", SLICE(""),
                   &(struct risk_options){.max_error = ROOT_ERROR, .max_answers = ROOT_ANSWERS});
    return b;
}

void cache_budgets_free(struct cache_budgets *b)
{
    if (!b)
        return;
    for (size_t i = 0; i <= MAX_BUDGETS; i++)
        budget_free(b->own[i]);
    budget_free(b->root);
    free(b);
}

/* ---- finding ---- */

static bool same_number(double a, double b)
{
    return fabs(a - b) < 1e-12;
}

static bool is_of(const struct budget *x, struct slice scope, const struct cache_rules *rules)
{
    return slice_eq(slice_make(x->scope, x->scope_bytes), scope) &&
           same_number(x->max_error, rules->max_error) &&
           same_number(x->audit_min, rules->audit_min);
}

/* Its note and the root's are asked for at once, not at the next tick: until they are there it
 * learns from nothing, and a process that ends before would not write what it learned. */
static struct budget *budget_add(struct cache_budgets *b, size_t at, const char *kind,
                                 struct slice scope, const struct risk_options *opt)
{
    struct budget *x = b->own[at] = budget_new(b, kind, scope, opt);

    cache_budgets_recall(b->root);
    cache_budgets_recall(x);
    return x;
}

/* The strictest bound of those that share it holds for all. */
static unsigned share(struct cache_budgets *b, const struct risk_options *opt)
{
    struct budget *x = b->own[MAX_BUDGETS];

    if (!x)
        x = budget_add(b, MAX_BUDGETS, "shared", SLICE(""), opt);
    if (opt->max_error < x->max_error) {
        x->max_error = opt->max_error;
        risk_set(x->risk, x->max_error, x->audit_min);
    }
    return MAX_BUDGETS + 1;
}

unsigned cache_budgets_find(struct cache_budgets *b, struct slice scope,
                            const struct cache_rules *rules)
{
    struct risk_options opt = {
        .max_error = rules->max_error, .audit_min = rules->audit_min, .max_answers = SCOPE_ANSWERS};

    for (size_t i = 0; i < b->count; i++)
        if (is_of(b->own[i], scope, rules))
            return (unsigned)i + 1;
    if (b->count == MAX_BUDGETS)
        return share(b, &opt);
    budget_add(b, b->count, "scope", scope, &opt);
    return (unsigned)++b->count;
}

struct budget *cache_budgets_number(const struct cache_budgets *b, unsigned number)
{
    return number > 0 && number <= MAX_BUDGETS + 1 ? b->own[number - 1] : NULL;
}

struct risk *cache_budgets_risk(const struct cache_budgets *b, unsigned number)
{
    const struct budget *x = cache_budgets_number(b, number);

    return x ? x->risk : NULL;
}

bool cache_budgets_at(const struct cache_budgets *b, size_t i, struct cache_budget_facts *out)
{
    const struct budget *x = i < b->count ? b->own[i] : i == b->count ? b->own[MAX_BUDGETS] : NULL;

    if (!x)
        return false;
    *out = (struct cache_budget_facts){.scope = slice_make(x->scope, x->scope_bytes),
                                       .max_error = x->max_error,
                                       .audit_min = x->audit_min,
                                       .risk = x->risk};
    return true;
}

void cache_budgets_facts(const struct cache_budgets *b, struct risk_facts *out,
                         uint64_t *quarantined)
{
    double errors = 0, variance = 0, requests = 0;
    uint64_t most = 0;
    struct risk_facts f, sum;

    risk_facts(b->root->risk, &sum);
    *quarantined = b->quarantined;
    for (size_t i = 0; i <= MAX_BUDGETS; i++) {
        if (!b->own[i])
            continue;
        risk_facts(b->own[i]->risk, &f);
        if (f.requests >= most) {
            most = f.requests;
            sum.cut = f.cut;
            sum.correction = f.correction;
            memcpy(sum.weights, f.weights, sizeof sum.weights);
        }
        double half = (f.error_high - f.error) * (double)f.requests;
        errors += f.error * (double)f.requests;
        variance += half * half;
        requests += (double)f.requests;
        sum.requests += f.requests;
        sum.served += f.served;
        sum.audits += f.audits;
        sum.audited_wrong += f.audited_wrong;
        sum.warm = sum.warm || f.warm;
        sum.alarm = sum.alarm || f.alarm;
    }
    sum.error = errors / fmax(1, requests);
    sum.error_low = fmax(0, sum.error - sqrt(variance) / fmax(1, requests));
    sum.error_high = sum.error + sqrt(variance) / fmax(1, requests);
    *out = sum;
}
