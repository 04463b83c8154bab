/* What a server lists beside what the policy says of it. */
#include "gateway/model_list.h"
#include "tests/unit/policies/policy_fixture.h"

static const char text[] =
    "version: 1\nbackends:\n"
    "  own: {dialect: openai, url: 'http://127.0.0.1:1/base/v1', key_env: K, headers: {x-a: b}}\n"
    "  far: {dialect: anthropic, url: ['http://127.0.0.1:2/v1', 'http://127.0.0.1:3/v1'],\n"
    "        key_env: K, discover: 1h}\n"
    "  old: {dialect: anthropic, url: 'http://127.0.0.1:4/v1', headers: {Anthropic-Version: x}}\n"
    "models:\n"
    "  here: {backend: own, context: 4096, price: {gpu_second: 1}}\n"
    "  large: {backend: own, name: small, context: 4097, price: {gpu_second: 1}}\n"
    "  lost: {backend: own, name: nowhere, price: {gpu_second: 1}}\n"
    "  gone: {backend: own, price: {gpu_second: 1}}\n"
    "  short: {backend: own, name: llama3, price: {gpu_second: 1}}\n"
    "  other: {backend: far, price: {input: 1, output: 1}}\n"
    "  third: {backend: old, price: {input: 1, output: 1}}\n";

static struct discovery parse(const char *body, struct arena *a)
{
    struct discovery d;
    struct err_text why;

    assert_int_equal(discovery_parse(slice_str(body), a, &d, &why), ERR_OK);
    return d;
}

static void test_problems(void **state)
{
    struct policy *p = fixture_load(text);
    struct model_list_problem found[8];
    struct arena a;
    char words[300];

    (void)state;
    arena_init(&a, 1024);
    struct discovery d =
        parse("{\"data\":[{\"id\":\"here\",\"context_length\":4096},{\"id\":\"small\","
              "\"context_length\":4096},{\"id\":\"gone\",\"lifecycle\":\"retired\"},"
              "{\"id\":\"llama3:latest\"},{\"id\":\"new\"},{\"id\":\"other\"}]}",
              &a);
    assert_int_equal(model_list_problems(p, 0, &d, found, 8), 3);
    model_list_problem_text(&found[0], words, sizeof words);
    assert_string_equal(words, "model 'large' (there 'small') has a context of 4097 tokens in the "
                               "policy, and of 4096 by the server's list");
    model_list_problem_text(&found[1], words, sizeof words);
    assert_string_equal(words,
                        "model 'lost' (there 'nowhere') is not in the server's list of models");
    model_list_problem_text(&found[2], words, sizeof words);
    assert_string_equal(words, "model 'gone' is retired there: requests for it fail");
    assert_int_equal(model_list_problems(p, 0, &d, found, 1), 3); /* and no byte beyond the first */
    assert_int_equal(model_list_problems(p, 1, &d, found, 8), 0);
    for (size_t i = 0; i < d.count; i++) /* of its own backend: "other" is another's */
        assert_int_equal(model_list_declared(p, 0, &d, &d.models[i]), i < 4);
    d = parse("{\"data\":[]}", &a);
    assert_int_equal(model_list_problems(p, 0, &d, NULL, 0), 5);
    arena_clear(&a);
    policy_unref(p);
}

/* llama.cpp answers to any name with the one model that it has. */
static void test_a_server_that_answers_to_any_name(void **state)
{
    struct policy *p = fixture_load(text);
    struct model_list_problem found[8];
    struct arena a;

    (void)state;
    arena_init(&a, 1024);
    struct discovery d = parse("{\"data\":[{\"id\":\"/m/x.gguf\",\"owned_by\":\"llamacpp\","
                               "\"meta\":{\"n_ctx_train\":4096}}]}",
                               &a);
    assert_int_equal(model_list_problems(p, 0, &d, found, 8), 1);
    assert_string_equal(found[0].model->name, "large");
    assert_true(model_list_declared(p, 0, &d, &d.models[0]));
    arena_clear(&a);
    policy_unref(p);
}

static void has_header(const struct catalog_spec *s, const char *name, const char *value)
{
    for (size_t i = 0; i < s->header_count; i++)
        if (slice_ieq(s->headers[i].name, slice_str(name))) {
            assert_true(slice_eq(s->headers[i].value, slice_str(value)));
            return;
        }
    fail_msg("no %s", name);
}

static void test_how_to_ask(void **state)
{
    struct endpoint_registry *registry = endpoint_registry_new();
    struct snapshot *s = snapshot_new(fixture_load(text), registry, 1);
    struct arena a;

    (void)state;
    arena_init(&a, 1024);
    const struct catalog_spec *own = model_list_specs(s, 0, &a), *far = model_list_specs(s, 1, &a),
                              *old = model_list_specs(s, 2, &a);
    assert_string_equal(own->path, "/base/v1/models");
    assert_int_equal(own->header_count, 2);
    has_header(own, "Authorization", "Bearer value-of-K");
    has_header(own, "x-a", "b");
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(far[i].path, "/v1/models?limit=1000");
        assert_int_equal(far[i].target.port, 2 + i);
        assert_ptr_equal(far[i].shared, s->backends[1].shared[i]);
        assert_int_equal(far[i].interval_ms, 3600000);
        assert_int_equal(far[i].header_count, 2);
        has_header(&far[i], "x-api-key", "value-of-K");
        has_header(&far[i], "anthropic-version", SNAPSHOT_ANTHROPIC_VERSION);
    }
    assert_int_equal(old->header_count, 1); /* the operator's own stands in its place */
    has_header(old, "anthropic-version", "x");
    arena_clear(&a);
    snapshot_unref(s);
    endpoint_registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_problems),
        cmocka_unit_test(test_a_server_that_answers_to_any_name),
        cmocka_unit_test(test_how_to_ask),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
