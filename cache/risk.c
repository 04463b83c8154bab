/* Deciding and learning; the header has the formulas. Owned and called by the cache thread. */
#include "cache/risk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cache/risk_int.h"

#define AUDIT_START 0.30  /* share of the hits audited at first, on top of audit_min ... */
#define AUDIT_SCALE 120.0 /* ... fading over so many audits */
#define AUDIT_FLOOR 0.25  /* of the mean share: the surest hits are looked at, too */
#define DOUBT_HITS  500.0
#define ONE_SIDED   1.645 /* 95 % */
#define NO_CUT      2.0   /* no probability reaches it */

/* ---- making ---- */

struct risk *risk_new(const struct risk_options *opt, struct risk *parent)
{
    struct risk *r = mem_zalloc(1, sizeof *r);

    r->opt = *opt;
    r->parent = parent;
    r->fit.samples = mem_zalloc(RISK_KEPT_LABELS, sizeof *r->fit.samples);
    for (r->slots = 64; r->slots < 2 * (opt->max_answers + 1);)
        r->slots *= 2;
    r->answers = mem_zalloc(r->slots, sizeof *r->answers);
    r->cut = NO_CUT;
    r->correction = 1;
    return r;
}

void risk_free(struct risk *r)
{
    if (!r)
        return;
    free(r->fit.samples);
    free(r->answers);
    free(r);
}

void risk_set(struct risk *r, double max_error, double audit_min)
{
    r->opt.max_error = max_error;
    r->opt.audit_min = audit_min;
    r->cut = NO_CUT; /* until the next hundred requests have placed it anew */
}

/* ---- answers ---- */

static size_t home_of(const struct risk *r, uint64_t id)
{
    return (size_t)(id * 0x9e3779b97f4a7c15u >> 20) & (r->slots - 1);
}

static size_t slot_of(const struct risk *r, uint64_t id)
{
    size_t i = home_of(r, id);

    while (r->answers[i].id && r->answers[i].id != id)
        i = (i + 1) & (r->slots - 1);
    return i;
}

static const struct risk_answer *answer_find(const struct risk *r, uint64_t id)
{
    const struct risk_answer *a = &r->answers[slot_of(r, id)];

    return a->id ? a : NULL;
}

/* Closes the gap that a free slot would leave in a chain of probes (Knuth, 6.4, algorithm R). */
static void free_slot(struct risk *r, size_t hole)
{
    size_t mask = r->slots - 1;

    for (size_t i = (hole + 1) & mask; r->answers[i].id; i = (i + 1) & mask) {
        size_t home = home_of(r, r->answers[i].id);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            r->answers[hole] = r->answers[i];
            hole = i;
        }
    }
    r->answers[hole] = (struct risk_answer){0};
    r->answer_count--;
}

static int by_serial(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static bool is_quarantined(const struct risk_answer *a)
{
    return a->wrong_audits >= RISK_QUARANTINE;
}

/* Of those in quarantine, or of the others: the tenth that was labelled longest ago goes. */
static void forget_oldest(struct risk *r, bool quarantined)
{
    uint64_t *serials = mem_zalloc(r->answer_count, sizeof *serials), bound;
    size_t n = 0;

    for (size_t i = 0; i < r->slots; i++)
        if (r->answers[i].id && is_quarantined(&r->answers[i]) == quarantined)
            serials[n++] = r->answers[i].labelled;
    qsort(serials, n, sizeof *serials, by_serial);
    bound = n > 0 ? serials[n / 10] : 0;
    free(serials);
    for (size_t i = 0; i < r->slots;) {
        const struct risk_answer *a = &r->answers[i];
        if (a->id && a->labelled <= bound && is_quarantined(a) == quarantined)
            free_slot(r, i); /* another may have moved here */
        else
            i++;
    }
}

struct risk_answer *risk_answer_of(struct risk *r, uint64_t id)
{
    struct risk_answer *a = &r->answers[slot_of(r, id)];

    if (a->id)
        return a;
    if (r->answer_count >= r->opt.max_answers)
        forget_oldest(r, false);
    if (r->answer_count >= r->opt.max_answers)
        forget_oldest(r, true); /* there are no others */
    a = &r->answers[slot_of(r, id)];
    *a = (struct risk_answer){.id = id};
    r->answer_count++;
    return a;
}

bool risk_quarantined(const struct risk *r, uint64_t answer)
{
    const struct risk_answer *a = answer_find(r, answer);

    return a && is_quarantined(a);
}

/* ---- deciding ---- */

/* Cosines are centred where decisions fall, and everything is of the order of one, so that one
 * ridge fits all weights. */
void risk_features(const struct risk_neighbour *n, float out[static RISK_FEATURES])
{
    float s = 4 * (n->cosine - 0.8f), lead = n->cosine - n->rival;

    out[0] = 1;
    out[1] = s;
    out[2] = s * s;
    out[3] = 4 * fminf(lead, 0.5f);
    out[4] = 0.5f * logf(1 + (float)n->keys);
    out[5] = n->like.jaccard;
    out[6] = n->like.length;
    out[7] = n->like.order;
    out[8] = n->like.proper;
    out[9] = n->like.question;
    out[10] = n->like.jaccard * s;
    out[11] = lead > 0 ? 1 : 0;
    out[12] = n->votes;
    out[13] = n->votes * s;
}

/* The weights in force: a scope's own when it has labels enough, else its parent's. */
static const struct risk_fit *fit_of(const struct risk *r)
{
    return r->parent && r->fit.count < RISK_OWN_LABELS ? &r->parent->fit : &r->fit;
}

static double probability(const struct risk *r, uint64_t answer, const float f[RISK_FEATURES])
{
    const struct risk_fit *fit = fit_of(r);
    const struct risk_answer *a = answer_find(r, answer);
    double z, v;

    if (fit->factor[0][0] == 0)
        return 0; /* never fitted */
    z = risk_fit_logit(fit, f) + (a ? (double)a->offset : 0);
    v = risk_fit_variance(fit, f) + (a ? (double)a->variance : RISK_OFFSET_VARIANCE);
    return 1 / (1 + exp(-z / sqrt(1 + M_PI * v / 8)));
}

static int downwards(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x < y) - (x > y);
}

