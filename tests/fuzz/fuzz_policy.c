/* Policy files: any bytes give either a policy or at least one diagnostic, each on one line. A
 * policy that loads is explained, compared with itself and asked for every name it knows. Secrets
 * are not read, so that inputs cannot open files. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "base/buf.h"
#include "policies/policy_diff.h"
#include "policies/policy_explain.h"
#include "policies/policy_load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static void check_diags(const struct diags *d, enum err e)
{
    size_t errors = 0;
    for (size_t i = 0; i < d->count; i++) {
        char line[8192];
        diag_format(&d->items[i], line, sizeof line);
        check(!strpbrk(line, "\n\r"));
        errors += d->items[i].severity == DIAG_ERROR;
    }
    check((e == ERR_OK) == (d->errors == 0) && (errors > 0) == (d->errors > 0));
}

static void use(const struct policy *p)
{
    const struct policy_name *names;
    size_t n = policy_names(p, &names);
    struct buf out;
    buf_init(&out, 16 << 20);
    for (size_t i = 0; i < n && i < 16; i++) {
        struct policy_query q = {.model = slice_str(names[i].name),
                                 .prompt_tokens = (int64_t)i * 1000};
        struct policy_explanation e;
        bool known;
        policy_match(p, &q, &known);
        check(known);
        policy_explain(p, &q, 100, &e);
        check(policy_explanation_write_text(&e, &out) == ERR_OK &&
              policy_explanation_write_json(&e, &out) == ERR_OK);
        policy_explanation_clear(&e);
        buf_reset(&out);
    }
    buf_clear(&out);
    if (n > 64) /* comparing is for the sizes that people write */
        return;
    struct policy_diff d;
    policy_diff(p, p, &d);
    check(d.change_count == 0 && d.effect_count == 0);
    policy_diff_clear(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct policy_load_options options = {.resolve_secrets = false};
    struct diags d;
    struct policy *p;
    diags_init(&d);
    enum err e =
        policy_load_text(slice_make((const char *)data, size), "fuzz.yaml", &options, &d, &p);
    check((e == ERR_OK) == (p != NULL));
    check_diags(&d, e);
    if (p)
        use(p);
    policy_unref(p);
    diags_clear(&d);
    return 0;
}
