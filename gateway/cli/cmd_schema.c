/* weir schema: the policy language for editors and for readers, from the table that the parser
 * uses. */
#include "base/stats.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/out.h"
#include "policies/policy_schema.h"

static int schema(const struct cli_args *a)
{
    struct buf text;
    buf_init(&text, OUT_BYTES);
    enum err e = cli_flag(a, "metrics")    ? stats_write_reference(&text)
                 : cli_flag(a, "markdown") ? policy_reference_write(&text)
                                           : policy_schema_write(&text);
    if (e == ERR_OK)
        out_slice(stdout, buf_slice(&text));
    else
        fprintf(stderr, "weir schema: %s\n", err_text(e));
    buf_clear(&text);
    return e == ERR_OK ? EXIT_CODE_OK : EXIT_CODE_RUNTIME;
}

const struct cli_command cmd_schema = {
    .name = "schema",
    .operands = "",
    .summary = "write the policy language's JSON Schema",
    .description = "Writes a JSON Schema (draft 2020-12) of the policy file, so that editors "
                   "complete and check it. It is generated from the table that the parser itself "
                   "uses.",
    .options =
        (const struct cli_option[]){
            {.name = "markdown",
             .help =
                 "Write a reference in Markdown instead: each key with type, default and meaning."},
            {.name = "metrics",
             .help = "Write a reference in Markdown of what /metrics tells: each metric with type, "
                     "labels and meaning."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir schema > weir.schema.json", "For editors with the YAML language server; then "
                                               "begin the policy with '# yaml-language-server: "
                                               "$schema=weir.schema.json':"},
            {0},
        },
    .run = schema,
};
