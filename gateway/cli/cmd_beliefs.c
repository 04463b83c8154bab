/* weir beliefs: what a running weir believes of its models, and what a success is worth to it. */
#include "gateway/cli/admin_client.h"
#include "gateway/cli/out.h"

static double usd(const json_t *o, const char *key)
{
    return admin_client_number(o, key) / 1e9;
}

/* A success is worth $0.0021: the price of a failure $0.0010, the ratio's value ..., the floor ...
 */
static void print_price(const json_t *c)
{
    const json_t *p = json_object_get(c, "price"), *floor = json_object_get(p, "floor");

    printf("  a success is worth $%.6f: failure price $%.6f + cost of a success $%.6f",
           usd(p, "success_nanousd"), usd(p, "failure_price_nanousd"), usd(p, "ratio_nanousd"));
    if (json_is_number(floor))
        printf(" + $%.6f for the floor of %.1f %%%s", usd(p, "floor_adds_nanousd"),
               100 * json_number_value(floor),
               json_is_true(json_object_get(p, "floor_reachable")) ? ""
                                                                   : ", which is out of reach");
    if (admin_client_number(p, "budget_takes") > 0)
        printf(", divided by %.2f for the budget", 1 + admin_client_number(p, "budget_takes"));
    printf(
        "\n  expected: %.1f +- %.1f %% successes at $%.6f a request; lately believed %+.1f points "
        "too much\n",
        100 * admin_client_number(c, "expected_success"),
        100 * admin_client_number(p, "success_error"), usd(c, "expected_cost_nanousd"),
        100 * admin_client_number(c, "bias"));
    if (admin_client_number(p, "without_doubt_share") > 0)
        printf("  %.0f %% of the requests are decided as if nothing were in doubt: $%.6f\n",
               100 * admin_client_number(p, "without_doubt_share"),
               usd(p, "without_doubt_nanousd"));
}

static void print_model(const json_t *m)
{
    printf("  %-28s %5.1f [%5.1f, %5.1f] %9.0f %8.0f %12.6f %12.6f %6.1f %% %6.2f%s\n",
           admin_client_text(m, "model"), 100 * admin_client_number(m, "success"),
           100 * admin_client_number(m, "success_low"),
           100 * admin_client_number(m, "success_high"), admin_client_number(m, "asked"),
           admin_client_number(m, "labels"), usd(m, "cost_nanousd"), usd(m, "index_nanousd"),
           100 * admin_client_number(m, "propensity"), admin_client_number(m, "auroc"),
           json_is_true(json_object_get(m, "gated_on_confidence")) ? "" : "  not gated on it");
}

/* What trained heads have won over the class's mean, where they know the model. */
static void print_foresight(const json_t *m)
{
    const json_t *f = json_object_get(m, "foresight");

    if (f)
        printf("  %-28s heads: ahead by %.1f +- %.1f nats over %.0f labels; trusted by %.0f %%\n",
               "", admin_client_number(f, "lead_nats"), admin_client_number(f, "lead_error_nats"),
               admin_client_number(f, "labels"), 100 * admin_client_number(f, "trust"));
}

/* The last hours' word stands until its labels say otherwise. */
static void print_change(const json_t *m)
{
    const char *since = admin_client_text(m, "changed_at");

    if (*since)
        printf("  %-28s is not what it was since %s; %+.2f log-odds\n", "", since,
               admin_client_number(m, "shift"));
}

static void print_context(const json_t *c)
{
    const json_t *models = json_object_get(c, "models"), *near = json_object_get(c, "neighbours");

    printf("%s%s%s, %s%s: %.0f requests\n", out_style(stdout, OUT_BOLD),
           admin_client_text(c, "route"), out_style(stdout, OUT_PLAIN),
           *admin_client_text(c, "class") ? "class " : "no class", admin_client_text(c, "class"),
           admin_client_number(c, "requests"));
    print_price(c);
    printf("  %-28s %s\n", "",
           "success %, 80 % int.  asked   labels   USD/request    index USD   first  AUROC");
    for (size_t i = 0; i < json_array_size(models); i++) {
        print_model(json_array_get(models, i));
        print_change(json_array_get(models, i));
        print_foresight(json_array_get(models, i));
    }
    if (near && admin_client_number(near, "questions") > 0)
        printf("  neighbours: %.0f questions with outcomes; trusted by %.0f %%\n",
               admin_client_number(near, "questions"), 100 * admin_client_number(near, "trust"));
    if (*admin_client_text(c, "one_model_is_best"))
        printf("  for this class one model is best: %s; a cascade gains nothing on it\n",
               admin_client_text(c, "one_model_is_best"));
}

static bool print(const json_t *answer, const struct cli_args *a)
{
    const json_t *list = json_object_get(answer, "contexts");

    (void)a;
    if (!json_is_array(list))
        return false;
    if (!json_is_true(json_object_get(answer, "learning")))
        printf("No route learns: none has accept or an objective.\n");
    else if (json_array_size(list) == 0)
        printf("Nothing has been asked yet.\n");
    for (size_t i = 0; i < json_array_size(list); i++)
        print_context(json_array_get(list, i));
    return true;
}

static int beliefs(const struct cli_args *a)
{
    return admin_client_print(a, "/admin/beliefs", print);
}

const struct cli_command cmd_beliefs = {
    .name = "beliefs",
    .operands = "",
    .summary = "show what a running weir has learnt of its models",
    .description =
        "For each route with an objective, or with accept, and each class that queries were of: "
        "what one "
        "more success is worth and why, and for each model the chance that its answer is a "
        "success with an 80 % interval, what a request costs, its reservation index, how often "
        "it is asked first, and how well its confidence tells good answers from bad ones (area "
        "under the ROC curve). Counts fade with the policy's half-life. Asks the admin listener.",
    .options =
        (const struct cli_option[]){
            ADMIN_CLIENT_OPTIONS,
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir beliefs --url http://127.0.0.1:8081", "What has been learnt?"},
            {0},
        },
    .run = beliefs,
};
