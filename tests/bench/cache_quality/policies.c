#include "policies.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/rng.h"
#include "cache/risk.h"

/* ---- what all share ---- */

struct tally {
    const struct replay *r;
    long hits, wrong, audits, judged, late_hits, late_wrong;
};

static void count(struct tally *t, int position, bool served, bool right)
{
    bool late = 2 * position >= t->r->stream->count;

    t->hits += served;
    t->wrong += served && !right;
    t->late_hits += late && served;
    t->late_wrong += late && served && !right;
}

static void finish(const struct tally *t, struct outcome *out)
{
    double n = t->r->stream->count;

    *out = (struct outcome){(double)t->hits / n,          (double)t->wrong / n,
                            (double)t->audits / n,        (double)t->judged / n,
                            2 * (double)t->late_hits / n, 2 * (double)t->late_wrong / n};
}

static const struct stream_near *nearest_of(const struct stream *s, int text)
{
    return s->nearest + (size_t)text * STREAM_NEAREST;
}

/* ---- ours ---- */

struct store {
    int *answer; /* by text: whose answer its key points to; -1: not stored */
    int *keys;   /* by answer */
};

/* The stored answers near a text, each by its nearest key that the gates let pass. */
static int neighbours(const struct replay *r, const struct store *store, int text,
                      struct risk_neighbour out[RISK_NEIGHBOURS])
{
    const struct stream *s = r->stream;
    const struct stream_near *near = nearest_of(s, text);
    struct stream_near found[RISK_NEIGHBOURS];
    int seen = 0, count = 0;

    for (int k = 0; k < STREAM_NEAREST && seen < RISK_NEIGHBOURS; k++)
        if (near[k].index >= 0 && store->answer[near[k].index] >= 0)
            found[seen++] = near[k];
    for (int i = 0; i < seen; i++) {
        int answer = store->answer[found[i].index], votes = 0;
        struct risk_neighbour n = {
            .answer = (uint64_t)answer + 1, .cosine = found[i].cosine, .keys = store->keys[answer]};
        bool known = false;
        for (int j = 0; j < count; j++)
            known = known || out[j].answer == n.answer;
        if (known || guard_refuses(&s->facts[text], &s->facts[found[i].index], r->guards) >= 0)
            continue;
        for (int j = 0; j < seen; j++) {
            int other = store->answer[found[j].index];
            votes += other == answer;
            if (other != answer && found[j].cosine > n.rival)
                n.rival = found[j].cosine;
        }
        n.votes = (float)votes / RISK_NEIGHBOURS;
        guard_compare(&s->facts[text], &s->facts[found[i].index], &n.like);
        out[count++] = n;
    }
    return count;
}

void policy_risk(const struct replay *r, struct outcome *out)
{
    struct stream *s = r->stream;
    struct risk_options opt = {
        .max_error = r->max_error, .audit_min = 0.02, .max_answers = (size_t)s->count};
    struct risk *risk = risk_new(&opt, NULL);
    struct store store = {mem_alloc((size_t)s->count * sizeof(int)),
                          mem_zalloc((size_t)s->count, sizeof(int))};
    struct tally t = {.r = r};
    struct rng random;

    rng_seed(&random, r->seed);
    for (int i = 0; i < s->count; i++)
        store.answer[i] = -1;
    for (int q = 0; q < s->count; q++) {
        struct risk_neighbour near[RISK_NEIGHBOURS];
        int text = s->order[q], n = neighbours(r, &store, text, near);
        struct risk_verdict v;
        bool right, told;
        risk_consider(risk, near, n, rng_unit(&random), &v);
        right = v.choice >= 0 && s->classes[near[v.choice].answer - 1] == s->classes[text];
        told = rng_unit(&random) < r->wrong_labels ? !right : right;
        count(&t, q, v.serve, right);
        t.audits += v.audit;
        if (v.choice >= 0 && (!v.serve || v.audit)) {
            struct risk_label l = {
                .answer = near[v.choice].answer, .p = v.p, .weight = 1, .right = told};
            l.audit_share = v.audit ? v.audit_share : v.would_serve ? 1 : 0;
            memcpy(l.features, v.features, sizeof l.features);
            risk_learn(risk, &l);
            t.judged++;
        }
        if (v.serve)
            continue;
        /* An equal fresh reply is one more key of the old answer. */
        store.answer[text] = v.choice >= 0 && told ? (int)near[v.choice].answer - 1 : text;
        store.keys[store.answer[text]]++;
    }
    finish(&t, out);
    risk_free(risk);
    free(store.answer);
    free(store.keys);
}

