/* weir replay: what another policy would have cost and achieved on the logged traffic. */
#include <math.h>
#include <stdio.h>
#include "gateway/cli/exit.h"
#include "gateway/cli/ledger_option.h"
#include "gateway/cli/out.h"
#include "gateway/report/interval_json.h"
#include "gateway/report/whatif.h"

static const char *answer_name(enum whatif_answer a)
{
    static const char *const names[] = {[WHATIF_REFUSED] = "refused",
                                        [WHATIF_BY_AUDITS] = "audits",
                                        [WHATIF_BY_WEIGHTS] = "doubly robust"};
    return names[a];
}

/* ---- for people ---- */

static void put_interval(const char *what, struct interval i, double scale, const char *unit)
{
    if (isnan(i.value))
        printf("  %-18s not known\n", what);
    else if (isnan(i.low))
        printf("  %-18s %.4g %s\n", what, scale * i.value, unit);
    else
        printf("  %-18s %.4g (%.4g to %.4g) %s\n", what, scale * i.value, scale * i.low,
               scale * i.high, unit);
}

static void put_estimate(const struct whatif_estimate *e)
{
    put_interval("cost", e->cost, 1e-6, "USD per 1,000 requests");
    put_interval("success", e->success, 100, "%");
    put_interval("cost per success", e->cost_per_success, 1e-9, "USD");
}

static void put_reason(const struct whatif *w)
{
    const struct offpolicy_check *c = &w->check;

    printf("By weights: ");
    switch (w->verdict) {
    case OFFPOLICY_VALID:
        printf("valid: mean weight %.3f, effective sample %.0f of %.0f decided requests.\n",
               offpolicy_mean_weight(c), offpolicy_ess(c), c->n);
        return;
    case OFFPOLICY_EMPTY:
        printf("no: no decision that this policy would take, too, was logged.\n");
        return;
    case OFFPOLICY_UNSUPPORTED:
        printf("no: in %.1f %% of its choices the policy would do what the log never did (its "
               "choices were not random, or the models are others).\n",
               100 * c->unsupported / c->n);
        return;
    case OFFPOLICY_FEW:
        printf("no: the log is as good as %.0f requests (%lld with an outcome) under this policy; "
               "at least %.0f are needed.\n",
               offpolicy_ess(c), (long long)w->weights.resolved, OFFPOLICY_MIN_ESS);
        return;
    case OFFPOLICY_BIASED:
        printf("no: weights have a mean of %.3f (standard error %.3f) and not of 1: the logged "
               "propensities are not what happened.\n",
               offpolicy_mean_weight(c), offpolicy_mean_error(c));
        return;
    }
}

static const struct {
    const char *name, *text;
} misfits[WHATIF_MISFITS] = {
    [WHATIF_FITS] = {"", ""},
    [WHATIF_VALIDATORS] = {"validators",
                           "its validators are not those that looked at the answers in the log"},
    [WHATIF_HOLD] = {"hold", "the log judged its answers by more, or by less, of them than its "
                             "'hold' would"},
    [WHATIF_SAMPLES] = {"samples", "in the log models were asked the same again more often, or "
                                   "less often, than its 'samples' would"},
    [WHATIF_DEADLINE] = {"deadline", "a deadline ended requests in the log, or its own would have, "
                                     "and what came of them nobody knows"},
};

static void put_refusals(const struct whatif *w)
{
    for (int i = 0; i < w->refusals; i++)
        printf("Refused: route '%s' (%lld requests, left out of what follows): %s.\n",
               w->refusal[i].route, (long long)w->refusal[i].requests,
               misfits[w->refusal[i].why].text);
}

static void put_missed(const char *way, const char *route)
{
    if (route)
        printf("%s cannot answer for the policy: too many requests of route '%s' were judged "
               "otherwise than it would, or are ended by a deadline.\n",
               way, route);
}

static void put_limits(const struct whatif *w)
{
    for (int i = 0; i < w->limits; i++)
        printf("Not played: the budget of tenant '%s', which would have been reached before %lld "
               "of its requests.\n",
               w->limit[i].tenant, (long long)w->limit[i].requests);
}

static void tell(const struct whatif *w)
{
    printf("Logged: %lld requests of clients, of which the policy has no cascade for %lld.\n",
           (long long)w->requests, (long long)w->unrouted);
    put_refusals(w);
    put_limits(w);
    put_estimate(&w->logged);
    printf("\nAudits: %lld, of which %lld can be played to the end%s\n", (long long)w->audited,
           (long long)(w->audited - w->unusable),
           w->audits.n >= WHATIF_MIN_AUDITS ? ":" : "; at least 30 are needed.");
    if (w->audits.n >= WHATIF_MIN_AUDITS)
        put_estimate(&w->audits);
    put_missed("Audits", w->missed_by_audits);
    putchar('\n');
    put_reason(w);
    put_missed("Weights", w->missed_by_weights);
    if (w->verdict == OFFPOLICY_VALID)
        put_estimate(&w->weights);
    if (w->preview.n > 0) {
        printf("\nPreview, without correction (it promises too much; decide nothing by it):\n");
        put_estimate(&w->preview);
    }
    if (w->answer == WHATIF_REFUSED)
        printf("\nThis log cannot say what the policy would have done. Audits (`audit` in the "
               "policy) or exploration (`explore`) make it answer.\n");
    else
        printf("\nThe answer: by %s.\n", answer_name(w->answer));
}

/* ---- for programs ---- */

static json_t *estimate(const struct whatif_estimate *e)
{
    json_t *o = json_object();

    json_object_set_new(o, "requests", json_integer(e->n));
    json_object_set_new(o, "resolved", json_integer(e->resolved));
    json_object_set_new(o, "cost_nanousd", interval_json(e->cost));
    json_object_set_new(o, "success", interval_json(e->success));
    json_object_set_new(o, "cost_per_success_nanousd", interval_json(e->cost_per_success));
    return o;
}

