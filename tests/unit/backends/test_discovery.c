/* Lists of models as real servers shape them, and what is no such list. */
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "backends/discovery.h"

static enum err parse(const char *text, struct arena *a, struct discovery *d)
{
    struct err_text why = {""};
    enum err err = discovery_parse(slice_str(text), a, d, &why);

    assert_int_equal(err == ERR_OK, why.s[0] == '\0');
    return err;
}

static void assert_model(const struct discovery *d, size_t i, const char *id, int64_t context)
{
    assert_true(i < d->count);
    assert_string_equal(d->models[i].id.p, id);
    assert_int_equal(d->models[i].id.n, strlen(id));
    assert_int_equal(d->models[i].context_tokens, context);
}

static void test_real_lists(void **state)
{
    struct arena a;
    struct discovery d;

    (void)state;
    arena_init(&a, 256);
    assert_int_equal(
        parse(
            "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4.1\",\"object\":\"model\",\"created\":1,"
            "\"owned_by\":\"system\"},{\"id\":\"o\\u0033\",\"object\":\"model\"}]}",
            &a, &d),
        ERR_OK);
    assert_int_equal(d.count, 2);
    assert_model(&d, 0, "gpt-4.1", -1);
    assert_model(&d, 1, "o3", -1);
    assert_false(d.has_more);
    /* vLLM, llama.cpp (whose "models" is Ollama's list), OpenRouter, Mistral, Anthropic */
    assert_int_equal(parse("{\"data\":[{\"id\":\"/m/llama\",\"max_model_len\":131072}]}", &a, &d),
                     ERR_OK);
    assert_model(&d, 0, "/m/llama", 131072);
    assert_int_equal(parse("{\"models\":[{\"name\":\"x\"}],\"object\":\"list\",\"data\":[{\"id\":"
                           "\"tiny.gguf\",\"meta\":"
                           "{\"n_vocab\":564,\"n_ctx\":2048,\"n_ctx_train\":8192}}]}",
                           &a, &d),
                     ERR_OK);
    assert_model(&d, 0, "tiny.gguf", 2048);
    assert_int_equal(
        parse("{\"data\":[{\"id\":\"a/"
              "b\",\"context_length\":8000},{\"id\":\"c\",\"max_context_length\":9000}]}",
              &a, &d),
        ERR_OK);
    assert_model(&d, 0, "a/b", 8000);
    assert_model(&d, 1, "c", 9000);
    assert_int_equal(
        parse(" {\"data\":[{\"type\":\"model\",\"id\":\"claude-x\"}],\"has_more\":true}\n", &a, &d),
        ERR_OK);
    assert_true(d.has_more);
    assert_int_equal(parse("{\"data\":[]}", &a, &d), ERR_OK);
    assert_int_equal(d.count, 0);
    /* Anthropic: what is retired stays in the list; llama.cpp: the one it loaded, under any name */
    assert_int_equal(
        parse("{\"data\":[{\"id\":\"new\",\"max_input_tokens\":200000,\"lifecycle\":\"active\"},"
              "{\"id\":\"old\",\"lifecycle\":\"ret\\u0069red\"}]}",
              &a, &d),
        ERR_OK);
    assert_model(&d, 0, "new", 200000);
    assert_true(!d.models[0].retired && d.models[1].retired);
    assert_false(d.any_name);
    assert_int_equal(parse("{\"data\":[{\"id\":\"m.gguf\",\"owned_by\":\"llamacpp\",\"meta\":"
                           "{\"n_ctx_train\":8192}}]}",
                           &a, &d),
                     ERR_OK);
    assert_model(&d, 0, "m.gguf", 8192);
    assert_true(d.any_name);
    assert_int_equal(parse("{\"data\":[{\"id\":\"a\",\"owned_by\":\"llamacpp\"},{\"id\":\"b\","
                           "\"owned_by\":\"llamacpp\"}]}", /* its router: names count there */
                           &a, &d),
                     ERR_OK);
    assert_false(d.any_name);
    arena_clear(&a);
}

static void test_names(void **state)
{
    struct discovery d;
    struct arena a;

    (void)state;
    arena_init(&a, 256);
    assert_int_equal(parse("{\"data\":[{\"id\":\"llama3:latest\"},{\"id\":\"models/g\"},{\"id\":"
                           "\"qwen:7b\"},{\"id\":\"x:latest\"},{\"id\":\"x\"}]}",
                           &a, &d),
                     ERR_OK);
    assert_ptr_equal(discovery_find(&d, SLICE("llama3")), &d.models[0]);
    assert_ptr_equal(discovery_find(&d, SLICE("llama3:latest")), &d.models[0]);
    assert_ptr_equal(discovery_find(&d, SLICE("g")), &d.models[1]);
    assert_ptr_equal(discovery_find(&d, SLICE("x")), &d.models[4]); /* the exact one first */
    assert_null(discovery_find(&d, SLICE("qwen")));
    assert_null(discovery_find(&d, SLICE("models/llama3")));
    assert_null(discovery_find(&d, SLICE("")));
    arena_clear(&a);
}

