/* Books a finished request: ledger rows, metrics, and the summary for the access log. Runs on the
 * worker; the ledger's own thread writes to disk. */
#include "router/request_int.h"

#include "base/clock.h"
#include "base/line.h"
#include "router/affinity.h"
#include "router/background.h"
#include "router/cache_audit.h"
#include "router/cascade_audit.h"
#include "router/decision.h"
#include "router/learning.h"
#include "router/ledger.h"
#include "router/meters.h"
#include "router/spends.h"

nanousd account_cost(const struct request *r)
{
    nanousd sum = money_add(r->class.ask.bill.cost, r->cache.vector.ask.bill.cost);

    for (int i = 0; i < r->attempt_count; i++)
        sum = money_add(sum, r->attempts[i].cost);
    for (int i = 0; i < r->sample_count; i++)
        sum = money_add(sum, r->samples[i].cost);
    return sum;
}

static const char *outcome_name(enum err e)
{
    return e == ERR_OK ? "ok" : err_name(e);
}

static const struct attempt *served_attempt(const struct request *r)
{
    for (int i = r->attempt_count - 1; i >= 0; i--)
        if (r->attempts[i].served)
            return &r->attempts[i];
    return NULL;
}

static const char *purpose_of(const struct request *r)
{
    return r->background ? background_purpose(r->background) : "serve";
}

static const char *verdict_of(struct request *r, const struct attempt *at)
{
    const char *said = at->refuted       ? arena_printf(&r->arena, "refuted: %s", at->refuted)
                       : at->passed_over ? "passed over"
                       : at->served && at->confidence >= 0 ? "served"
                                                           : "";

    if (at->samples)
        return arena_printf(&r->arena, "%s%srepeated %.2f of %d", said, *said ? "; " : "",
                            at->repeats, at->samples);
    if (at->unsampled)
        return arena_printf(&r->arena, "%s%snot sampled: %s", said, *said ? "; " : "",
                            at->unsampled);
    return said;
}

static void fill_attempt(struct request *r, const struct attempt *at, bool sample,
                         struct ledger_attempt *row)
{
    const struct policy *p = r->snap->policy;
    const struct policy_model *m = &p->models[at->model];
    const struct policy_backend *b = &p->backends[m->backend];

    *row = (struct ledger_attempt){
        .role = at->lost          ? "lost"
                : sample          ? "sample"
                : at->passed_over ? "escalated"
                                  : purpose_of(r),
        .started_wall_us = at->started_wall_us,
        .model = m->name,
        .upstream_model = m->upstream_name,
        .backend = b->name,
        .endpoint = b->endpoints[at->endpoint].label,
        .outcome = outcome_name(at->err),
        .http_status = at->status,
        .usage = at->usage,
        .cost = at->cost,
        .price_version = at->price->version,
        .first_byte_us = at->first_byte_us,
        .duration_us = at->duration_us,
        .served = at->served,
        .confidence = at->confidence,
        .verdict = verdict_of(r, at),
        .judged_tokens = at->judged_tokens,
        .validators = at->validators,
        .validated_milli = at->verdict_milli,
    };
}

/* An answer given again: an attempt of nobody, at no cost. */
static void fill_replay(struct request *r, int64_t duration_us, struct ledger_attempt *row)
{
    const char *model = arena_strdup(&r->arena, r->cache.entry->f.model);

    *row = (struct ledger_attempt){
        .role = "cache",
        .started_wall_us = r->received_wall_us,
        .model = model,
        .upstream_model = "",
        .backend = "(cache)",
        .endpoint = "cache",
        .outcome = "ok",
        .price_version = "",
        .first_byte_us = -1,
        .duration_us = duration_us,
        .served = r->outcome == ERR_OK,
        .confidence = -1,
        .verdict = "",
    };
}

