/* The look-ups of the request path: names, routes, prices, costs. */
#include <cmocka.h>

#include "tests/unit/policies/policy_fixture.h"

static const char text[] =
    "version: 1\n" FIXTURE_BACKEND "models:\n"
    "  small: {backend: local, capabilities: [chat, embeddings], price: {input: 1, output: 2}}\n"
    "  large: {backend: local, price: {input: 1, output: 2}}\n"
    "tenants:\n"
    "  a: {keys: [{env: A}], tags: [gold]}\n"
    "  b: {keys: [{env: B}]}\n"
    "aliases: {fast: quick, quick: small, smart: auto}\n"
    "routes:\n"
    "  - {name: embed, match: {model: small, api: embeddings}, cascade: [small]}\n"
    "  - {name: gold, match: {model: auto, tags: [gold]}, cascade: [large]}\n"
    "  - {name: b-only, match: {model: [auto, 'b-*'], tenant: b}, cascade: [large]}\n"
    "  - {name: beta, match: {model: auto, headers: {X-Beta: 'on*', x-any: '*'}}, cascade: "
    "[large]}\n"
    "  - {name: long, match: {model: auto, prompt_tokens: {min: 100, max: 200}}, cascade: "
    "[large]}\n"
    "  - {name: auto, match: {model: auto}, cascade: [small], fallback: [large]}\n"
    "  - {name: small, match: {model: small}, cascade: [small]}\n";

static const char *route(const struct policy *p, struct policy_query q)
{
    bool known;
    const struct policy_route *r = policy_match(p, &q, &known);
    assert_true(known || !r);
    return r ? r->name : known ? "none" : "unknown";
}

static void test_routes(void **state)
{
    (void)state;
    struct policy *p = fixture_load(text);
    const struct policy_tenant *a = &p->tenants[0], *b = &p->tenants[1];
    struct slice tags[] = {SLICE("silver"), SLICE("gold")};
    struct policy_query_header beta[] = {{SLICE("x-beta"), SLICE("on-monday")},
                                         {SLICE("X-ANY"), SLICE("")}};
#define Q(...) ((struct policy_query){__VA_ARGS__})
    assert_string_equal(route(p, Q(.model = SLICE("auto"))), "auto");
    assert_string_equal(route(p, Q(.model = SLICE("small"))), "small");
    assert_string_equal(route(p, Q(.model = SLICE("small"), .api = POLICY_API_EMBEDDINGS)),
                        "embed");
    assert_string_equal(route(p, Q(.model = SLICE("fast"), .api = POLICY_API_EMBEDDINGS)), "embed");
    assert_string_equal(route(p, Q(.model = SLICE("fast"))), "small"); /* two aliases deep */
    assert_string_equal(route(p, Q(.model = SLICE("smart"))),
                        "auto"); /* an alias of a route's name */
    assert_string_equal(route(p, Q(.model = SLICE("auto"), .tenant = a)),
                        "gold"); /* the tenant's tag */
    assert_string_equal(route(p, Q(.model = SLICE("auto"), .tags = tags, .tag_count = 2)), "gold");
    assert_string_equal(route(p, Q(.model = SLICE("auto"), .tags = tags, .tag_count = 1)), "auto");
    assert_string_equal(route(p, Q(.model = SLICE("auto"), .tenant = b)), "b-only");
    assert_string_equal(route(p, Q(.model = SLICE("auto"), .headers = beta, .header_count = 2)),
                        "beta");
    assert_string_equal(route(p, Q(.model = SLICE("auto"), .headers = beta, .header_count = 1)),
                        "auto");
    assert_string_equal(route(p, Q(.model = SLICE("auto"), .prompt_tokens = 99)), "auto");
    assert_string_equal(route(p, Q(.model = SLICE("auto"), .prompt_tokens = 100)), "long");
    assert_string_equal(route(p, Q(.model = SLICE("auto"), .prompt_tokens = 200)), "long");
    assert_string_equal(route(p, Q(.model = SLICE("auto"), .prompt_tokens = 201)), "auto");
    assert_string_equal(route(p, Q(.model = SLICE("b-anything"), .tenant = b)), "b-only");
    assert_string_equal(route(p, Q(.model = SLICE("b-anything"))),
                        "none"); /* known by the pattern, not for everyone */
    assert_string_equal(route(p, Q(.model = SLICE("large"))),
                        "none"); /* a model that no route names */
    assert_string_equal(route(p, Q(.model = SLICE("gpt-9"))), "unknown");
    assert_string_equal(route(p, Q(.model = {0})), "unknown");
    assert_string_equal(route(p, Q(.model = SLICE("aut"))), "unknown");
    assert_string_equal(route(p, Q(.model = SLICE("auto\0x"))), "unknown");
    assert_string_equal(route(p, Q(.model = SLICE("AUTO"))), "unknown"); /* names are exact */
    assert_string_equal(route(p, Q(.model = SLICE("b-*"))),
                        "none"); /* a client's star is a character */
    policy_unref(p);
}

