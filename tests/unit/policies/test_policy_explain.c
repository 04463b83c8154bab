/* Explanations say why, and what it would cost. */
#include <cmocka.h>

#include <jansson.h>
#include "policies/policy_explain.h"
#include "tests/unit/policies/policy_fixture.h"

static const char text[] =
    "version: 1\n" FIXTURE_BACKEND "models:\n"
    "  small: {backend: local, context: 200, max_output: 100, price: {input: 1, output: 2}}\n"
    "  gpu: {backend: local, price: {gpu_second: 0.001}}\n"
    "  embedder: {backend: local, capabilities: [embeddings], price: {input: 0.5}}\n"
    "tenants: {a: {keys: [{env: A}], budget: {max_usd_per_day: 2, max_usd_per_month: 30.5}}}\n"
    "aliases: {fast: auto}\n"
    "routes:\n"
    "  - {name: embed, match: {model: auto, api: embeddings}, cascade: [embedder]}\n"
    "  - {name: for-a, match: {model: auto, tenant: a}, cascade: [gpu]}\n"
    "  - {name: tagged, match: {model: auto, tags: [x, y]}, cascade: [gpu]}\n"
    "  - {name: beta, match: {model: auto, headers: {x-beta: 'on*'}}, cascade: [gpu]}\n"
    "  - {name: long, match: {model: auto, prompt_tokens: {min: 5000}}, cascade: [gpu]}\n"
    "  - {name: auto, match: {model: auto}, cascade: [small], fallback: [gpu]}\n"
    "  - {name: later, match: {model: other}, cascade: [gpu]}\n";

static void test_taken(void **state)
{
    (void)state;
    struct policy *p = fixture_load(text);
    struct slice tags[] = {SLICE("y")};
    struct policy_query q = {
        .model = SLICE("fast"), .prompt_tokens = 1000, .tags = tags, .tag_count = 1};
    struct policy_explanation e;
    policy_explain(p, &q, 4001, &e);
    assert_string_equal(e.canonical, "auto");
    assert_int_equal(e.input_tokens, 1001);
    assert_int_equal(e.route_count, 6); /* those after the taken one do not matter */
    static const char *const why[] = {
        "takes embeddings requests, and this is a chat request",
        "takes tenant a, and this is nobody's",
        "takes requests with the tag x, which this has not",
        "takes requests with the header x-beta: on*, which this has not",
        "takes prompts of at least 5000 tokens, and this is about 1000",
        "takes the name (auto)",
    };
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(e.routes[i].why, why[i]);
        assert_int_equal(e.routes[i].taken, i == 5);
    }
    assert_int_equal(e.step_count, 2);
    assert_int_equal(e.steps[0].guess.output_tokens, 100); /* the model's own maximum */
    assert_int_equal(e.steps[0].guess.cost, 1001 * 1000 + 100 * 2000);
    assert_string_equal(e.steps[0].note, "the prompt is longer than its context of 200 tokens");
    assert_true(e.steps[1].fallback);
    assert_int_equal(e.steps[1].guess.cost, INT64_C(1000000) * POLICY_GUESS_OUTPUT_TOKENS /
                                                POLICY_GUESS_TOKENS_PER_SECOND);

    struct buf out;
    buf_init(&out, 65536);
    assert_int_equal(policy_explanation_write_text(&e, &out), ERR_OK);
    fixture_has(&out, "model 'fast', an alias of 'auto', chat\n");
    fixture_has(&out, "-> auto");
    fixture_has(&out, "1. small\n");
    fixture_has(&out, "2. gpu  (fallback)\n");
    fixture_has(&out, "http://127.0.0.1:9000/v1");
    fixture_has(&out, "about $0.001201 for one attempt");
    buf_reset(&out);
    assert_int_equal(policy_explanation_write_json(&e, &out), ERR_OK);
    json_t *o = json_loadb(buf_slice(&out).p, buf_len(&out), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(o, "route")), "auto");
    json_t *step = json_array_get(json_object_get(o, "steps"), 0);
    assert_string_equal(json_string_value(json_object_get(step, "estimated_cost_usd")), "0.001201");
    json_decref(o);
    buf_reset(&out);
    out.max_bytes = 100; /* a full buffer is an error, not a cut text */
    assert_int_equal(policy_explanation_write_text(&e, &out), ERR_TOO_LARGE);
    buf_clear(&out);
    policy_explanation_clear(&e);
    policy_unref(p);
}