static void test_pages(void **state)
{
    struct discovery d, page;
    struct err_text why;
    struct arena a;

    (void)state;
    arena_init(&a, 256);
    assert_int_equal(parse("{\"data\":[{\"id\":\"a\"}],\"has_more\":true}", &a, &d), ERR_OK);
    assert_int_equal(parse("{\"data\":[{\"id\":\"b\"},{\"id\":\"a\"}]}", &a, &page), ERR_OK);
    assert_int_equal(discovery_add_page(&d, &page, &a, &why), ERR_OK);
    assert_int_equal(d.count, 2);
    assert_model(&d, 1, "b", -1);
    assert_false(d.has_more);
    d.count = DISCOVERY_MAX_MODELS; /* as if */
    assert_int_equal(discovery_add_page(&d, &page, &a, &why), ERR_UPSTREAM_TOO_LARGE);
    assert_int_equal(d.count, DISCOVERY_MAX_MODELS);
    arena_clear(&a);
}

static void test_odd_entries_are_left_out(void **state)
{
    struct arena a;
    struct discovery d;

    (void)state;
    arena_init(&a, 256);
    assert_int_equal(parse("{\"data\":[null,7,\"x\",[],{},{\"id\":7},{\"id\":\"\"},{\"id\":"
                           "\"a\\u0000b\"},{\"id\":\"a\\nb\"},"
                           "{\"id\":\"ok\",\"max_model_len\":-1},{\"id\":\"ok\"},{\"id\":\"big\","
                           "\"context_length\":1e99,"
                           "\"meta\":{\"n_ctx\":\"7\"}}]}",
                           &a, &d),
                     ERR_OK);
    assert_int_equal(d.count, 2);
    assert_model(&d, 0, "ok", -1);
    assert_model(&d, 1, "big", -1);
    arena_clear(&a);
}

static void test_what_is_no_list(void **state)
{
    static const char *const texts[] = {"",
                                        "null",
                                        "[]",
                                        "[{\"id\":\"x\"}]",
                                        "{}",
                                        "{\"data\":{}}",
                                        "{\"data\":null}",
                                        "{\"data\":[}",
                                        "<html>",
                                        "\"{\\\"data\\\":[]}\"",
                                        "{\"data\":[]} x"};
    struct arena a;
    struct discovery d;

    (void)state;
    arena_init(&a, 256);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(parse(texts[i], &a, &d), ERR_UPSTREAM_PROTOCOL);
    arena_clear(&a);
}

/* A body that was cut anywhere is never taken for a shorter list. */
static void test_every_cut(void **state)
{
    static const char whole[] =
        "{\"object\":\"list\",\"data\":[{\"id\":\"a\\u00e9\",\"meta\":{\"n_ctx\":1}}]}";
    struct arena a;
    struct discovery d;
    struct err_text why;

    (void)state;
    arena_init(&a, 256);
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        char *copy = malloc(n + 1); /* exact, so that reading on is found */

        memcpy(copy, whole, n);
        assert_int_equal(discovery_parse(slice_make(copy, n), &a, &d, &why), ERR_UPSTREAM_PROTOCOL);
        free(copy);
    }
    arena_clear(&a);
}

static void test_too_many(void **state)
{
    size_t n = DISCOVERY_MAX_MODELS + 1, used = 0;
    char *text = malloc(n * 3 + 16);
    struct arena a;
    struct discovery d;

    (void)state;
    arena_init(&a, 256);
    used += (size_t)snprintf(text, 16, "{\"data\":[{}");
    for (size_t i = 1; i < n; i++, used += 3)
        memcpy(text + used, ",{}", 3);
    memcpy(text + used, "]}", 3);
    assert_int_equal(parse(text, &a, &d), ERR_UPSTREAM_TOO_LARGE);
    arena_clear(&a);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_lists),      cmocka_unit_test(test_odd_entries_are_left_out),
        cmocka_unit_test(test_what_is_no_list), cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_too_many),        cmocka_unit_test(test_names),
        cmocka_unit_test(test_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
