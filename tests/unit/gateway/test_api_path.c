/* Request lines -> endpoints of the OpenAI API. */
#include <cmocka.h>
#include "gateway/api_path.h"

static enum err parse(const char *method, const char *path, struct arena *a, struct api_path *out)
{
    return api_path_parse(slice_str(method), slice_str(path), a, out);
}

static void test_table(void **state)
{
    static const struct {
        const char *method, *path;
        enum err err;
        enum api_endpoint endpoint;
    } t[] = {
        {"POST", "/v1/chat/completions", ERR_OK, API_CHAT},
        {"POST", "/chat/completions", ERR_OK, API_CHAT},
        {"POST", "/v1/chat/completions/", ERR_OK, API_CHAT},
        {"POST", "/v1/completions", ERR_OK, API_COMPLETIONS},
        {"POST", "/embeddings", ERR_OK, API_EMBEDDINGS},
        {"GET", "/v1/models", ERR_OK, API_MODELS},
        {"HEAD", "/models", ERR_OK, API_MODELS},
        {"GET", "/v1/models/a", ERR_OK, API_MODEL},
        {"OPTIONS", "/v1/chat/completions", ERR_OK, API_PREFLIGHT},
        {"GET", "/v1/chat/completions", ERR_METHOD_NOT_ALLOWED, API_CHAT},
        {"HEAD", "/v1/chat/completions", ERR_METHOD_NOT_ALLOWED, API_CHAT},
        {"post", "/v1/chat/completions", ERR_METHOD_NOT_ALLOWED,
         API_CHAT}, /* methods are case-sensitive */
        {"POST", "/v1/models", ERR_METHOD_NOT_ALLOWED, API_MODELS},
        {"DELETE", "/v1/models/a", ERR_METHOD_NOT_ALLOWED, API_MODEL},
        {"POST", "/", ERR_NOT_FOUND, 0},
        {"POST", "/v1", ERR_NOT_FOUND, 0},
        {"POST", "/v1/v1/chat/completions", ERR_NOT_FOUND, 0},
        {"POST", "/v2/chat/completions", ERR_NOT_FOUND, 0},
        {"POST", "//chat/completions", ERR_NOT_FOUND, 0},
        {"GET", "/v1/models/", ERR_OK, API_MODELS},
        {"GET", "/v1/models/%zz", ERR_BAD_REQUEST, 0},
        {"GET", "/v1/models/a%2", ERR_BAD_REQUEST, 0},
    };
    struct arena a;
    struct api_path out;

    (void)state;
    arena_init(&a, 256);
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        enum err err = parse(t[i].method, t[i].path, &a, &out);

        if (err != t[i].err || (err == ERR_OK && out.endpoint != t[i].endpoint))
            fail_msg("%s %s: %s, endpoint %d", t[i].method, t[i].path, err_name(err),
                     (int)out.endpoint);
        if (err == ERR_METHOD_NOT_ALLOWED)
            assert_non_null(out.allow);
    }
    arena_clear(&a);
}

static void test_model_ids_are_decoded(void **state)
{
    struct arena a;
    struct api_path out;

    (void)state;
    arena_init(&a, 64);
    assert_int_equal(parse("GET", "/v1/models/meta-llama%2FLlama-3%2e1", &a, &out), ERR_OK);
    assert_true(slice_eq(out.model, SLICE("meta-llama/Llama-3.1")));
    assert_int_equal(parse("GET", "/models/org/name", &a, &out), ERR_OK);
    assert_true(slice_eq(out.model, SLICE("org/name")));
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table),
                                       cmocka_unit_test(test_model_ids_are_decoded)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
