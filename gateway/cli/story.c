/* Words and JSON of a request's story. Called by cmd_why.c. */
#include "gateway/cli/story.h"

#include <math.h>
#include <string.h>
#include "base/clock.h"
#include "gateway/json_put.h"

#define LITTLE_LIFT 0.1 /* log-odds: not worth a word */

/* ---- words ---- */

static void tell_money(FILE *f, nanousd v)
{
    char usd[32];

    fprintf(f, "$%s", money_format_usd(v, usd, sizeof usd));
}

static void tell_seconds(FILE *f, int64_t us)
{
    fprintf(f, us < 10000000 ? "%.2f s" : "%.0f s", (double)us / 1e6);
}

static void tell_age(FILE *f, int64_t us)
{
    double minutes = (double)(us > 0 ? us : 0) / 6e7;

    if (minutes < 2)
        fprintf(f, "%.0f s", minutes * 60);
    else if (minutes < 120)
        fprintf(f, "%.0f min", minutes);
    else if (minutes < 2880)
        fprintf(f, "%.0f h", minutes / 60);
    else
        fprintf(f, "%.0f days", minutes / 1440);
}

static void tell_question(FILE *f, const struct ledger_request *q)
{
    char time[32];

    clock_rfc3339(q->received_wall_us, time, sizeof time);
    fprintf(f, "%s: on %s ", q->request_id, time);
    if (q->tenant[0])
        fprintf(f, "tenant '%s' ", q->tenant);
    else
        fprintf(f, "a client ");
    fprintf(f, "asked for '%s' (%s%s)", q->requested_model, q->api, q->stream ? ", streamed" : "");
    fprintf(f, q->route[0] ? ", which route '%s' took." : ", which no route took.%s", q->route);
    if (q->class_name[0])
        fprintf(f, " The question was taken for '%s' (confidence %.2f, by the %s tier).",
                q->class_name, q->class_confidence, q->class_tier[0] ? q->class_tier : "static");
}

static void tell_cache(FILE *f, const struct ledger_request *q)
{
    if (!q->cache_entry)
        return;
    fprintf(f, " The cache had an answer, entry %llu", (unsigned long long)q->cache_entry);
    if (q->cache_cosine >= 0)
        fprintf(f, " (cosine %.3f", q->cache_cosine);
    if (q->cache_cosine >= 0 && q->cache_probability >= 0)
        fprintf(f, ", right with probability %.3f", q->cache_probability);
    fprintf(f, "%s; it had cost ", q->cache_cosine >= 0 ? ")" : "");
    tell_money(f, q->saved);
    fprintf(f, ".");
}

static void tell_attempt(FILE *f, const struct ledger_attempt *a)
{
    if (strcmp(a->outcome, "ok") == 0 || a->served)
        fprintf(f, " It answered");
    else
        fprintf(f, " It gave no answer (%s)", a->outcome);
    if (a->duration_us >= 0) {
        fprintf(f, " in ");
        tell_seconds(f, a->duration_us);
    }
    fprintf(f, " for ");
    tell_money(f, a->cost);
    if (a->confidence >= 0)
        fprintf(f, ", right with a chance of %.2f", a->confidence);
    fprintf(f, ".");
}

/* Of an answer that was to be repeated (router/sampling.h): how that went, and what it cost. */
static void tell_samples(FILE *f, const struct ledger_story *s, const struct ledger_attempt *of)
{
    static const char skipped[] = "not sampled: ", done[] = "repeated ";
    const char *why = strstr(of->verdict, skipped), *how = strstr(of->verdict, done);
    nanousd cost = 0;
    int asked = 0;

    for (size_t i = 0; i < s->attempt_count; i++)
        if (strcmp(s->attempts[i].role, "sample") == 0 &&
            strcmp(s->attempts[i].model, of->model) == 0) {
            cost = money_add(cost, s->attempts[i].cost);
            asked++;
        }
    if (why)
        fprintf(f, " It was not asked the same again: %s.", why + sizeof skipped - 1);
    if (asked == 0)
        return;
    fprintf(f, " Asked the same again, for ");
    tell_money(f, cost);
    if (how)
        fprintf(f, ", it said so %s times.", how + sizeof done - 1);
    else
        fprintf(f, ", it gave no other answer.");
}

