/* Called by weir report. */
#include "gateway/report/pages.h"

#include <math.h>
#include <stdio.h>
#include "base/clock.h"
#include "gateway/report/chart.h"
#include "router/report/evalue.h"

#define MAX_ROWS 20     /* of a table of spend */
#define THOUSAND 1000.0 /* successes: one costs too little to be read */

static double usd(nanousd v)
{
    return (double)v / (double)NANOUSD_PER_USD;
}

static double percent(int64_t part, int64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

static const char *name_of(const struct figures *f, int name)
{
    const char *s = traffic_name(f->t, name);

    return *s ? s : "(none)";
}

struct number {
    char s[32];
};

/* Four digits that count, written out: 0.00004792 rather than 4.792e-05. "-" where nothing is
 * known, "?" for an end that is not. */
static struct number number_of(double v)
{
    struct number out = {"-"};

    if (isinf(v)) {
        snprintf(out.s, sizeof out.s, "?");
    } else if (!isnan(v)) {
        double digits = fabs(v) > 0 ? 3 - floor(log10(fabs(v))) : 0;
        snprintf(out.s, sizeof out.s, "%.*f", (int)fmin(fmax(digits, 0), 12), v);
    }
    return out;
}

struct number_range {
    char s[3 * sizeof(struct number) + 8];
};

/* "0.8600 (0.8100 to 0.8900)". */
static struct number_range range_of(struct interval i, double scale)
{
    struct number_range out = {"-"};

    if (!isnan(i.value))
        snprintf(out.s, sizeof out.s, "%s (%s to %s)", number_of(scale * i.value).s,
                 number_of(scale * i.low).s, number_of(scale * i.high).s);
    return out;
}

/* ---- spend ---- */

static void write_bars(struct doc *d, const struct figures *f, enum traffic_by by,
                       const char *title)
{
    struct chart_bar bar[8];
    char label[8][40];
    struct buf svg;
    int n = 0;

    for (; n < f->t->groups[by] && n < 8; n++) {
        const struct traffic_group *g = &f->t->group[by][n];
        snprintf(label[n], sizeof label[n], "$%s", number_of(usd(g->cost)).s);
        bar[n] = (struct chart_bar){name_of(f, g->name), usd(g->cost), label[n]};
    }
    buf_init(&svg, DOC_BYTES);
    if (n && d->format == DOC_HTML && chart_bars(title, bar, n, &svg) == ERR_OK)
        doc_picture(d, buf_slice(&svg));
    buf_clear(&svg);
}

static void write_spend(struct doc *d, const struct figures *f)
{
    static const struct {
        enum traffic_by by;
        const char *heads;
    } tables[] = {{BY_MODEL, "model|>attempts|>tokens in|>tokens out|>USD|>share %"},
                  {BY_TENANT, "tenant|>attempts|>tokens in|>tokens out|>USD|>share %"},
                  {BY_ROUTE, "route|>attempts|>tokens in|>tokens out|>USD|>share %"},
                  {BY_CLASS, "class|>attempts|>tokens in|>tokens out|>USD|>share %"},
                  {BY_ROLE, "role|>attempts|>tokens in|>tokens out|>USD|>share %"}};

    doc_section(d, "Spend");
    write_bars(d, f, BY_MODEL, "Spend by model");
    for (size_t k = 0; k < sizeof tables / sizeof *tables; k++) {
        int n = f->t->groups[tables[k].by];
        if (n == 0)
            continue;
        doc_table(d, tables[k].heads);
        for (int i = 0; i < n && i < MAX_ROWS; i++) {
            const struct traffic_group *g = &f->t->group[tables[k].by][i];
            doc_cell(d, "%s", name_of(f, g->name));
            doc_cell(d, "%lld", (long long)g->attempts);
            doc_cell(d, "%lld", (long long)g->tokens_in);
            doc_cell(d, "%lld", (long long)g->tokens_out);
            doc_cell(d, "%.9f", usd(g->cost));
            doc_cell(d, "%.1f", percent(g->cost, f->t->attempts_cost));
        }
        doc_table_end(d);
        if (n > MAX_ROWS)
            doc_text(d, "%d more are left out here; --json has them all.", n - MAX_ROWS);
    }
}

/* ---- savings ---- */

static void write_saving(struct doc *d, const struct figures *f)
{
    const struct figures_saving *s = &f->saving;
    const char *model = s->baseline;

    doc_section(d, "Savings");
    if (s->basis == BASIS_NONE) {
        doc_text(d, "%s%s nothing can be said. %s", model ? "Against " : "Of savings",
                 model ? model : "", s->why);
        return;
    }
    doc_text(d, "Against %s alone: %s %% less per request.", model, range_of(s->share, 100).s);
    if (s->basis == BASIS_HOLDOUT)
        doc_text(d,
                 "Measured: %lld requests drawn at random stayed on %s (the policy's holdout); "
                 "routes that "
                 "hold nothing out are not compared.",
                 (long long)s->n, model);
    else if (s->basis == BASIS_AUDITS)
        doc_text(d,
                 "From audits: on %lld requests %s was asked as well, and what it really cost "
                 "there is known.",
                 (long long)s->n, model);
    else
        doc_text(d,
                 "Repriced: the tokens of %lld served answers at %s's price. Models differ in how "
                 "much they say, so that this is a guess; a holdout measures it.",
                 (long long)s->n, model);
}

/* ---- success ---- */

static void write_class(struct doc *d, const struct figures *f, const struct figures_class *c)
{
    doc_cell(d, "%s", c->name < 0 ? "all" : name_of(f, c->name));
    doc_cell(d, "%lld", (long long)c->requests);
    doc_cell(d, "%lld (%.1f %%)", (long long)c->resolved, percent(c->resolved, c->requests));
    doc_cell(d, "%s", range_of(c->success, 100).s);
    doc_cell(d, "%s", range_of(c->usd_per_success, THOUSAND).s);
    doc_cell(d, "%s", number_of(THOUSAND * c->effective_usd).s);
    doc_cell(d, "%.9f", usd(c->cost));
}

static void write_success(struct doc *d, const struct figures *f)
{
    const struct figures_class *all = &f->all;

    doc_section(d, "Cost per success");
    if (all->resolved == 0) {
        doc_text(d, "Of no answer is it known whether it was good: there was no feedback, no "
                    "validator, no audit. POST /v1/feedback tells weir.");
        return;
    }
    doc_table(d, "class|>requests|>resolved|>success %|>USD per 1,000 successes|>effective|>USD");
    write_class(d, f, all);
    for (int i = 0; i < f->classes; i++)
        write_class(d, f, &f->class[i]);
    doc_table_end(d);
    doc_text(d,
             "Of resolved requests: those of which something is known. The others are missing, "
             "not failures. Cost counts all attempts of a request. Intervals (95 %%) hold at every "
             "look.%s",
             f->failure_price ? "" : " Effective adds the price of failures (--failure-price).");
    if (all->successes > 0)
        doc_text(d, "With audits, judges and exploration: %s USD per 1,000 successes.",
                 number_of(THOUSAND * usd(f->t->requests_cost) /
                           (all->success.value * (double)all->requests))
                     .s);
}

/* ---- tiers and cache ---- */

static void write_tiers(struct doc *d, const struct figures *f)
{
    int64_t n = (int64_t)f->t->requests;

    doc_section(d, "Where answers came from");
    doc_table(d, "model|>answers|>share %");
    for (int i = 0; i < f->t->groups[BY_MODEL]; i++) {
        int model = f->t->group[BY_MODEL][i].name;
        int64_t served = 0;
        for (size_t k = 0; k < f->t->requests; k++) {
            const struct traffic_request *q = &f->t->request[k];
            served += !q->cached && q->served >= 0 && q->answer[q->served].model == model;
        }
        if (served == 0)
            continue;
        doc_cell(d, "%s", name_of(f, model));
        doc_cell(d, "%lld", (long long)served);
        doc_cell(d, "%.1f", percent(served, n));
    }
    doc_cell(d, "the cache");
    doc_cell(d, "%lld", (long long)f->cached);
    doc_cell(d, "%.1f", percent(f->cached, n));
    doc_table_end(d);
    doc_text(d, "%.1f %% were escalated, %.1f %% failed, %.1f %% were given up by their clients.",
             percent(f->escalated, n), percent(f->failed, n), percent(f->aborted, n));
    doc_text(d, "The cache gave again what had cost %.9f USD.", usd(f->saved_by_cache));
    doc_text(d,
             "Exploration: in %lld of %lld decided requests a choice that was not the likeliest; "
             "they cost %.9f USD. weir's own requests (audits, judges): %lld for %.9f USD.",
             (long long)f->explored, (long long)f->decided, usd(f->explored_cost),
             (long long)f->t->own, usd(f->t->own_cost));
}

/* ---- frontier ---- */

static void draw_frontier(struct doc *d, const struct figures *f)
{
    struct chart_point p[FIGURES_MODELS + 1];
    struct buf svg;
    int n = 0;

    for (; n < f->singles; n++)
        p[n] = (struct chart_point){{f->single[n].cost_nanousd, f->single[n].success},
                                    name_of(f, f->single[n].model),
                                    false};
    p[n++] = (struct chart_point){f->weir, "weir", true};
    buf_init(&svg, DOC_BYTES);
    if (d->format == DOC_HTML && chart_frontier(p, n, &svg) == ERR_OK)
        doc_picture(d, buf_slice(&svg));
    buf_clear(&svg);
}

static const char *model_at(const struct figures *f, struct evaluate_point at)
{
    for (int j = 0; j < f->singles; j++)
        if (!(f->single[j].cost_nanousd < at.cost) && !(f->single[j].cost_nanousd > at.cost) &&
            !(f->single[j].success < at.success) && !(f->single[j].success > at.success))
            return name_of(f, f->single[j].model);
    return "";
}

static void write_margins(struct doc *d, const struct figures *f, const struct evaluate_point *hull,
                          size_t n)
{
    doc_text(d, "One more success, by mixing neighbours on the hull of single models:");
    doc_table(d, "from|to|>USD per further success|>worth it");
    for (size_t i = 1; i < n; i++) {
        double price = (hull[i].cost - hull[i - 1].cost) / (hull[i].success - hull[i - 1].success);
        doc_cell(d, "%s", model_at(f, hull[i - 1]));
        doc_cell(d, "%s", model_at(f, hull[i]));
        doc_cell(d, "%s", number_of(price / 1e9).s);
        doc_cell(d, "%s",
                 f->failure_price == 0               ? "?"
                 : price <= (double)f->failure_price ? "yes"
                                                     : "no");
    }
    doc_table_end(d);
}

static void write_frontier(struct doc *d, const struct figures *f)
{
    struct evaluate_point hull[FIGURES_MODELS];
    size_t n;

    doc_section(d, "Quality and cost");
    if (f->compared == 0) {
        doc_text(d, "No audited request has judged answers of all models: what single models "
                    "would have done is not known. The policy's audit key asks for audits.");
        return;
    }
    doc_text(d, "On %lld audited requests, each answered and judged by every model:",
             (long long)f->compared);
    draw_frontier(d, f);
    doc_table(d, "who|>USD per 1,000|>success %");
    for (int j = 0; j <= f->singles; j++) {
        bool weir = j == f->singles;
        doc_cell(d, "%s", weir ? "weir" : name_of(f, f->single[j].model));
        doc_cell(d, "%s", number_of((weir ? f->weir.cost : f->single[j].cost_nanousd) / 1e6).s);
        doc_cell(d, "%.1f", 100 * (weir ? f->weir.success : f->single[j].success));
        if (j < f->singles)
            hull[j] = (struct evaluate_point){f->single[j].cost_nanousd, f->single[j].success};
    }
    doc_table_end(d);
    n = evaluate_hull(hull, (size_t)f->singles);
    if (f->weir.cost >= hull[0].cost)
        doc_text(d, "A random mix of single models that costs as much as weir succeeds at %.1f %%.",
                 100 * evaluate_success_at(hull, n, f->weir.cost));
    if (n > 1)
        write_margins(d, f, hull, n);
    else
        doc_text(d,
                 "%s is both the best and, among those as good, the cheapest: here one model "
                 "is best.",
                 model_at(f, hull[0]));
}

/* ---- alarms and the sum ---- */

/* To the base of 10; of what was refuted outright, as much as is worth printing. */
static double exponent(double log_e)
{
    return fmin(log_e / log(10), 999);
}

static void write_warnings(struct doc *d, const struct figures *f)
{
    if (evalue_alarms(f->choice_log_e, FIGURES_ALARM))
        doc_warning(d,
                    "first models do not come as their logged propensities say (e-value 10^%.0f): "
                    "comparisons that rest on them are void.",
                    exponent(f->choice_log_e));
    if (evalue_alarms(f->feedback_log_e, FIGURES_ALARM))
        doc_warning(d,
                    "feedback is missing for some models more than for others (e-value 10^%.0f): "
                    "success rates that are compared between models are biased.",
                    exponent(f->feedback_log_e));
    if (f->t->requests_cost != f->t->attempts_cost)
        doc_warning(d, "the ledger does not add up: requests %lld, attempts %lld nano-dollars.",
                    (long long)f->t->requests_cost, (long long)f->t->attempts_cost);
    if (f->t->unread)
        doc_warning(d, "%lld decisions could not be read.", (long long)f->t->unread);
}

void pages_write(struct doc *d, const struct figures *f, const struct pages_span *span)
{
    char since[32], until[32];
    int64_t n = (int64_t)f->t->requests;

    clock_rfc3339(span->since_wall_us, since, sizeof since);
    clock_rfc3339(span->until_wall_us, until, sizeof until);
    doc_text(d,
             "From %s to %s: %lld requests of clients, %lld answered, %lld failed, %lld given up; "
             "%lld of weir's own. Spent: %.9f USD.",
             since, until, (long long)n, (long long)f->ok, (long long)f->failed,
             (long long)f->aborted, (long long)f->t->own, usd(f->t->requests_cost));
    write_warnings(d, f);
    if (n + f->t->own == 0) {
        doc_text(d, "Nothing was asked in this time.");
        return;
    }
    write_success(d, f);
    write_saving(d, f);
    write_spend(d, f);
    write_tiers(d, f);
    write_frontier(d, f);
    doc_section(d, "Reconciliation");
    doc_text(d, "Requests %lld, attempts %lld nano-dollars: %s.", (long long)f->t->requests_cost,
             (long long)f->t->attempts_cost,
             f->t->requests_cost == f->t->attempts_cost ? "equal" : "NOT equal");
}