static void test_servers(void **state)
{
    (void)state;
    struct policy *p = fixture_load(
        "version: 1\nbackends:\n"
        "  own: {dialect: openai, url: 'http://127.0.0.1:1/v1', server: llama_cpp, command: {argv: "
        "[x], group: gpu}}\n"
        "  two: {dialect: openai, url: ['http://a.example/v1', 'http://b.example/v1'], balance: "
        "prefix_affinity}\n"
        "  far: {dialect: anthropic, url: 'https://c.example/v1'}\n"
        "models: {a: {backend: own, capabilities: [completions], price: {gpu_second: 1}},\n"
        "  b: {backend: two, price: {input: 1, output: 1}}, c: {backend: far, price: {input: 1, "
        "output: 1}}}\n"
        "routes: [{name: r, match: {model: auto}, cascade: [a, b, c]}]\n");
    struct policy_query q = {.model = SLICE("auto"), .api = POLICY_API_MESSAGES};
    struct policy_explanation e;
    struct buf out;
    buf_init(&out, 65536);
    policy_explain(p, &q, 0, &e);
    assert_string_equal(e.steps[0].note, "is not written to answer messages requests");
    assert_null(e.steps[1].note);
    assert_null(e.steps[2].note);
    assert_int_equal(policy_explanation_write_text(&e, &out), ERR_OK);
    fixture_has(&out, "model 'auto', messages\n");
    fixture_has(&out,
                "backend own (llama_cpp): http://127.0.0.1:1/v1, started on first need, alone "
                "of its group 'gpu'\n");
    fixture_has(&out, "backend two (openai): http://a.example/v1 http://b.example/v1, the one that "
                      "knows the conversation\n");
    fixture_has(&out, "backend far (anthropic): https://c.example/v1\n");
    buf_reset(&out);
    assert_int_equal(policy_explanation_write_json(&e, &out), ERR_OK);
    json_t *o = json_loadb(buf_slice(&out).p, buf_len(&out), 0, NULL);
    json_t *steps = json_object_get(o, "steps");
    static const char *const servers[] = {"llama_cpp", "openai", "anthropic"};
    for (size_t i = 0; i < 3; i++) {
        json_t *step = json_array_get(steps, i);
        assert_string_equal(json_string_value(json_object_get(step, "server")), servers[i]);
        assert_int_equal(json_is_true(json_object_get(step, "started_on_need")), i == 0);
    }
    json_decref(o);
    buf_clear(&out);
    policy_explanation_clear(&e);
    q.api = POLICY_API_COMPLETIONS;
    policy_explain(p, &q, 0, &e);
    assert_null(e.steps[0].note);
    assert_string_equal(e.steps[2].note, "is not written to answer completions requests");
    policy_explanation_clear(&e);
    policy_unref(p);
}

static void test_budget_over_replicas(void **state)
{
    (void)state;
    struct policy_query q = {.model = SLICE("auto")};
    struct policy_explanation e;
    struct buf out;
    buf_init(&out, 65536);
    assert_int_equal(
        buf_printf(&out, "%scache: {store: redis, redis: {url: \"redis://h:1\"}}\n", text), ERR_OK);
    assert_int_equal(buf_append(&out, "", 1), ERR_OK);
    struct policy *p = fixture_load(buf_slice(&out).p);
    buf_reset(&out);
    q.tenant = &p->tenants[0];
    policy_explain(p, &q, 0, &e);
    assert_int_equal(policy_explanation_write_text(&e, &out), ERR_OK);
    fixture_has(&out, " a month (UTC) at all replicas of its Redis; once that is spent ");
    policy_explanation_clear(&e);
    policy_unref(p);
    buf_clear(&out);
}

static void test_budget(void **state)
{
    (void)state;
    struct policy *p = fixture_load(text);
    struct policy_query q = {.model = SLICE("auto"), .tenant = &p->tenants[0]};
    struct policy_explanation e;
    struct buf out;
    buf_init(&out, 65536);
    policy_explain(p, &q, 0, &e);
    assert_int_equal(policy_explanation_write_text(&e, &out), ERR_OK);
    fixture_has(&out,
                "budget of tenant 'a': $2.00 a day and $30.50 a month (UTC); once that is spent "
                "requests get 429 (insufficient_quota)\n");
    buf_reset(&out);
    assert_int_equal(policy_explanation_write_json(&e, &out), ERR_OK);
    json_t *o = json_loadb(buf_slice(&out).p, buf_len(&out), 0, NULL);
    const json_t *budget = json_object_get(o, "budget");
    assert_string_equal(json_string_value(json_object_get(budget, "max_usd_per_month")), "30.50");
    assert_string_equal(json_string_value(json_object_get(budget, "at_limit")), "refuse");
    assert_true(json_is_false(json_object_get(budget, "over_replicas")));
    json_decref(o);
    buf_clear(&out);
    policy_explanation_clear(&e);
    policy_unref(p);
}

static void says(const struct policy *p, const char *model, const char *want)
{
    struct policy_query q = {.model = slice_str(model)};
    struct policy_explanation e;
    struct buf out;
    buf_init(&out, 65536);
    policy_explain(p, &q, 0, &e);
    assert_int_equal(policy_explanation_write_text(&e, &out), ERR_OK);
    fixture_has(&out, want);
    assert_int_equal(e.step_count, 0);
    buf_clear(&out);
    policy_explanation_clear(&e);
}

static void explain_as(const struct policy *p, struct slice model, struct slice class_name,
                       struct buf *out)
{
    struct policy_query q = {.model = model, .class_name = class_name};
    struct policy_explanation e;
    policy_explain(p, &q, 10, &e);
    assert_int_equal(policy_explanation_write_text(&e, out), ERR_OK);
    assert_int_equal(policy_explanation_write_json(&e, out), ERR_OK);
    policy_explanation_clear(&e);
}