static json_t *refusals_json(const struct whatif *w)
{
    json_t *list = json_array();

    for (int i = 0; i < w->refusals; i++) {
        json_t *o = json_object();
        json_object_set_new(o, "route", json_string(w->refusal[i].route));
        json_object_set_new(o, "requests", json_integer(w->refusal[i].requests));
        json_object_set_new(o, "why", json_string(misfits[w->refusal[i].why].name));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *limits_json(const struct whatif *w)
{
    json_t *list = json_array();

    for (int i = 0; i < w->limits; i++) {
        json_t *o = json_object();
        json_object_set_new(o, "tenant", json_string(w->limit[i].tenant));
        json_object_set_new(o, "requests", json_integer(w->limit[i].requests));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *as_json(const struct whatif *w)
{
    static const char *const verdicts[] = {[OFFPOLICY_VALID] = "valid",
                                           [OFFPOLICY_EMPTY] = "empty",
                                           [OFFPOLICY_UNSUPPORTED] = "unsupported",
                                           [OFFPOLICY_FEW] = "few",
                                           [OFFPOLICY_BIASED] = "biased"};
    bool valid = w->verdict == OFFPOLICY_VALID;
    json_t *o = json_object(), *check = json_object();

    json_object_set_new(o, "answer", json_string(answer_name(w->answer)));
    json_object_set_new(o, "requests", json_integer(w->requests));
    json_object_set_new(o, "unrouted", json_integer(w->unrouted));
    json_object_set_new(o, "refused", refusals_json(w));
    json_object_set_new(o, "budgets_reached", limits_json(w));
    json_object_set_new(o, "logged", estimate(&w->logged));
    json_object_set_new(o, "audited", json_integer(w->audited));
    json_object_set_new(o, "unusable", json_integer(w->unusable));
    json_object_set_new(o, "audits",
                        w->audits.n >= WHATIF_MIN_AUDITS ? estimate(&w->audits) : json_null());
    json_object_set_new(check, "verdict", json_string(verdicts[w->verdict]));
    json_object_set_new(check, "decided", json_real(w->check.n));
    json_object_set_new(check, "mean_weight",
                        interval_json_number(offpolicy_mean_weight(&w->check)));
    json_object_set_new(check, "mean_error", interval_json_number(offpolicy_mean_error(&w->check)));
    json_object_set_new(check, "effective_sample", interval_json_number(offpolicy_ess(&w->check)));
    json_object_set_new(
        check, "unsupported",
        interval_json_number(w->check.n > 0 ? w->check.unsupported / w->check.n : 0));
    json_object_set_new(o, "check", check);
    json_object_set_new(o, "doubly_robust", valid ? estimate(&w->weights) : json_null());
    json_object_set_new(o, "preview", w->preview.n > 0 ? estimate(&w->preview) : json_null());
    return o;
}

/* ---- running ---- */

static int replay_policy(const struct cli_args *a, const struct policy *p)
{
    struct ledger_span span;
    struct traffic traffic;
    struct whatif w;
    int code = ledger_option_traffic(a, p, &span, &traffic);

    if (code == EXIT_CODE_OK) {
        whatif_run(&w, &traffic, p);
        if (cli_flag(a, "json"))
            out_json(as_json(&w));
        else
            tell(&w);
        code =
            w.answer == WHATIF_REFUSED || w.refusals || w.limits ? EXIT_CODE_FOUND : EXIT_CODE_OK;
    }
    traffic_clear(&traffic);
    return code;
}

static int replay(const struct cli_args *a)
{
    struct policy *p = out_load_policy(a->operands[0], false);
    int code = p ? replay_policy(a, p) : EXIT_CODE_POLICY;

    policy_unref(p);
    return code;
}

const struct cli_command cmd_replay = {
    .name = "replay",
    .operands = "POLICY",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "say what another policy would have cost on the logged traffic",
    .description =
        "Plays a policy on what the ledger has of past requests: which models it would have asked, "
        "what that would have cost at its prices, and how often it would have been right, with 95 "
        "% intervals.\n\n"
        "Audited requests come first: there every model of the cascade answered and was judged, so "
        "that the policy can be played exactly. Else decided requests are weighed by how likely "
        "the policy was to take the logged path (a doubly robust estimate); that holds only when "
        "the log was random enough: the mean weight must be 1 within three standard errors, the "
        "effective sample at least 200 requests, and the policy must do nothing that the log "
        "never did. When neither answers, the command says why and ends with status 1; a preview "
        "from plain means is printed and labelled as one.\n\n"
        "Requests are routed by the policy as they were asked (model, tenant, class; tags and "
        "headers are not in the ledger). What validators said, what a held stream's beginning was "
        "worth and which models failed is played as the ledger has it. A route whose validators, "
        "'hold' or 'samples' are not those of the log is refused by name and left out, with status "
        "1. A 'deadline' is played on audits, by how long each answer took; a route of which it "
        "would have ended more than one logged request in a hundred is refused otherwise. Where "
        "what is logged would have reached a tenant's budget, which is not played, that is said, "
        "with status 1.",
    .options =
        (const struct cli_option[]){
            LEDGER_OPTION_SINCE,
            {.name = "ledger",
             .argument = "FILE",
             .help = "The ledger. Default: ledger.sqlite in the policy's server.state_dir."},
            {.name = "json", .help = "Write all figures as JSON."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir replay candidate.yaml --since 7d --ledger weir-state/ledger.sqlite",
             "Would it have been cheaper, and as good?"},
            {0},
        },
    .run = replay,
};