/* A number of a decision's candidate; false: it has none. */
static bool candidate_number(const struct ledger_decision *d, const char *model, const char *key,
                             double *out)
{
    json_t *all = json_loads(d->candidates, 0, NULL);
    bool found = false;
    size_t i;
    json_t *c;

    json_array_foreach(all, i, c)
    {
        const char *name = json_string_value(json_object_get(c, "model"));
        const json_t *v = json_object_get(c, key);

        if (name && strcmp(name, model) == 0 && json_is_number(v)) {
            *out = json_number_value(v);
            found = true;
        }
    }
    json_decref(all);
    return found;
}

static bool is_reason(const struct ledger_decision *d, const char *name)
{
    size_t n = strlen(name);

    return strncmp(d->reason, name, n) == 0 && (d->reason[n] == '\0' || d->reason[n] == ':');
}

/* What neighbours said of the model, where they said much. */
static void tell_neighbours(FILE *f, const struct ledger_decision *d)
{
    double lift;

    if (candidate_number(d, d->chosen, "neighbours", &lift) && fabs(lift) >= LITTLE_LIFT)
        fprintf(f,
                "; what came of similar questions made it %s likely to succeed here (odds x %.2g)",
                lift > 0 ? "more" : "less", exp(lift));
}

static void tell_choice(FILE *f, const struct ledger_decision *d)
{
    double index;

    if (is_reason(d, "pinned"))
        fprintf(f, " %s was asked because a pin or a holdout says so", d->chosen);
    else if (is_reason(d, "explored"))
        fprintf(f, " %s was asked to learn more of it, against the better judgement", d->chosen);
    else if (is_reason(d, "fell_back"))
        fprintf(f, " So %s was asked", d->chosen);
    else if (is_reason(d, "escalated"))
        fprintf(f, " That was not sure enough, and %s was asked", d->chosen);
    else
        fprintf(f, " %s was asked first", d->chosen);
    if (candidate_number(d, d->chosen, "index_nanousd", &index)) {
        fprintf(f, ", worth ");
        tell_money(f, (nanousd)index);
        fprintf(f, " by its index");
    }
    tell_neighbours(f, d);
    if (d->propensity < 1)
        fprintf(f, " (chosen with probability %.3f)", d->propensity);
    fprintf(f, ".");
}

static void tell_stop(FILE *f, const struct ledger_decision *d)
{
    if (is_reason(d, "accepted"))
        fprintf(f, " That was good enough.");
    else if (is_reason(d, "exhausted"))
        fprintf(f, " No other model was left to ask: the best answer was served.");
    else if (is_reason(d, "explored"))
        fprintf(f, " It ended there to learn more, against the better judgement.");
    else
        fprintf(f, " It ended there (%s).", d->reason);
}

/* Is it told of elsewhere, or not at all? */
static bool is_aside(const struct ledger_attempt *a)
{
    return strcmp(a->role, "classify") == 0 || strcmp(a->role, "cache") == 0 ||
           strcmp(a->role, "sample") == 0;
}

/* Attempts of a model that no earlier decision has told of. */
static void tell_attempts_of(FILE *f, const struct ledger_story *s, const char *model, size_t *at)
{
    for (; *at < s->attempt_count; ++*at) {
        const struct ledger_attempt *a = &s->attempts[*at];

        if (is_aside(a))
            continue;
        if (strcmp(a->model, model) != 0)
            return;
        tell_attempt(f, a);
        tell_samples(f, s, a);
    }
}

static void tell_way(FILE *f, const struct ledger_story *s)
{
    const char *last = "";
    size_t at = 0;

    for (size_t i = 0; i < s->decision_count; i++) {
        const struct ledger_decision *d = &s->decisions[i];

        if (strcmp(d->chosen, "stop") == 0) {
            tell_stop(f, d);
            continue;
        }
        tell_choice(f, d);
        tell_attempts_of(f, s, d->chosen, &at);
        last = d->chosen;
    }
    for (; at < s->attempt_count; at++) {
        const struct ledger_attempt *a = &s->attempts[at];

        if (is_aside(a))
            continue;
        if (strcmp(a->model, last) != 0)
            fprintf(f, " %s was asked, at %s.", a->model, a->endpoint);
        tell_attempt(f, a);
        last = a->model;
    }
}

