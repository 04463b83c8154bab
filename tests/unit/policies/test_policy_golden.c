/* Every tests/golden/policy/NAME.yaml is loaded and its diagnostics are compared, line by line,
 * with NAME.expected (empty: a valid policy without warnings). Diagnostics name the file as
 * NAME.yaml. The environment is fixed: OPENAI_API_KEY, TEAM_A_KEY and TEAM_B_KEY are set,
 * TEAM_C_KEY equals TEAM_A_KEY, EMPTY_KEY is empty, anything else is not set; the class heads know
 * math, code and other. WEIR_GOLDEN_UPDATE=1
 * writes the .expected files instead; read the difference before committing it. */
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "policies/policy_load.h"

#define FOLDER    "tests/golden/policy"
#define CASES_MIN 60

static const char *fake_getenv(const char *name, void *ctx)
{
    static const char *const vars[][2] = {{"OPENAI_API_KEY", "sk-test-openai"},
                                          {"TEAM_A_KEY", "sk-team-a"},
                                          {"TEAM_B_KEY", "sk-team-b"},
                                          {"TEAM_C_KEY", "sk-team-a"},
                                          {"EMPTY_KEY", ""}};
    (void)ctx;
    for (size_t i = 0; i < sizeof vars / sizeof vars[0]; i++)
        if (strcmp(vars[i][0], name) == 0)
            return vars[i][1];
    return NULL;
}

/* A store that has one model, whose heads know three labels; the static tier knows the same. */
static enum err fake_labels(void *ctx, const struct policy_encoder *e, struct arena *a,
                            struct policy_labels *out, const char **key, struct err_text *why)
{
    static const char *const labels[] = {"math", "code", "other"};
    (void)ctx;
    (void)a;
    *out = (struct policy_labels){labels, 3};
    if (strcmp(e->model, "all-minilm-l6-v2") == 0 || strcmp(e->model, POLICY_ENCODER_STATIC) == 0)
        return ERR_OK;
    *key = "model";
    err_say(why, "no model '%s' here; weir model fetch %s", e->model, e->model);
    return ERR_NOT_FOUND;
}

static void read_all(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rb");
    buf_init(out, 8 << 20);
    if (!f)
        return;
    char block[4096];
    size_t n;
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        assert_int_equal(buf_append(out, block, n), ERR_OK);
    fclose(f);
}

static void diagnose(const char *name, struct slice text, struct buf *out)
{
    struct policy_load_options options = {
        .getenv_fn = fake_getenv, .resolve_secrets = true, .labels_fn = fake_labels};
    struct diags d;
    struct policy *p;
    diags_init(&d);
    enum err e = policy_load_text(text, name, &options, &d, &p);
    assert_true((e == ERR_OK) == (p != NULL));
    assert_true((e == ERR_OK) == (d.errors == 0));
    buf_init(out, 8 << 20);
    for (size_t i = 0; i < d.count; i++) {
        char line[4096];
        assert_true(diag_format(&d.items[i], line, sizeof line) < sizeof line);
        assert_null(strchr(line, '\n'));
        assert_int_equal(buf_printf(out, "%s\n", line), ERR_OK);
    }
    policy_unref(p);
    diags_clear(&d);
}

static void write_expected(const char *path, struct slice text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text.p, 1, text.n, f), text.n);
    fclose(f);
}

/* 1 when the case failed. */
static int run_case(const char *name)
{
    char path[512], expected_path[512];
    struct buf text, expected, got;
    snprintf(path, sizeof path, "%s/%s", FOLDER, name);
    snprintf(expected_path, sizeof expected_path, "%s/%.*s.expected", FOLDER,
             (int)(strlen(name) - 5), name);
    read_all(path, &text);
    read_all(expected_path, &expected);
    diagnose(name, buf_slice(&text), &got);
    int failed = 0;
    if (getenv("WEIR_GOLDEN_UPDATE")) {
        write_expected(expected_path, buf_slice(&got));
    } else if (!slice_eq(buf_slice(&got), buf_slice(&expected))) {
        print_error("%s\n--- expected\n%.*s--- got\n%.*s\n", name, SLICE_ARG(buf_slice(&expected)),
                    SLICE_ARG(buf_slice(&got)));
        failed = 1;
    }
    buf_clear(&text);
    buf_clear(&expected);
    buf_clear(&got);
    return failed;
}

static void test_golden(void **state)
{
    (void)state;
    DIR *dir = opendir(FOLDER);
    assert_non_null(dir);
    int cases = 0, failed = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        size_t n = strlen(e->d_name);
        if (n < 6 || strcmp(e->d_name + n - 5, ".yaml") != 0)
            continue;
        cases++;
        failed += run_case(e->d_name);
    }
    closedir(dir);
    assert_int_equal(failed, 0);
    assert_true(cases >= CASES_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
