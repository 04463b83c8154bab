/* Owns every struct risk of the cache. Called by cache_meaning.c, on the cache thread; the store
 * calls back with notes. */
#include "cache/cache_budgets.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/log.h"
#include "base/mem.h"

#define MAX_BUDGETS   256 /* scopes with a risk of their own; later ones share one */
#define ROOT_ANSWERS  50000
#define SCOPE_ANSWERS 2000
#define SAVE_EVERY_US INT64_C(60000000)
#define ROOT_ERROR    0.01 /* never used: each question has a bound of its own */

enum recall { RECALL_WANTED, RECALL_UNDER_WAY, RECALL_DONE };

struct budget {
    char *scope; /* owned */
    size_t scope_bytes;
    double max_error, audit_min;
    size_t max_answers;
    struct risk *risk; /* owned */
    char note[48];
    enum recall recall;
    uint64_t labels, noted_labels; /* since the start; of them in the note */
    bool warm, alarm;              /* as the log has them */
    int64_t noted_us;
};

struct cache_budgets {
    struct store *store; /* borrowed */
    uint8_t fingerprint[CACHE_FINGERPRINT_BYTES];
    struct budget *root;
    struct budget *own[MAX_BUDGETS + 1]; /* owned; the last is shared by all further scopes */
    size_t count;                        /* of own, but for the shared one */
    uint64_t quarantined;
    size_t writing; /* notes that the store has not confirmed */
    size_t turn;    /* of the next one that may write its note */
};

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

static struct budget *budget_new(const struct cache_budgets *b, const char *kind,
                                 struct slice scope, const struct risk_options *opt)
{
    struct budget *x = mem_zalloc(1, sizeof *x);

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

    b->store = store;
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

/* ---- reading what an earlier process learned ---- */

static uint64_t labels_of(const struct risk *r)
{
    struct risk_facts f;

    risk_facts(r, &f);
    return f.labels;
}

/* Into a risk of its own first: what is there stays when it stands on more. */
static bool load_if_more(struct budget *x, struct slice saved)
{
    struct risk_options opt = {
        .max_error = x->max_error, .audit_min = x->audit_min, .max_answers = x->max_answers};
    struct risk *before = risk_new(&opt, NULL);
    bool good = risk_load(before, saved) == ERR_OK;

    if (good && labels_of(before) > labels_of(x->risk))
        good = risk_load(x->risk, saved) == ERR_OK;
    risk_free(before);
    return good;
}

static void on_recalled(void *ctx, enum err err, struct slice saved)
{
    struct budget *x = ctx;

    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        x->recall = RECALL_WANTED; /* once more at the next tick */
        return;
    }
    x->recall = RECALL_DONE;
    if (err == ERR_OK && !load_if_more(x, saved))
        log_line(LOG_WARN, "cache", "what was learned about answers cannot be read; starting anew",
                 NULL);
}

static void recall(struct cache_budgets *b, struct budget *x)
{
    if (!x || x->recall != RECALL_WANTED)
        return;
    x->recall = RECALL_UNDER_WAY;
    store_recall(b->store, slice_str(x->note), on_recalled, x);
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

    recall(b, b->root);
    recall(b, x);
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

static struct budget *budget_at(const struct cache_budgets *b, unsigned number)
{
    return number > 0 && number <= MAX_BUDGETS + 1 ? b->own[number - 1] : NULL;
}

struct risk *cache_budgets_risk(const struct cache_budgets *b, unsigned number)
{
    const struct budget *x = budget_at(b, number);

    return x ? x->risk : NULL;
}

/* A scope's name is a tenant's: it is no secret. */
static void tell_turns(struct budget *x)
{
    char scope[96];
    struct risk_facts f;

    risk_facts(x->risk, &f);
    log_quote(slice_make(x->scope, x->scope_bytes), scope, sizeof scope);
    if (f.warm && !x->warm)
        log_line(LOG_INFO, "cache", "warm: answers by meaning are served from now on",
                 "scope=%s labels=%llu", scope, (unsigned long long)f.labels);
    if (f.alarm && !x->alarm)
        log_line(LOG_ERROR, "cache",
                 "alarm: more wrong answers by meaning than allowed; none is served",
                 "scope=%s error=%.4f low=%.4f max_error=%.4f", scope, f.error, f.error_low,
                 x->max_error);
    if (!f.alarm && x->alarm)
        log_line(LOG_INFO, "cache", "the alarm is over", "scope=%s error=%.4f", scope, f.error);
    x->warm = f.warm;
    x->alarm = f.alarm;
}

void cache_budgets_learn(struct cache_budgets *b, unsigned number, const struct risk_label *l)
{
    struct budget *x = budget_at(b, number);

    if (!x)
        return;
    bool was_good = !risk_quarantined(x->risk, l->answer);
    risk_learn(x->risk, l);
    x->labels++;
    b->root->labels++;
    if (was_good && risk_quarantined(x->risk, l->answer)) {
        b->quarantined++;
        log_line(LOG_WARN, "cache", "an answer was wrong too often: it is served no more",
                 "answer=%llx", (unsigned long long)l->answer);
    }
    tell_turns(x);
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

/* ---- what outlives the process ---- */

static void on_noted(void *ctx, enum err err, uint64_t value)
{
    struct cache_budgets *b = ctx;

    (void)err, (void)value;
    b->writing--;
}

/* Not before the old note was read: it may know more. */
static bool is_newer(const struct budget *x)
{
    return x && x->recall == RECALL_DONE && x->labels != x->noted_labels;
}

static void note(struct cache_budgets *b, struct budget *x)
{
    size_t n = risk_save_bytes(x->risk);
    char *saved = mem_alloc(n);

    risk_save(x->risk, saved);
    store_note(b->store, slice_str(x->note), slice_make(saved, n), on_noted, b);
    b->writing++;
    free(saved);
    x->noted_labels = x->labels;
}

/* One a tick, for one is a millisecond or two. */
static void note_next(struct cache_budgets *b, int64_t now_us)
{
    for (size_t tried = 0; tried < MAX_BUDGETS + 2; tried++) {
        size_t i = b->turn++ % (MAX_BUDGETS + 2);
        struct budget *x = i <= MAX_BUDGETS ? b->own[i] : b->root;
        if (is_newer(x) && now_us - x->noted_us >= SAVE_EVERY_US) {
            x->noted_us = now_us;
            note(b, x);
            return;
        }
    }
}

void cache_budgets_tick(struct cache_budgets *b, bool current, int64_t now_us)
{
    if (!current)
        return;
    recall(b, b->root);
    for (size_t i = 0; i <= MAX_BUDGETS; i++)
        recall(b, b->own[i]);
    note_next(b, now_us);
}

void cache_budgets_save(struct cache_budgets *b)
{
    if (is_newer(b->root))
        note(b, b->root);
    for (size_t i = 0; i <= MAX_BUDGETS; i++)
        if (is_newer(b->own[i]))
            note(b, b->own[i]);
}

bool cache_budgets_writing(const struct cache_budgets *b)
{
    return b->writing > 0;
}
