/* Does the log know what the policy would have seen? A score is that of an answer's beginning or of
 * the whole, with what certain validators said, and how often the model said the same again: a
 * policy that holds streams otherwise, has other validators, or samples otherwise would have seen
 * something else, and what it would have done nobody knows. Called by
 * whatif.c. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "gateway/report/whatif_int.h"
#include "router/validate_set.h"

#define DEADLINE_SLACK_US 100000 /* by which a request may outlive its deadline */
#define DEADLINE_SHARE    0.01   /* of a route's requests, that may be left out for it */

/* ---- one answer ---- */

static bool is_judged(const struct whatif_case *c)
{
    return c->route->decide.mode != POLICY_DECIDE_ORDER && c->arms > 1 && !whatif_unjudged(c);
}

bool whatif_unjudged(const struct whatif_case *c)
{
    return c->q->stream && c->route->decide.confidence.hold == POLICY_HOLD_OFF;
}

/* How often the policy would have had the answer repeated. Where the log-probabilities of a model
 * that has them stand in for that, the log tells. */
static int samples_due(const struct whatif_play *w, const struct whatif_case *c,
                       const struct traffic_answer *a)
{
    const struct policy_confidence *how = &c->route->decide.confidence;
    const struct policy_model *m =
        policy_find_model(w->policy, slice_str(traffic_name(w->t, a->model)));
    bool told = how->samples.when == POLICY_SAMPLES_NO_LOGPROBS && how->logprobs && m &&
                (m->capabilities & CAP_LOGPROBS) && a->samples == 0;

    if (a->unsampled || told || (c->q->stream && how->hold != POLICY_HOLD_WHOLE))
        return 0;
    for (int j = 0; j < c->arms; j++)
        if (c->model[j] == a->model)
            return (int)c->route->steps[j].samples - 1;
    return 0;
}

/* The policy judges a stream by its first tokens, unless it ends before. Calls of tools are judged
 * whole; the log does not know which those are, so that they are left out. */
static enum whatif_misfit misfit_of(const struct whatif_play *w, const struct whatif_case *c,
                                    const struct traffic_answer *a)
{
    const struct policy_confidence *how = &c->route->decide.confidence;
    int64_t tokens = a->usage.n[TOK_OUTPUT];
    bool begins = c->q->stream && how->hold == POLICY_HOLD_TOKENS && tokens > how->hold_tokens;

    if (a->confidence < 0)
        return c->validators ? WHATIF_VALIDATORS : WHATIF_FITS;
    if (begins)
        return a->judged_tokens == how->hold_tokens ? WHATIF_FITS : WHATIF_HOLD;
    if (a->judged_tokens > 0 || (c->q->stream && a->judged_tokens < 0))
        return WHATIF_HOLD;
    if (a->validators != c->validators)
        return WHATIF_VALIDATORS;
    return a->refuted || a->samples == samples_due(w, c, a) ? WHATIF_FITS : WHATIF_SAMPLES;
}

enum plan_verdict whatif_verdict(const struct whatif_case *c, const struct traffic_answer *a)
{
    if (!c->validators)
        return PLAN_UNCHECKED;
    return a->refuted ? PLAN_REFUTED : a->validated ? PLAN_PASSED : PLAN_UNCHECKED;
}

/* ---- one request ---- */

/* By audits: what every model said that may be judged; the last one in a written order never is
 * where it would change something. */
static enum whatif_misfit misfit_by_audits(const struct whatif_play *w, const struct whatif_case *c)
{
    int judged = c->route->decide.mode == POLICY_DECIDE_ACCEPT ? c->arms - 1 : c->arms;

    for (int j = 0; j < judged; j++) {
        const struct traffic_answer *a = traffic_answer_of(w->t, c->q, c->model[j]);
        enum whatif_misfit m = a ? misfit_of(w, c, a) : WHATIF_FITS;
        if (m != WHATIF_FITS)
            return m;
    }
    return WHATIF_FITS;
}

/* Does a deadline end the request in another way than the log has it? What ended at the policy's
 * own would do so again. */
static bool is_ended(const struct whatif_case *c)
{
    int64_t took = c->q->duration_us, slack = c->deadline_us / 20 + DEADLINE_SLACK_US;

    if (c->deadline_us < 0)
        return c->q->late;
    return took > c->deadline_us + slack || (c->q->late && took < c->deadline_us - slack);
}