static void test_decisions(void **state)
{
    (void)state;
    struct policy *p = fixture_load(
        "version: 1\n" FIXTURE_BACKEND "models:\n"
        "  a: {backend: local, price: {input: 1, output: 2}}\n"
        "  b: {backend: local, price: {input: 3, output: 4}}\n"
        "decide: {audit: {share: 0.01, judge: b}, confidence: {hold: whole}}\n"
        "routes:\n"
        "  - {name: ladder, match: {model: ladder}, cascade: [{model: a, accept: 0.9}, b]}\n"
        "  - name: search\n"
        "    match: {model: search}\n"
        "    cascade: [a, b]\n"
        "    objective: {floor: 0.9, failure_price: 0.02}\n"
        "    explore: {pins: [{class: math, model: b}]}\n"
        "  - name: asked-again\n"
        "    match: {model: again}\n"
        "    cascade: [a, {model: b, samples: 1}]\n"
        "    accept: 0.5\n"
        "    confidence: {samples: {count: 5, temperature: 0.7}}\n"
        "  - {name: plain, match: {model: plain}, cascade: [a]}\n");
    struct buf out;
    buf_init(&out, 1 << 20);
    explain_as(p, SLICE("again"), SLICE(""), &out);
    fixture_has(&out, "sampled: a 5 times, where an answer has no log-probabilities, at "
                      "temperature 0.7");
    buf_reset(&out);
    explain_as(p, SLICE("ladder"), SLICE(""), &out);
    assert_null(memmem(buf_slice(&out).p, buf_len(&out), "sampled", 7));
    fixture_has(&out, "final is that of a from 0.9, b always; else the next model is asked");
    fixture_has(&out, "streams are held to their end");
    fixture_has(&out, "audited: 0.01 of requests, for at most $1.00 a day");
    buf_reset(&out);
    explain_as(p, SLICE("search"), SLICE("math"), &out);
    fixture_has(&out, "asked in any order");
    fixture_has(&out, "floor: 0.9 of requests must succeed");
    fixture_has(&out, "a failure costs $0.02");
    fixture_has(&out, "pinned: this request stays with b");
    buf_reset(&out);
    explain_as(p, SLICE("plain"), SLICE(""), &out);
    fixture_has(&out, "\"decisions\": []");
    buf_clear(&out);
    policy_unref(p);
}

static void test_class(void **state)
{
    (void)state;
    struct policy *p = fixture_load(
        "version: 1\n" FIXTURE_BACKEND "models: {m: {backend: local, price: {input: 1, output: "
        "2}}}\n"
        "classes: {math: {examples: [1 + 1]}, code: {examples: [int x]}}\n"
        "routes:\n"
        "  - {name: code, match: {model: auto, class: code}, cascade: [m]}\n"
        "  - {name: sure, match: {model: auto, class: [code, math], min_confidence: 0.75}, "
        "cascade: "
        "[m]}\n"
        "  - {name: rest, match: {model: auto}, cascade: [m]}\n");
    struct policy_query q = {.model = SLICE("auto")};
    static const struct {
        const char *name;
        double confidence;
        const char *says;
    } cases[] = {
        {"", 0, "takes class code, and this is of no known class"},
        {"math", 0.5, "takes class code, and this is 'math'"},
        {"math", 0.5, "takes class code or math at a confidence of 0.75, and this has 0.50"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct policy_explanation e;
        struct buf out;
        buf_init(&out, 1 << 20);
        q.class_name = slice_str(cases[i].name);
        q.class_confidence = cases[i].confidence;
        policy_explain(p, &q, 10, &e);
        e.class_note = "a line about it";
        assert_int_equal(policy_explanation_write_text(&e, &out), ERR_OK);
        fixture_has(&out, cases[i].says);
        fixture_has(&out, "a line about it\n");
        fixture_has(&out, "-> rest");
        buf_reset(&out);
        assert_int_equal(policy_explanation_write_json(&e, &out), ERR_OK);
        fixture_has(&out, cases[i].name[0] ? "\"name\": \"math\"" : "\"class\": null");
        policy_explanation_clear(&e);
        buf_clear(&out);
    }
    policy_unref(p);
}

static void test_not_taken(void **state)
{
    (void)state;
    struct policy *p = fixture_load(text);
    says(p, "autoo", "did you mean 'auto'?");
    says(p, "zzzz", "no model, alias or route has this name");
    says(p, "embedder", "no route takes this request");
    struct policy_query q = {.model = SLICE("\xff")}; /* not UTF-8: no JSON, no crash */
    struct policy_explanation e;
    struct buf out;
    buf_init(&out, 65536);
    policy_explain(p, &q, 0, &e);
    assert_int_equal(policy_explanation_write_json(&e, &out), ERR_BAD_REQUEST);
    policy_explanation_clear(&e);
    buf_clear(&out);
    policy_unref(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),    cmocka_unit_test(test_servers),
        cmocka_unit_test(test_budget),   cmocka_unit_test(test_budget_over_replicas),
        cmocka_unit_test(test_class),    cmocka_unit_test(test_decisions),
        cmocka_unit_test(test_not_taken)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
