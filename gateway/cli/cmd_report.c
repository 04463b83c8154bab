/* weir report: what was spent, what it achieved, and what that saved. */
#include <stdio.h>
#include <string.h>
#include "base/atomic_file.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/ledger_option.h"
#include "gateway/cli/out.h"
#include "gateway/report/pages.h"

#define TITLE "weir: cost report"

static int fail(const char *what)
{
    fprintf(stderr, "weir report: %s\n", what);
    return EXIT_CODE_RUNTIME;
}

/* To a file, or to standard output when there is no name. */
static int put(const struct figures *f, const struct pages_span *span, enum doc_format format,
               const char *file)
{
    struct err_text t = {""};
    struct doc d;
    int code = EXIT_CODE_OK;

    doc_begin(&d, format, TITLE);
    pages_write(&d, f, span);
    if (doc_end(&d) != ERR_OK)
        code = fail("the report is too large");
    else if (!file || strcmp(file, "-") == 0)
        out_slice(stdout, buf_slice(&d.out));
    else if (atomic_file_write(file, 0644, buf_slice(&d.out), &t) != ERR_OK)
        code = fail(t.s);
    doc_clear(&d);
    return code;
}

static int write_all(const struct cli_args *a, const struct figures *f,
                     const struct pages_span *span)
{
    const char *md = cli_value(a, "md"), *html = cli_value(a, "html");
    int code = EXIT_CODE_OK;

    if (cli_flag(a, "json"))
        out_json(pages_json(f, span));
    if (md)
        code = put(f, span, DOC_MARKDOWN, md);
    if (html && code == EXIT_CODE_OK)
        code = put(f, span, DOC_HTML, html);
    if (!md && !html && !cli_flag(a, "json"))
        code = put(f, span, DOC_MARKDOWN, NULL);
    return code;
}

/* A policy lists the models that there are; without one a name may be of an earlier time. */
static bool knows_baseline(const struct figures *f, const struct policy *p)
{
    const char *name = f->saving.baseline;

    if (!p || !name || f->saving.model >= 0 || policy_find_model(p, slice_str(name)))
        return true;
    fprintf(stderr,
            "weir report: --baseline '%s': neither the policy nor the ledger has a model of that "
            "name\n",
            name);
    return false;
}

/* Of --json, --md and --html at most one may be written there. */
static bool shares_output(const struct cli_args *a)
{
    const char *md = cli_value(a, "md"), *html = cli_value(a, "html");
    int n = cli_flag(a, "json") + (md && strcmp(md, "-") == 0) + (html && strcmp(html, "-") == 0);

    if (n > 1)
        fprintf(stderr, "weir report: --json, '--md -' and '--html -' all write to standard "
                        "output; name one of them\n");
    return n > 1;
}

static int with_policy(const struct cli_args *a, const struct policy *p)
{
    struct figures_options o = {.baseline = cli_value(a, "baseline"), .policy = p};
    const char *price = cli_value(a, "failure-price");
    struct ledger_span span;
    struct traffic traffic;
    int code;

    if (price && !money_parse_usd(slice_str(price), &o.failure_price)) {
        fprintf(stderr, "weir report: --failure-price '%s' is no sum in USD, such as 0.05\n",
                price);
        return EXIT_CODE_USAGE;
    }
    code = ledger_option_traffic(a, p, &span, &traffic);
    if (code == EXIT_CODE_OK) {
        struct pages_span of = {span.since_wall_us, span.until_wall_us};
        struct figures f;
        figures_init(&f, &traffic, &o);
        code = knows_baseline(&f, p) ? write_all(a, &f, &of) : EXIT_CODE_USAGE;
        figures_clear(&f);
    }
    traffic_clear(&traffic);
    return code;
}

static int report(const struct cli_args *a)
{
    const char *config = cli_value(a, "config");
    struct policy *p;
    int code = EXIT_CODE_POLICY;

    if (shares_output(a))
        return EXIT_CODE_USAGE;
    p = config ? out_load_policy(config, false) : NULL;
    if (!config || p)
        code = with_policy(a, p);
    policy_unref(p);
    return code;
}

const struct cli_command cmd_report = {
    .name = "report",
    .operands = "",
    .summary = "write the cost report: spend, cost per success, savings",
    .description =
        "Reads the ledger and says what was spent (by model, tenant, route, class and role of the "
        "attempt), what a success costs in each class, what weir saves against a stated baseline, "
        "which models answered, what the cache and exploration came to, where single models, "
        "a random mix of them and weir lie in quality and cost, and what one more success would "
        "cost.\n\n"
        "Savings are measured against requests that the policy's holdout kept on the baseline; "
        "without enough of them, on audited requests where the baseline was asked as well; "
        "without those, by the baseline's prices for the tokens that were served (--config), "
        "which is a guess. The report says which, and on how many requests it rests.\n\n"
        "Success is known of resolved requests only, by feedback, validators, judges; the share of "
        "them is given. Intervals are 95 % and hold at every look; a "
        "conversation counts as one observation. A warning is printed when "
        "first models do not come as their propensities say, when feedback is missing for some "
        "models more than for others, and when requests and attempts do not add up.\n\n"
        "The ledger is read in short transactions and not changed; weir may be running. Without "
        "--md, --html or --json the report goes to standard output as Markdown.",
    .options =
        (const struct cli_option[]){
            LEDGER_OPTION_SINCE,
            {.name = "ledger",
             .argument = "FILE",
             .help = "The ledger. Default: ledger.sqlite in the policy's server.state_dir with "
                     "--config, else " LEDGER_DEFAULT "."},
            {.name = "config",
             .letter = 'c',
             .argument = "FILE",
             .help = "The policy, for its state directory and for prices."},
            {.name = "baseline",
             .argument = "MODEL",
             .help = "What savings are against. Default: the holdout's model, else the one whose "
                     "answers cost most."},
            {.name = "failure-price",
             .argument = "USD",
             .help = "What a failed answer costs, for the effective cost per success."},
            {.name = "md",
             .argument = "FILE",
             .help = "Write Markdown there; '-' is standard output."},
            {.name = "html",
             .argument = "FILE",
             .help = "Write one HTML file there, with its pictures and without scripts; '-' is "
                     "standard output."},
            {.name = "json", .help = "Write the figures as JSON to standard output."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir report --since 30d --html report.html", "The month, to look at and to print."},
            {"weir report --config weir.yaml --baseline big --failure-price 0.05",
             "What is saved against the big model alone?"},
            {0},
        },
    .run = report,
};