/* Along the log: its own answers, as far as another model could have followed. */
static enum whatif_misfit misfit_by_path(const struct whatif_play *w, const struct whatif_case *c)
{
    int answered = 0;

    for (int i = 0; i < c->q->answer_count; i++) {
        const struct traffic_answer *a = &c->q->answer[i];
        enum whatif_misfit m = a->good ? misfit_of(w, c, a) : WHATIF_FITS;
        answered += a->good;
        if (m != WHATIF_FITS && answered < c->arms)
            return m;
    }
    return WHATIF_FITS;
}

/* ---- routes ---- */

struct route_count {
    int64_t requests;
    int64_t by_audits[WHATIF_MISFITS], by_path[WHATIF_MISFITS];
};

static void fit_case(const struct whatif_play *w, struct whatif_case *c, struct route_count *n)
{
    n->requests++;
    c->by_path = is_ended(c) ? WHATIF_DEADLINE : is_judged(c) ? misfit_by_path(w, c) : WHATIF_FITS;
    n->by_path[c->by_path] += c->q->decided;
    if (!is_judged(c) || c->q->audit_count == 0)
        return;
    c->by_audits = misfit_by_audits(w, c);
    n->by_audits[c->by_audits]++;
}

static int64_t misfits(const int64_t n[WHATIF_MISFITS])
{
    return n[WHATIF_VALIDATORS] + n[WHATIF_HOLD] + n[WHATIF_SAMPLES] + n[WHATIF_DEADLINE];
}

/* More than half of them: what is left need not be like the rest. */
static bool mostly_misfits(const int64_t n[WHATIF_MISFITS])
{
    return misfits(n) > n[WHATIF_FITS];
}

/* Requests that a deadline ends are mostly lost: without them all would look better than it is, by
 * as much as there are of them. */
static bool mostly_missed(const int64_t n[WHATIF_MISFITS])
{
    return mostly_misfits(n) ||
           (double)n[WHATIF_DEADLINE] > DEADLINE_SHARE * (double)(misfits(n) + n[WHATIF_FITS]);
}

static bool any(const int64_t n[WHATIF_MISFITS])
{
    return misfits(n) + n[WHATIF_FITS] > 0;
}

/* Neither of the ways that there are leads through. */
static bool is_refused(const struct route_count *n)
{
    bool audits = any(n->by_audits), path = any(n->by_path);

    return (audits || path) && (!audits || mostly_misfits(n->by_audits)) &&
           (!path || mostly_missed(n->by_path));
}

static void refuse(struct whatif *out, const char *name, const struct route_count *n)
{
    enum whatif_misfit why = WHATIF_VALIDATORS;

    for (enum whatif_misfit m = WHATIF_HOLD; m < WHATIF_MISFITS; m++)
        if (n->by_audits[m] + n->by_path[m] > n->by_audits[why] + n->by_path[why])
            why = m;
    out->refused_requests += n->requests;
    if (out->refusals < WHATIF_REFUSALS)
        out->refusal[out->refusals++] = (struct whatif_refusal){name, n->requests, why};
}

static void find_validators(struct whatif_play *w)
{
    for (size_t i = 0; i < w->policy->route_count; i++) {
        const struct policy_route *r = &w->policy->routes[i];
        struct validate_set *set = validate_set_new(&r->decide.confidence);
        for (size_t k = 0; set && k < w->t->requests; k++)
            if (w->cases[k].route == r)
                w->cases[k].validators = set->fingerprint;
        validate_set_free(set);
    }
}

void whatif_fit(struct whatif *out, struct whatif_play *w)
{
    const struct policy *p = w->policy;
    struct route_count *count = mem_zalloc(p->route_count + 1, sizeof *count);

    find_validators(w);
    for (size_t i = 0; i < w->t->requests; i++)
        if (w->cases[i].route)
            fit_case(w, &w->cases[i], &count[w->cases[i].route - p->routes]);
    for (size_t i = 0; i < p->route_count; i++) {
        const char *name = p->routes[i].name;
        if (is_refused(&count[i])) {
            refuse(out, name, &count[i]);
            continue;
        }
        if (mostly_misfits(count[i].by_audits))
            out->missed_by_audits = name;
        if (mostly_missed(count[i].by_path))
            out->missed_by_weights = name;
    }
    for (size_t i = 0; i < w->t->requests; i++) {
        struct whatif_case *c = &w->cases[i];
        c->refused = c->route && is_refused(&count[c->route - p->routes]);
    }
    free(count);
}