static void test_classes(void **state)
{
    (void)state;
    struct policy *p = fixture_load(
        "version: 1\n" FIXTURE_BACKEND "models: {m: {backend: local, price: {input: 1, output: "
        "2}}}\n"
        "tenants: {a: {keys: [{env: A}], tags: [vip]}}\n"
        "classes: {math: {examples: [1 + 1]}, code: {examples: [int x]}}\n"
        "routes:\n"
        "  - {name: vip, match: {model: auto, tags: [vip]}, cascade: [m]}\n"
        "  - {name: sure, match: {model: auto, class: math, min_confidence: 0.8}, cascade: [m]}\n"
        "  - {name: either, match: {model: [auto, sorted], class: [code, math]}, cascade: [m]}\n"
        "  - {name: rest, match: {model: auto}, cascade: [m]}\n"
        "  - {name: m, match: {model: m}, cascade: [m]}\n");
    struct policy_query q = {.model = SLICE("auto")};
    assert_true(p->matches_class);
    assert_true(policy_needs_class(p, &q));
    assert_string_equal(route(p, q), "rest"); /* not classified */
    q.class_name = SLICE("math");
    q.class_confidence = 0.8;
    assert_string_equal(route(p, q), "sure");
    q.class_confidence = 0.79;
    assert_string_equal(route(p, q), "either");
    assert_true(policy_needs_class(p, &q)); /* whatever the class says */
    q.class_name = SLICE("code");
    q.class_confidence = 0;
    assert_string_equal(route(p, q), "either");
    q.class_name = SLICE("poetry");
    q.class_confidence = 1;
    assert_string_equal(route(p, q), "rest");
    q.tenant = &p->tenants[0]; /* an earlier route takes it, of whatever class it is */
    assert_false(policy_needs_class(p, &q));
    assert_string_equal(route(p, q), "vip");
    assert_false(policy_needs_class(p, &Q(.model = SLICE("m"))));
    assert_false(policy_needs_class(p, &Q(.model = SLICE("nobody"))));
    assert_true(policy_needs_class(p, &Q(.model = SLICE("sorted"))));
    assert_string_equal(route(p, Q(.model = SLICE("sorted"))), "none");
    policy_unref(p);
}

static void test_encoder_defaults(void **state)
{
    (void)state;
    struct policy *p =
        fixture_load("version: 1\n" FIXTURE_BACKEND
                     "models: {m: {backend: local, price: {input: 1, output: 2}}}\n");
    assert_string_equal(p->encoder.model, POLICY_ENCODER_STATIC);
    assert_false(p->matches_class);
    policy_unref(p);
    p = fixture_load("version: 1\n" FIXTURE_BACKEND "models:\n"
                     "  m: {backend: local, price: {input: 1, output: 2}}\n"
                     "  mini: {encoder: true, price: {input: 0.02}}\n"
                     "encoder: {static_first: 0.95, price: {gpu_second: 0.001}}\n");
    assert_string_equal(p->encoder.model, "all-minilm-l6-v2");
    assert_int_equal(p->encoder.max_wait_ms, 8);
    assert_int_equal(p->encoder.threads, POLICY_NONE);
    assert_true(p->encoder.static_first == 0.95);
    assert_int_equal(p->encoder.price_count, 1);
    assert_int_equal(p->encoder.prices[0].gpu_second, 1000000);
    assert_int_equal(p->backend_count, 2);
    assert_true(p->backends[p->models[1].backend].encoder);
    assert_int_equal(p->models[1].capabilities, CAP_EMBEDDINGS);
    policy_unref(p);
}

static void test_catch_all_takes_known_names_only(void **state)
{
    (void)state;
    struct policy *p = fixture_load("version: 1\n" FIXTURE_BACKEND
                                    "models: {m: {backend: local, price: {input: 1, output: 2}}}\n"
                                    "aliases: {x: m}\nroutes: [{name: all, cascade: [m]}]\n");
    assert_string_equal(route(p, Q(.model = SLICE("m"))), "all");
    assert_string_equal(route(p, Q(.model = SLICE("x"))), "all");
    assert_string_equal(route(p, Q(.model = SLICE("y"))), "unknown");
    policy_unref(p);
    p = fixture_load("version: 1\n" FIXTURE_BACKEND
                     "models: {m: {backend: local, price: {input: 1, output: 2}}}\n"
                     "routes: [{name: any, match: {model: '*'}, cascade: [m]}]\n");
    assert_string_equal(route(p, Q(.model = SLICE("whatever"))), "any");
    policy_unref(p);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const want[][2] = {{"small", "small"}, {"large", "large"}, {"fast", "small"},
                                          {"quick", "small"}, {"smart", "auto"},  {"auto", "auto"}};
    struct policy *p = fixture_load(text);
    const struct policy_name *names;
    assert_int_equal(policy_names(p, &names), 6);
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(names[i].name, want[i][0]);
        assert_string_equal(names[i].canonical, want[i][1]);
        assert_int_equal(names[i].model != NULL, strcmp(want[i][1], "auto") != 0);
    }
    assert_ptr_equal(policy_find_model(p, SLICE("large")), &p->models[1]);
    assert_null(policy_find_model(p, SLICE("fast")));
    assert_null(policy_find_model(p, SLICE("")));
    policy_unref(p);
}