/* ---- a static cut ---- */

void policy_cut(const struct replay *r, double cut, struct outcome *out)
{
    const struct stream *s = r->stream;
    char *stored = mem_zalloc((size_t)s->count, 1);
    struct tally t = {.r = r};

    for (int q = 0; q < s->count; q++) {
        int text = s->order[q];
        const struct stream_near *near = nearest_of(s, text);
        int k = 0;
        while (k < STREAM_NEAREST && near[k].index >= 0 && !stored[near[k].index])
            k++;
        if (k < STREAM_NEAREST && near[k].index >= 0 && (double)near[k].cosine >= cut)
            count(&t, q, true, s->classes[near[k].index] == s->classes[text]);
        else
            stored[text] = 1;
    }
    finish(&t, out);
    free(stored);
}

void policy_static(const struct replay *r, struct outcome *out)
{
    *out = (struct outcome){0};
    for (double cut = 1; cut > 0.3; cut -= 0.0025) {
        struct outcome o;
        policy_cut(r, cut, &o);
        if (o.wrong <= r->max_error && o.hits > out->hits)
            *out = o;
        if (o.wrong > 1.5 * r->max_error + 0.005)
            return; /* errors only grow from here */
    }
}

/* ---- vCache ---- */

#define V_LABELS   200 /* kept of an entry */
#define V_EXPLORES 4   /* real labels before an entry may serve */
#define V_GRID     50

struct v_entry {
    float s[V_LABELS + 2];
    char c[V_LABELS + 2];
    int n; /* with the two seeds (0, 0) and (1, 1) */
};

static double logistic(double s, double t, double gamma)
{
    return 1 / (1 + exp(-gamma * (s - t)));
}

/* Maximum likelihood of logit = b0 + b1 s by Newton, with a weak Gaussian prior that keeps
 * separable labels finite; t and its variance by the delta method. */
static void v_fit(const struct v_entry *e, double *t, double *gamma, double *variance)
{
    double b0 = -5, b1 = 10, h00 = 0, h01 = 0, h11 = 0, det = 1;

    for (int step = 0; step < 12; step++) {
        double g0 = -b0 * 1e-3, g1 = -b1 * 1e-3;
        h00 = h11 = 1e-3;
        h01 = 0;
        for (int i = 0; i < e->n; i++) {
            double s = (double)e->s[i], p = 1 / (1 + exp(-(b0 + b1 * s))), w = p * (1 - p);
            g0 += e->c[i] - p;
            g1 += (e->c[i] - p) * s;
            h00 += w;
            h01 += w * s;
            h11 += w * s * s;
        }
        det = h00 * h11 - h01 * h01;
        b0 += fmax(-20, fmin(20, (h11 * g0 - h01 * g1) / det));
        b1 += fmax(-20, fmin(20, (h00 * g1 - h01 * g0) / det));
    }
    *gamma = fmax(b1, 1e-6);
    *t = fmax(0, fmin(1, -b0 / *gamma));
    {
        double d0 = -1 / *gamma, d1 = b0 / (*gamma * *gamma);
        *variance = (d0 * d0 * h11 - 2 * d0 * d1 * h01 + d1 * d1 * h00) / det;
    }
}