/* The longest prefix of the last requests, surest first, whose expected errors fit the budget (in
 * requests). */
static void fill_budget(const struct risk *r, double budget, struct risk_prospect *out)
{
    size_t n = r->requests < RISK_WINDOW ? (size_t)r->requests : RISK_WINDOW;
    float sorted[RISK_WINDOW];
    double spent = 0, next;

    memcpy(sorted, r->window, n * sizeof sorted[0]);
    qsort(sorted, n, sizeof sorted[0], downwards);
    *out = (struct risk_prospect){.requests = n, .cut = NO_CUT};
    for (size_t i = 0; i < n && (double)sorted[i] >= RISK_FLOOR; i++) {
        next = spent + r->correction * (1 - (double)sorted[i]);
        if (next > budget)
            break;
        spent = next;
        out->cut = (double)sorted[i];
        out->hits = (double)(i + 1) / (double)n;
        out->error = spent / (double)n;
    }
}

void risk_prospect(const struct risk *r, double max_error, struct risk_prospect *out)
{
    size_t n = r->requests < RISK_WINDOW ? (size_t)r->requests : RISK_WINDOW;

    fill_budget(r, RISK_AIM * max_error * (double)n, out);
}

static void place_cut(struct risk *r)
{
    size_t n = r->requests < RISK_WINDOW ? (size_t)r->requests : RISK_WINDOW;
    double aim = RISK_AIM * r->opt.max_error;
    double debt = r->correction * r->risked - aim * r->seen.requests;
    struct risk_prospect p;

    fill_budget(r, aim * (double)n - fmax(0, debt), &p);
    r->cut = p.cut;
}

/* Old audits weigh less: after RISK_MEMORY requests about a third. */
static void fade(struct risk *r, double requests)
{
    double keep = exp(-requests / RISK_MEMORY);

    r->risked *= keep;
    r->seen.wrong *= keep;
    r->seen.expected *= keep;
    r->seen.requests *= keep;
    r->seen.errors *= keep;
    r->seen.variance *= keep;
}

static void count_request(struct risk *r, double p)
{
    r->window[r->requests++ % RISK_WINDOW] = (float)p;
    r->seen.requests++;
    r->untold.requests++;
    if (r->requests % RISK_CUT_EVERY)
        return;
    fade(r, RISK_CUT_EVERY);
    place_cut(r);
}

static bool is_warm(const struct risk *r)
{
    return fit_of(r)->count >= RISK_WARM_LABELS && r->would_be >= RISK_PROBATION;
}

static double mean_audit_share(const struct risk *r)
{
    return fmin(1, r->opt.audit_min + AUDIT_START * exp(-(double)r->audits / AUDIT_SCALE));
}

static void choose_audit(struct risk *r, double uniform, struct risk_verdict *v)
{
    double doubt = sqrt(v->p * (1 - v->p));

    r->doubt += (doubt - r->doubt) / fmin((double)r->served, DOUBT_HITS);
    v->audit_share = fmin(1, mean_audit_share(r) * fmax(AUDIT_FLOOR, doubt / fmax(r->doubt, 1e-9)));
    v->audit = uniform < v->audit_share;
}