static void tell_end(FILE *f, const struct ledger_request *q)
{
    if (strcmp(q->outcome, "ok") == 0)
        fprintf(f, " The client got %s's answer",
                q->served_model[0] ? q->served_model : "the gateway");
    else
        fprintf(f, " The client got no whole answer: %s, status %d", q->outcome, (int)q->status);
    if (q->duration_us >= 0) {
        fprintf(f, " after ");
        tell_seconds(f, q->duration_us);
    }
    if (q->ttft_us >= 0) {
        fprintf(f, ", its first words after ");
        tell_seconds(f, q->ttft_us);
    }
    fprintf(f, "; all of it cost ");
    tell_money(f, q->cost);
    fprintf(f, ".");
}

static void tell_worth(FILE *f, const struct ledger_story *s)
{
    for (size_t i = 0; i < s->decision_count; i++)
        if (s->decisions[i].success_value >= 0) {
            fprintf(f, " One more success was worth ");
            tell_money(f, s->decisions[i].success_value);
            fprintf(f, ".");
            return;
        }
}

/* By which beliefs: their version is the time when they were built. */
static void tell_beliefs(FILE *f, const struct ledger_story *s)
{
    uint64_t version = s->decision_count ? s->decisions[0].beliefs : 0;
    char time[32];

    if (version == 0)
        return;
    clock_rfc3339((int64_t)version, time, sizeof time);
    fprintf(f, " It was decided by beliefs %llu, built on %s.", (unsigned long long)version, time);
}

static void tell_outcomes(FILE *f, const struct ledger_story *s)
{
    for (size_t i = 0; i < s->outcome_count; i++) {
        const struct ledger_outcome *o = &s->outcomes[i];

        fprintf(f, " ");
        tell_age(f, o->booked_wall_us - s->request.received_wall_us);
        fprintf(f, " later, ");
        if (o->value_milli < 0)
            fprintf(f, "%s feedback of %s's answer was taken back", o->source, o->model);
        else
            fprintf(f, "%s feedback gave %s's answer %.2f of 1", o->source, o->model,
                    (double)o->value_milli / 1000);
        fprintf(f, o->note[0] ? " (\"%s\")." : ".%s", o->note);
        if (strcmp(s->request.cache, "semantic") == 0 && o->value_milli >= 0 &&
            o->value_milli != 500 && o->weight_milli > 0)
            fprintf(f, " The cache was told that its answer was %s.",
                    o->value_milli > 500 ? "right" : "wrong");
    }
    if (s->outcome_count == 0)
        fprintf(f, " What became of the answer nobody has said.");
}

void story_tell(FILE *f, const struct ledger_story *s)
{
    tell_question(f, &s->request);
    tell_cache(f, &s->request);
    tell_way(f, s);
    tell_worth(f, s);
    tell_beliefs(f, s);
    tell_end(f, &s->request);
    tell_outcomes(f, s);
    if (s->checks) {
        fprintf(f, " It caused %lld %s of weir's own, for ", (long long)s->checks,
                s->checks == 1 ? "request" : "requests");
        tell_money(f, s->checks_cost);
        fprintf(f, ".");
    }
    fputc('\n', f);
}

/* ---- JSON ---- */

static json_t *none_below_zero(int64_t v)
{
    return v < 0 ? json_null() : json_integer(v);
}