/* The quantile of the standard normal distribution (Acklam's rational approximation). */
static double normal_quantile(double p)
{
    static const double a[] = {-39.69683028665376, 220.9460984245205,  -275.9285104469687,
                               138.3577518672690,  -30.66479806614716, 2.506628277459239};
    static const double b[] = {-54.47609879822406, 161.5858368580409, -155.6989798598866,
                               66.80131188771972, -13.28068155288572};
    static const double c[] = {-0.007784894002430293, -0.3223964580411365, -2.400758277161838,
                               -2.549732539343734,    4.374664141464968,   2.938163982698783};
    static const double d[] = {0.007784695709041462, 0.3224671290700398, 2.445134137142996,
                               3.754408661907416};
    double q, x;

    if (p > 0.5)
        return -normal_quantile(1 - p);
    if (p < 0.02425) {
        q = sqrt(-2 * log(p));
        return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
               ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
    }
    q = p - 0.5;
    x = q * q;
    return (((((a[0] * x + a[1]) * x + a[2]) * x + a[3]) * x + a[4]) * x + a[5]) * q /
           (((((b[0] * x + b[1]) * x + b[2]) * x + b[3]) * x + b[4]) * x + 1);
}

/* The least probability of exploring that keeps P(right) at 1 - delta. */
static double v_explore(const struct v_entry *e, double s, double delta, bool log_grid)
{
    double t, gamma, variance, least = 1;

    if (e->n < V_EXPLORES + 2)
        return 1;
    v_fit(e, &t, &gamma, &variance);
    for (int i = 0; i < V_GRID; i++) {
        double eps =
            log_grid ? pow(10, -6 + 5.7 * i / (V_GRID - 1)) : fmax(1e-6, (double)i / (V_GRID - 1));
        double upper, alpha, tau;
        if (eps >= 1)
            continue;
        upper = fmin(1, t - normal_quantile(eps) * sqrt(variance));
        alpha = (1 - eps) * logistic(s, upper, gamma);
        tau = alpha >= 1 ? 0 : 1 - delta / (1 - alpha);
        least = fmin(least, fmax(0, tau));
    }
    return least;
}

static void v_label(struct v_entry *e, double s, bool right)
{
    int at = e->n < V_LABELS + 2 ? e->n++ : 2 + (e->n + (int)(s * 1000)) % V_LABELS;

    e->s[at] = (float)(round(s * 1000) / 1000);
    e->c[at] = right;
}

void policy_vcache(const struct replay *r, bool log_grid, struct outcome *out)
{
    const struct stream *s = r->stream;
    struct v_entry **entries = mem_zalloc((size_t)s->count, sizeof *entries);
    struct tally t = {.r = r};
    struct rng random;

    rng_seed(&random, r->seed);
    for (int q = 0; q < s->count; q++) {
        int text = s->order[q], k = 0;
        const struct stream_near *near = nearest_of(s, text);
        bool right, told;
        while (k < STREAM_NEAREST && near[k].index >= 0 && !entries[near[k].index])
            k++;
        if (k < STREAM_NEAREST && near[k].index >= 0) {
            struct v_entry *e = entries[near[k].index];
            double cosine = fmin(1, (double)near[k].cosine);
            right = s->classes[near[k].index] == s->classes[text];
            if (rng_unit(&random) > v_explore(e, cosine, r->max_error, log_grid)) {
                count(&t, q, true, right);
                continue;
            }
            told = rng_unit(&random) < r->wrong_labels ? !right : right;
            v_label(e, cosine, told);
            t.judged++;
            if (told)
                continue; /* nothing is inserted: the old entry stands for it */
        }
        entries[text] = mem_zalloc(1, sizeof **entries);
        *entries[text] = (struct v_entry){.s = {0, 1}, .c = {0, 1}, .n = 2};
    }
    finish(&t, out);
    for (int i = 0; i < s->count; i++)
        free(entries[i]);
    free(entries);
}