/* The surest. p (may be NULL): as in risk_peek. */
static void choose(const struct risk *r, const struct risk_neighbour *n, int count, double *p,
                   struct risk_verdict *out)
{
    *out = (struct risk_verdict){.choice = -1};
    for (int i = 0; i < count; i++) {
        float f[RISK_FEATURES];
        double right = -1;
        if (!risk_quarantined(r, n[i].answer)) {
            risk_features(&n[i], f);
            right = probability(r, n[i].answer, f);
        }
        if (p)
            p[i] = right;
        if (right >= 0 && (out->choice < 0 || right > out->p)) {
            out->choice = i;
            out->p = right;
            memcpy(out->features, f, sizeof f);
        }
    }
}

void risk_peek(const struct risk *r, const struct risk_neighbour *n, int count, double *p,
               struct risk_verdict *out)
{
    choose(r, n, count, p, out);
    out->cut = r->cut;
    out->would_serve = out->choice >= 0 && out->p >= r->cut;
    out->serve = out->would_serve && is_warm(r) && !r->alarm;
}

void risk_consider(struct risk *r, const struct risk_neighbour *n, int count, double uniform,
                   struct risk_verdict *out)
{
    choose(r, n, count, NULL, out);
    count_request(r, out->p);
    out->cut = r->cut;
    out->would_serve = out->choice >= 0 && out->p >= r->cut;
    out->serve = out->would_serve && is_warm(r) && !r->alarm;
    if (!out->serve)
        return;
    r->served++;
    r->risked += 1 - out->p;
    r->untold.risked += 1 - out->p;
    choose_audit(r, uniform, out);
}

/* ---- learning ---- */

/* The estimate of wrong answers per request, and half the width of its 90 % interval. */
static double estimate_error(const struct risk *r, double *half)
{
    double n = fmax(1, r->seen.requests);

    *half = ONE_SIDED * sqrt(r->seen.variance) / n;
    return r->seen.errors / n;
}

static void watch_alarm(struct risk *r)
{
    double half, error = estimate_error(r, &half);

    if (!r->alarm && error - half > 2 * r->opt.max_error)
        r->alarm = true;
    else if (r->alarm && error < r->opt.max_error)
        r->alarm = false;
}

static void count_audit(struct risk *r, const struct risk_label *l)
{
    double in_mean_audits = mean_audit_share(r) / l->audit_share, wrong;

    r->audits++;
    r->audited_wrong += !l->right;
    r->seen.expected += in_mean_audits * (1 - l->p);
    if (!l->right) {
        r->seen.wrong += in_mean_audits;
        r->seen.errors += 1 / l->audit_share;
        r->seen.variance += 1 / (l->audit_share * l->audit_share);
    }
    wrong = r->seen.wrong;
    r->correction = (wrong + 2 + sqrt(wrong + 2)) / (r->seen.expected + 2);
    watch_alarm(r);
}

void risk_learn(struct risk *r, const struct risk_label *l)
{
    struct risk_answer *a = risk_answer_of(r, l->answer);
    unsigned at = a->count++ % RISK_ANSWER_LABELS;

    a->z[at] = (float)risk_fit_logit(fit_of(r), l->features);
    a->right[at] = l->right;
    a->wrong_audits += (l->audit_share > 0 || l->word) && !l->right;
    a->labelled = ++r->serial;
    risk_answer_fit(a);
    if (l->audit_share > 0) {
        r->would_be++;
        count_audit(r, l);
    }
    risk_fit_add(&r->fit, l);
}

void risk_pool(struct risk *r, const struct risk_label *l)
{
    risk_fit_add(&r->fit, l);
}

uint64_t risk_untold(const struct risk *r)
{
    return r->untold.requests;
}

struct risk_counts risk_take_counts(struct risk *r)
{
    struct risk_counts c = r->untold;

    r->untold = (struct risk_counts){0};
    return c;
}

void risk_count(struct risk *r, const struct risk_counts *others)
{
    fade(r, (double)others->requests);
    r->seen.requests += (double)others->requests;
    r->risked += others->risked;
}

void risk_facts(const struct risk *r, struct risk_facts *out)
{
    double half, error = estimate_error(r, &half);

    *out = (struct risk_facts){
        .cut = r->cut,
        .correction = r->correction,
        .requests = r->requests,
        .served = r->served,
        .labels = r->fit.count,
        .audits = r->audits,
        .audited_wrong = r->audited_wrong,
        .error = error,
        .error_low = fmax(0, error - half),
        .error_high = error + half,
        .warm = is_warm(r),
        .alarm = r->alarm,
        .answers = r->answer_count,
    };
    memcpy(out->weights, fit_of(r)->w, sizeof out->weights);
}
