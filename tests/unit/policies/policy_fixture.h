/* What the policy tests share: loading text with a fixed environment, failing with the diagnostics.
 */
#ifndef TESTS_UNIT_POLICIES_POLICY_FIXTURE_H
#define TESTS_UNIT_POLICIES_POLICY_FIXTURE_H

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "policies/policy_load.h"

/* Any variable is set, to "value-of-NAME"; ctx, a string, is a suffix for all of them. */
static inline const char *fixture_getenv(const char *name, void *ctx)
{
    static char value[128];
    snprintf(value, sizeof value, "value-of-%s%s", name, ctx ? (const char *)ctx : "");
    return value;
}

static inline struct policy *fixture_load_as(const char *text, char *secret_suffix)
{
    struct policy_load_options options = {
        .getenv_fn = fixture_getenv, .ctx = secret_suffix, .resolve_secrets = true};
    struct diags d;
    struct policy *p;
    diags_init(&d);
    enum err e = policy_load_text(slice_str(text), "test.yaml", &options, &d, &p);
    for (size_t i = 0; i < d.count && e != ERR_OK; i++) {
        char line[2048];
        diag_format(&d.items[i], line, sizeof line);
        print_error("%s\n", line);
    }
    diags_clear(&d);
    assert_int_equal(e, ERR_OK);
    return p;
}

static inline struct policy *fixture_load(const char *text)
{
    return fixture_load_as(text, NULL);
}

static inline void fixture_has(const struct buf *b, const char *text)
{
    struct slice s = buf_slice(b);
    if (!memmem(s.p, s.n, text, strlen(text)))
        fail_msg("'%s' is not in:\n%.*s", text, SLICE_ARG(s));
}

static inline void fixture_has_not(const struct buf *b, const char *text)
{
    struct slice s = buf_slice(b);
    if (memmem(s.p, s.n, text, strlen(text)))
        fail_msg("'%s' is in:\n%.*s", text, SLICE_ARG(s));
}

#define FIXTURE_BACKEND "backends: {local: {dialect: openai, url: 'http://127.0.0.1:9000/v1'}}\n"

#endif