static json_t *request_json(const struct ledger_request *q)
{
    json_t *o = json_object();

    json_put_text(o, "request_id", q->request_id);
    json_put_time(o, "received", q->received_wall_us);
    json_put_text(o, "api", q->api);
    json_put_text(o, "requested_model", q->requested_model);
    json_put_text(o, "tenant", q->tenant);
    json_put_text(o, "route", q->route);
    json_put_text(o, "policy_version", q->policy_version);
    json_put_text(o, "served_model", q->served_model);
    json_put_bool(o, "stream", q->stream);
    json_put_int(o, "status", q->status);
    json_put_text(o, "outcome", q->outcome);
    json_put_int(o, "attempts", q->attempts);
    json_put_int(o, "cost_nanousd", q->cost);
    json_put(o, "ttft_us", none_below_zero(q->ttft_us));
    json_put(o, "duration_us", none_below_zero(q->duration_us));
    json_put_text(o, "class", q->class_name);
    json_put(o, "class_confidence", json_real(q->class_confidence));
    json_put_text(o, "class_tier", q->class_tier);
    json_put_text(o, "cache", q->cache);
    json_put_int(o, "cache_entry", (int64_t)q->cache_entry);
    json_put_int(o, "saved_nanousd", q->saved);
    json_put_share(o, "cache_cosine", q->cache_cosine);
    json_put_share(o, "cache_probability", q->cache_probability);
    return o;
}

static json_t *attempt_json(const struct ledger_attempt *a)
{
    json_t *o = json_object();

    json_put_int(o, "seq", a->seq);
    json_put_text(o, "role", a->role);
    json_put_time(o, "started", a->started_wall_us);
    json_put_text(o, "model", a->model);
    json_put_text(o, "upstream_model", a->upstream_model);
    json_put_text(o, "backend", a->backend);
    json_put_text(o, "endpoint", a->endpoint);
    json_put_text(o, "outcome", a->outcome);
    json_put_int(o, "http_status", a->http_status);
    for (int k = 0; k < TOK_KINDS; k++) {
        char key[32];
        snprintf(key, sizeof key, "%s_tokens", token_kind_name((enum token_kind)k));
        json_put_int(o, key, a->usage.n[k]);
    }
    json_put_text(o, "usage_source", usage_source_name(a->usage.source));
    json_put_int(o, "cost_nanousd", a->cost);
    json_put_text(o, "price_version", a->price_version);
    json_put(o, "first_byte_us", none_below_zero(a->first_byte_us));
    json_put(o, "duration_us", none_below_zero(a->duration_us));
    json_put_bool(o, "served", a->served);
    json_put_share(o, "confidence", a->confidence);
    json_put_text(o, "verdict", a->verdict);
    return o;
}

static json_t *decision_json(const struct ledger_decision *d)
{
    json_t *o = json_object();

    json_put_int(o, "step", d->step);
    json_put_text(o, "kind", d->kind);
    json_put_text(o, "mode", d->mode);
    json_put_text(o, "context", d->context);
    json_put(o, "candidates", json_loads(d->candidates, 0, NULL));
    json_put_text(o, "chosen", d->chosen);
    json_put(o, "propensity", json_real(d->propensity));
    json_put(o, "success_nanousd", none_below_zero(d->success_value));
    json_put_int(o, "beliefs", (int64_t)d->beliefs);
    json_put_text(o, "reason", d->reason);
    return o;
}

static json_t *outcome_json(const struct ledger_outcome *out)
{
    json_t *o = json_object();

    json_put_text(o, "model", out->model);
    json_put_text(o, "source", out->source);
    json_put(o, "score",
             out->value_milli < 0 ? json_null() : json_real((double)out->value_milli / 1000));
    json_put(o, "weight", json_real((double)out->weight_milli / 1000));
    json_put_time(o, "said", out->said_wall_us);
    json_put_time(o, "booked", out->booked_wall_us);
    json_put_text(o, "note", out->note);
    return o;
}

json_t *story_json(const struct ledger_story *s)
{
    json_t *o = json_object(), *attempts = json_array(), *decisions = json_array(),
           *outcomes = json_array();

    for (size_t i = 0; i < s->attempt_count; i++)
        json_array_append_new(attempts, attempt_json(&s->attempts[i]));
    for (size_t i = 0; i < s->decision_count; i++)
        json_array_append_new(decisions, decision_json(&s->decisions[i]));
    for (size_t i = 0; i < s->outcome_count; i++)
        json_array_append_new(outcomes, outcome_json(&s->outcomes[i]));
    json_put(o, "request", request_json(&s->request));
    json_put(o, "attempts", attempts);
    json_put(o, "decisions", decisions);
    json_put(o, "outcomes", outcomes);
    json_put_int(o, "checks", s->checks);
    json_put_int(o, "checks_cost_nanousd", s->checks_cost);
    return o;
}