/* fast leads to small, but a route asks for it, and for the second name of quick's chain. */
static void test_a_route_wins_over_an_alias(void **state)
{
    (void)state;
    static const char *const want[][2] = {{"small", "small"}, {"large", "large"}, {"fast", "fast"},
                                          {"quick", "fast"},  {"tiny", "small"},  {"auto", "auto"}};
    struct policy *p =
        fixture_load("version: 1\n" FIXTURE_BACKEND "models:\n"
                     "  small: {backend: local, price: {input: 1, output: 2}}\n"
                     "  large: {backend: local, price: {input: 1, output: 2}}\n"
                     "aliases: {fast: small, quick: fast, tiny: small}\n"
                     "routes:\n"
                     "  - {name: r, match: {model: [auto, fast]}, cascade: [large]}\n"
                     "  - {name: s, match: {model: [small, fast]}, cascade: [small]}\n");
    const struct policy_name *names;

    assert_int_equal(policy_names(p, &names), 6);
    for (size_t i = 0; i < 6; i++) {
        bool model = want[i][1][0] == 's' || want[i][1][0] == 'l';
        assert_string_equal(names[i].name, want[i][0]);
        assert_string_equal(names[i].canonical, want[i][1]);
        assert_ptr_equal(names[i].model,
                         model ? policy_find_model(p, slice_str(want[i][1])) : NULL);
    }
    assert_string_equal(route(p, Q(.model = SLICE("quick"))), "r");
    assert_string_equal(route(p, Q(.model = SLICE("tiny"))), "s");
    policy_unref(p);
}

static void test_price_at(void **state)
{
    (void)state;
    struct policy_price prices[] = {
        {.from_wall_us = INT64_MIN}, {.from_wall_us = 1000}, {.from_wall_us = 2000}};
    struct policy_model m = {.prices = prices, .price_count = 3};
    assert_ptr_equal(policy_price_at(&m, INT64_MIN), &prices[0]);
    assert_ptr_equal(policy_price_at(&m, 999), &prices[0]);
    assert_ptr_equal(policy_price_at(&m, 1000), &prices[1]);
    assert_ptr_equal(policy_price_at(&m, 1999), &prices[1]);
    assert_ptr_equal(policy_price_at(&m, INT64_MAX), &prices[2]);
    prices[0].from_wall_us = 500; /* before the first one: the first one */
    assert_ptr_equal(policy_price_at(&m, 0), &prices[0]);
}

static void test_cost(void **state)
{
    (void)state;
    struct policy_price price = {.per_token = true,
                                 .per_mtok = {[TOK_INPUT] = 2000000000,
                                              [TOK_CACHED_INPUT] = 500000000,
                                              [TOK_CACHE_WRITE] = 2500000000,
                                              [TOK_OUTPUT] = 8000000000,
                                              [TOK_REASONING] = 8000000000}};
    struct token_usage usage = {
        .n = {
            [TOK_INPUT] = 1000, [TOK_CACHED_INPUT] = 100, [TOK_OUTPUT] = 10, [TOK_REASONING] = 1}};
    assert_int_equal(policy_cost(&price, &usage, 0), 2000000 + 50000 + 80000 + 8000);
    assert_int_equal(policy_cost(&price, &(struct token_usage){0}, 1000000),
                     0); /* time is not priced */

    price = (struct policy_price){.per_token = true,
                                  .per_mtok = {[TOK_INPUT] = 1}}; /* a billionth per million */
    assert_int_equal(policy_cost(&price, &(struct token_usage){.n = {499999}}, 0), 0);
    assert_int_equal(policy_cost(&price, &(struct token_usage){.n = {500000}}, 0), 1); /* half up */
    assert_int_equal(policy_cost(&price, &(struct token_usage){.n = {1499999}}, 0), 1);
    assert_int_equal(policy_cost(&price, &(struct token_usage){.n = {-5}}, 0), 0);

    /* Rounded once: two halves of a nano-dollar, tokens and time, make one. */
    price = (struct policy_price){
        .per_token = true, .per_gpu_second = true, .per_mtok = {[TOK_INPUT] = 1}, .gpu_second = 1};
    assert_int_equal(policy_cost(&price, &(struct token_usage){.n = {250000}}, 250000), 1);
    assert_int_equal(policy_cost(&price, &(struct token_usage){.n = {0}}, -1), 0);

    price = (struct policy_price){.per_gpu_second = true, .gpu_second = 400000}; /* USD 0.0004 */
    assert_int_equal(policy_cost(&price, &usage, 2500000), 1000000);
    /* Seconds without a token: the attempt failed, the hardware worked. */
    assert_int_equal(policy_cost(&price, &(struct token_usage){.source = USAGE_NONE}, 500000),
                     200000);

    price = (struct policy_price){
        .per_token = true, .per_mtok = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}};
    usage = (struct token_usage){.n = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}};
    assert_true(policy_cost(&price, &usage, 0) == INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_encoder_defaults),
        cmocka_unit_test(test_catch_all_takes_known_names_only),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_a_route_wins_over_an_alias),
        cmocka_unit_test(test_price_at),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
