/* weir diff: what would change, and for whom. */
#include "gateway/cli/cli.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/out.h"
#include "policies/policy_diff.h"

/* diff(1)'s statuses: 0 same, 1 different, 2 trouble. */
#define TROUBLE EXIT_CODE_USAGE

static int print_diff(const struct policy_diff *d, bool json)
{
    struct buf text;
    buf_init(&text, OUT_BYTES);
    enum err e = json ? policy_diff_write_json(d, &text) : policy_diff_write_text(d, &text);
    if (e == ERR_OK)
        out_slice(stdout, buf_slice(&text));
    else
        fprintf(stderr, "weir diff: %s\n", err_text(e));
    buf_clear(&text);
    if (e != ERR_OK)
        return EXIT_CODE_RUNTIME;
    return d->change_count == 0 && d->effect_count == 0 ? EXIT_CODE_OK : EXIT_CODE_FOUND;
}

static int diff(const struct cli_args *a)
{
    struct policy *old = out_load_policy(a->operands[0], false),
                  *new = out_load_policy(a->operands[1], false);
    int code = TROUBLE;
    if (old && new) {
        struct policy_diff d;
        policy_diff(old, new, &d);
        code = print_diff(&d, cli_flag(a, "json"));
        policy_diff_clear(&d);
    }
    policy_unref(old);
    policy_unref(new);
    return code;
}

const struct cli_command cmd_diff = {
    .name = "diff",
    .operands = "OLD NEW",
    .min_operands = 2,
    .max_operands = 2,
    .summary = "say what changes between two policies, and for whom",
    .description = "Compares what the two policies mean, not their text: backends, models and "
                   "prices, aliases, routes, tenants, server. Then, for each name a client may "
                   "ask for and each tenant, where its requests went and where they would go. "
                   "Keys are not read.\n\n"
                   "The exit status is that of diff(1): 0 the same, 1 different, 2 trouble.",
    .options =
        (const struct cli_option[]){
            {.name = "json", .help = "Write one JSON object."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir diff weir.yaml new.yaml", "Before a new policy is put in place:"},
            {0},
        },
    .run = diff,
};
