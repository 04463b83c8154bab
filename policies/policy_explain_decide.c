/* What a route does with its answers, in words: for policy_explain. Pure but for the arena. */
#include "policies/policy_explain_int.h"

#include <stdarg.h>
#include <stdio.h>
#include "policies/policy_print.h"
#include "policies/policy_value.h"

static const char *usd(struct arena *a, nanousd v)
{
    char text[32];
    return arena_printf(a, "$%s", money_format_usd(v, text, sizeof text));
}

static __attribute__((format(printf, 2, 3))) void say(struct explain_lines *out, const char *fmt,
                                                      ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (out->count < POLICY_EXPLAIN_LINES)
        out->of[out->count++] = arena_strdup(out->arena, slice_str(text));
}

/* ---- each a line ---- */

static const char *thresholds(struct arena *a, const struct policy *p, const struct policy_route *r)
{
    const char *all = "";
    for (size_t i = 0; i < r->cascade_count; i++) {
        double accept = r->steps[i].accept;
        const char *name = p->models[r->steps[i].model].name;
        if (accept != POLICY_OFF)
            all = arena_printf(a, "%s%s%s from %.9g", all, *all ? ", " : "", name, accept);
        else if (r->decide.mode == POLICY_DECIDE_ACCEPT)
            all = arena_printf(a, "%s%s%s always", all, *all ? ", " : "", name);
    }
    return all;
}

static void explain_accept(struct explain_lines *out, const struct policy *p,
                           const struct policy_route *r)
{
    say(out, "answers are judged: final is that of %s; else the next model is asked",
        thresholds(out->arena, p, r));
}

static const char *floor_text(struct arena *a, const struct policy_floor *f)
{
    const char *least =
        f->min_class == POLICY_OFF ? "" : arena_printf(a, ", no class below %.9g", f->min_class);
    return arena_printf(a, "floor: %.9g of %s must succeed%s", f->success,
                        f->scope == POLICY_FLOOR_CLASS ? "each class's requests" : "requests",
                        least);
}

static void explain_objective(struct explain_lines *out, const struct policy *p,
                              const struct policy_route *r)
{
    const struct policy_objective *o = &r->decide.objective;
    const char *sure = thresholds(out->arena, p, r);
    say(out, "answers are judged: models are asked in the order that makes a success "
             "cheapest, as far as outcomes tell");
    if (*sure)
        say(out, "final in any case is an answer of %s", sure);
    if (o->floor.success != POLICY_OFF)
        say(out, "%s", floor_text(out->arena, &o->floor));
    say(out, "a failure costs %s%s%s%s%s",
        o->failure_price ? usd(out->arena, o->failure_price) : "nothing by itself",
        o->budget != POLICY_NONE ? ", a request at most " : "",
        o->budget != POLICY_NONE ? usd(out->arena, o->budget) : "",
        o->latency_price ? ", a second of waiting " : "",
        o->latency_price ? usd(out->arena, o->latency_price) : "");
    say(out, "explored: %.9g of first choices, %.9g of later ones, at most %.9g of the spend",
        r->decide.explore.share, r->decide.explore.step_share, r->decide.explore.max_spend_share);
}

static const char *validators(struct arena *a, const struct policy_confidence *c)
{
    static const char *const names[] = {
        [POLICY_VALIDATE_JSON_SCHEMA] = "json_schema", [POLICY_VALIDATE_TOOL_ARGS] = "tool_args",
        [POLICY_VALIDATE_NON_EMPTY] = "non_empty",     [POLICY_VALIDATE_REGEX] = "regex",
        [POLICY_VALIDATE_COMMAND] = "command",         [POLICY_VALIDATE_HTTP] = "http",
    };
    struct print_list all = {.arena = a};
    for (size_t i = 0; i < c->validator_count; i++)
        print_list_add(&all, names[c->validators[i].kind]);
    return print_list_text(&all);
}

static void explain_samples(struct explain_lines *out, const struct policy *p,
                            const struct policy_route *r)
{
    const struct policy_samples *s = &r->decide.confidence.samples;
    struct arena *a = out->arena;
    const char *all = "";
    for (size_t i = 0; i < r->cascade_count; i++)
        if (r->steps[i].samples > 1)
            all = arena_printf(a, "%s%s%s %lld times", all, *all ? ", " : "",
                               p->models[r->steps[i].model].name, (long long)r->steps[i].samples);
    if (*all)
        say(out, "sampled: %s%s%s", all,
            s->when == POLICY_SAMPLES_ALWAYS ? "" : ", where an answer has no log-probabilities",
            s->temperature == POLICY_OFF
                ? ""
                : arena_printf(a, ", at temperature %.9g", s->temperature));
}

static void explain_confidence(struct explain_lines *out, const struct policy *p,
                               const struct policy_route *r)
{
    const struct policy_confidence *c = &r->decide.confidence;
    if (c->hold == POLICY_HOLD_TOKENS)
        say(out, "streams are held for %lld tokens, calls of tools to their end",
            (long long)c->hold_tokens);
    else
        say(out, "streams are %s",
            c->hold == POLICY_HOLD_WHOLE ? "held to their end"
                                         : "not judged: the first one is final");
    say(out, "when none is accepted %s answer is served", c->recall ? "the best" : "the last");
    if (c->validator_count)
        say(out, "validators: %s", validators(out->arena, c));
    explain_samples(out, p, r);
}

static bool pin_applies(const struct policy_pin *pin, const struct policy_query *q)
{
    return (!pin->tenant || (q->tenant && strcmp(q->tenant->name, pin->tenant) == 0)) &&
           (!pin->class_name || slice_eq(q->class_name, slice_str(pin->class_name)));
}

static void explain_learning(struct explain_lines *out, const struct policy *p,
                             const struct policy_query *q, const struct policy_decide *d)
{
    char life[32];
    for (size_t i = 0; i < d->explore.pin_count; i++)
        if (pin_applies(&d->explore.pins[i], q)) {
            say(out, "pinned: this request stays with %s",
                p->models[d->explore.pins[i].model].name);
            break;
        }
    if (d->learn.mode == POLICY_LEARN_OFF)
        say(out, "learning is off: what is known is used, and nothing added");
    else
        say(out, "outcomes are learnt class by class, with a half-life of %s",
            value_format_duration(d->learn.half_life_ms, life, sizeof life));
    if (d->holdout.share > 0)
        say(out, "holdout: %.9g of requests stay with one model", d->holdout.share);
    if (d->audit.share > 0)
        say(out, "audited: %.9g of requests, for at most %s a day", d->audit.share,
            usd(out->arena, d->audit.max_per_day));
}

void policy_explain_decide(struct explain_lines *out, const struct policy *p,
                           const struct policy_query *q, const struct policy_route *r)
{
    if (r->decide.mode == POLICY_DECIDE_ORDER || q->api == POLICY_API_EMBEDDINGS)
        return;
    if (r->decide.mode == POLICY_DECIDE_ACCEPT)
        explain_accept(out, p, r);
    else
        explain_objective(out, p, r);
    explain_confidence(out, p, r);
    explain_learning(out, p, q, &r->decide);
}
