/* weir check: does a policy file hold water? */
#include <stdlib.h>
#include "gateway/cli/cli.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/out.h"
#include "gateway/diag_json.h"
#include "gateway/json_put.h"
#include "router/classifier.h"

static json_t *file_json(const char *file, const struct policy *p, const struct diags *d)
{
    json_t *o = json_object();
    json_put_text(o, "file", file);
    json_put_bool(o, "valid", p != NULL);
    json_put_text(o, "version", p ? p->version : NULL);
    json_put_int(o, "errors", (int64_t)d->errors);
    json_put_int(o, "warnings", (int64_t)(d->count - d->errors));
    json_put(o, "diagnostics", diag_json(d));
    return o;
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static void file_text(const char *file, const struct policy *p, const struct diags *d)
{
    size_t warnings = d->count - d->errors;
    out_diags(stdout, d);
    if (!p)
        printf("%s: %snot valid%s: %zu error%s, %zu warning%s\n", file, out_style(stdout, OUT_RED),
               out_style(stdout, OUT_PLAIN), d->errors, plural(d->errors), warnings,
               plural(warnings));
    else
        printf("%s: %svalid%s: %zu backend%s, %zu model%s, %zu route%s, %zu tenant%s, %zu "
               "warning%s; version %s\n",
               file, out_style(stdout, OUT_GREEN), out_style(stdout, OUT_PLAIN), p->backend_count,
               plural(p->backend_count), p->model_count, plural(p->model_count), p->route_count,
               plural(p->route_count), p->tenant_count, plural(p->tenant_count), warnings,
               plural(warnings), p->version);
}

static int check(const struct cli_args *a)
{
    const struct policy_load_options opt = {.resolve_secrets = !cli_flag(a, "no-secrets"),
                                            .labels_fn = classifier_labels};
    json_t *files = cli_flag(a, "json") ? json_array() : NULL;
    int code = EXIT_CODE_OK;
    for (int i = 0; i < a->operand_count; i++) {
        struct diags d;
        struct policy *p = NULL;
        diags_init(&d);
        if (policy_load_file(a->operands[i], &opt, &d, &p) != ERR_OK)
            code = EXIT_CODE_FOUND;
        if (files)
            json_array_append_new(files, file_json(a->operands[i], p, &d));
        else
            file_text(a->operands[i], p, &d);
        policy_unref(p);
        diags_clear(&d);
    }
    if (files)
        out_json(json_pack("{s:b,s:o}", "valid", code == EXIT_CODE_OK, "files", files));
    return code;
}

const struct cli_command cmd_check = {
    .name = "check",
    .operands = "FILE...",
    .min_operands = 1,
    .max_operands = -1,
    .summary = "validate policy files",
    .description = "Reads each FILE as serve would and prints every fault with its line and "
                   "column, the key, and the nearest valid name. Warnings do not make a file "
                   "invalid.",
    .options =
        (const struct cli_option[]){
            {.name = "json", .help = "Write one JSON object: valid, files[] with diagnostics[]."},
            {.name = "no-secrets",
             .help = "Do not read keys from the environment or from files; only their form is "
                     "checked. Nor need the encoder's model be here. For build machines."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir check --no-secrets weir.yaml", "Check a policy before it is committed:"},
            {0},
        },
    .run = check,
};