static void post_to_ledger(struct request *r, const struct attempt *served, int64_t duration_us)
{
    const struct policy *p = r->snap->policy;
    struct ledger_attempt *rows =
        ARENA_ARRAY(&r->arena, struct ledger_attempt, r->attempt_count + r->sample_count + 4);
    struct ledger_request req = {
        .request_id = r->id,
        .received_wall_us = r->received_wall_us,
        .api = wire_api_name(r->api),
        .requested_model = arena_strdup(&r->arena, r->ask.model_name),
        .tenant = r->tenant ? r->tenant->name : "",
        .route = r->route ? r->route->name : "",
        .policy_version = p->version,
        .served_model = served ? p->models[served->model].name : "",
        .stream = r->ask.stream,
        .status = r->status,
        .outcome = outcome_name(r->outcome),
        .attempts = r->attempt_count,
        .cost = account_cost(r),
        .ttft_us = r->ttft_us,
        .duration_us = duration_us,
        .class_name = arena_strdup(&r->arena, r->class.is.label),
        .class_confidence = (double)r->class.is.confidence,
        .class_tier = r->class.took_us < 0 ? "" : classifier_tier_name(r->class.is.tier),
        .class_us = r->class.took_us,
        .cache = cache_said_name(r->cache.said),
        .cache_cosine = r->cache.why.entry ? r->cache.why.cosine : -1,
        .cache_probability = r->cache.why.budget ? r->cache.why.probability : -1,
        .purpose = purpose_of(r),
        .conversation = affinity_conversation(&r->ask, slice_str(r->tenant ? r->tenant->name : "")),
        .cap = r->background ? background_cap(r->background)->name : "",
    };
    const struct cache_entry *again = r->cache.entry;
    const struct ledger_decision *decisions;
    size_t n = 0, decision_count;

    if (again) {
        req.served_model = arena_strdup(&r->arena, again->f.model);
        req.cache_entry = again->f.id;
        req.saved = again->f.cost;
        fill_replay(r, duration_us, &rows[n++]);
    }
    if (r->class.ask.bill.price)
        encoder_bill_row(&r->class.ask.bill, &p->encoder, "classify", &rows[n++]);
    if (r->cache.vector.ask.bill.price)
        encoder_bill_row(&r->cache.vector.ask.bill, &p->encoder, "embed", &rows[n++]);
    for (int i = 0; i < r->attempt_count; i++)
        fill_attempt(r, &r->attempts[i], false, &rows[n++]);
    for (int i = 0; i < r->sample_count; i++)
        fill_attempt(r, &r->samples[i], true, &rows[n++]);
    for (size_t i = 0; i < n; i++)
        rows[i].seq = (int32_t)i + 1;
    decisions = decision_rows(r, &decision_count);
    ledger_post(r->env->ledger, ledger_record_new(&req, rows, n, decisions, decision_count));
}

/* Against the tenant's budget, and the daily cap of what weir does by itself. */
static void book_spend(const struct request *r)
{
    nanousd cost = account_cost(r);
    int64_t now_us = clock_wall_us();

    if (cost <= 0)
        return;
    if (r->tenant)
        spend_book(r->snap->spends.tenants[r->tenant - r->snap->policy->tenants], cost, now_us);
    if (r->background)
        spend_book(background_cap(r->background), cost, now_us);
}

static int route_index(const struct request *r)
{
    return r->route ? (int)(r->route - r->snap->policy->routes) : -1;
}

void account_request(struct request *r, struct reply *reply)
{
    const struct policy *p = r->snap->policy;
    const struct attempt *served = served_attempt(r);
    int64_t duration_us = clock_mono_us() - r->received_us;

    cache_audit_remember(r); /* before the learner knows of it: feedback is not too early */
    learning_post(r);
    post_to_ledger(r, served, duration_us); /* after the learner, which relies on it */
    book_spend(r);
    decision_count(r);
    cascade_audit_plan(r);
    if (r->cache.said != CACHE_SAID_NOTHING)
        meters_cached(r->env->meters, r->cache.said, r->route, r->tenant,
                      r->cache.entry ? r->cache.entry->f.cost : 0);
    if (r->background)
        meters_background(r->env->meters, purpose_of(r), r->outcome);
    else
        meters_request(r->env->meters, r->snap, r->api, route_index(r), r->status, duration_us,
                       r->ttft_us);
    if (!reply)
        return;
    reply->summary = (struct reply_summary){
        .model = served ? p->models[served->model].name : "",
        .endpoint = served ? attempt_backend(r, served)->endpoints[served->endpoint].label : "",
        .route = r->route ? r->route->name : "",
        .class_confidence = (double)r->class.is.confidence,
        .cache = cache_said_name(r->cache.said),
        .err = r->outcome,
        .attempts = r->attempt_count,
        .cost = account_cost(r),
        .ttft_us = r->ttft_us,
    };
    line_copy(reply->summary.requested, sizeof reply->summary.requested, r->ask.model_name);
    line_copy(reply->summary.class_name, sizeof reply->summary.class_name, r->class.is.label);
    if (served)
        reply->summary.usage = served->usage;
}
