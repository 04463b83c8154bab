/* What changes, for whom, and whether a restart is needed. */
#include <cmocka.h>

#include <jansson.h>
#include "policies/policy_diff.h"
#include "tests/unit/policies/policy_fixture.h"

#define MODELS                                                                                     \
    "models: {m: {backend: local, price: {input: 1, output: 2}}, n: {backend: local, price: "      \
    "{input: 1, output: 2}}}\n"
#define ROUTES "routes: [{name: r, match: {model: auto}, cascade: [m], fallback: [n]}]\n"
#define BASE   "version: 1\n" FIXTURE_BACKEND MODELS ROUTES

struct pair {
    struct policy *old, *new;
    struct policy_diff diff;
    struct buf text;
};

static void pair_init(struct pair *x, const char *old, const char *new)
{
    x->old = fixture_load(old);
    x->new = fixture_load(new);
    buf_init(&x->text, 1 << 20);
    policy_diff(x->old, x->new, &x->diff);
    assert_int_equal(policy_diff_write_text(&x->diff, &x->text), ERR_OK);
    assert_int_equal(policy_restart_needed(x->old, x->new, NULL), x->diff.restart);
}

static void pair_clear(struct pair *x)
{
    policy_diff_clear(&x->diff);
    policy_unref(x->old);
    policy_unref(x->new);
    buf_clear(&x->text);
}

static void test_same(void **state)
{
    (void)state;
    struct pair x;
    pair_init(&x, BASE, "# a comment\n" BASE);
    assert_int_equal(x.diff.change_count, 0);
    assert_int_equal(x.diff.effect_count, 0);
    assert_false(x.diff.restart);
    fixture_has(&x.text, "no difference");
    pair_clear(&x);
}

/* What is written at a step is as much the policy as what is written at its route. */
static void test_steps(void **state)
{
    (void)state;
    struct pair x;
    pair_init(&x,
              "version: 1\n" FIXTURE_BACKEND MODELS
              "routes: [{name: r, match: {model: auto}, cascade: [{model: m, accept: 0.9}, n], "
              "accept: 0.5}]\n",
              "version: 1\n" FIXTURE_BACKEND MODELS
              "routes: [{name: r, match: {model: auto}, cascade: [{model: m, accept: 0.8, "
              "samples: 3}, n], accept: 0.5}]\n");
    assert_int_equal(x.diff.change_count, 1);
    fixture_has(&x.text, "m (accept 0.9), n -> m (accept 0.8, samples 3), n");
    pair_clear(&x);
}

static void test_classes(void **state)
{
    (void)state;
    struct pair x;
    pair_init(&x, BASE,
              "version: 1\n" FIXTURE_BACKEND MODELS "encoder: {max_wait: 5ms, static_first: 0.9}\n"
              "classes: {math: {examples: [1 + 1]}}\n"
              "routes:\n"
              "  - {name: maths, match: {model: auto, class: math}, cascade: [n]}\n"
              "  - {name: r, match: {model: auto}, cascade: [m], fallback: [n]}\n");
    fixture_has(&x.text, "~ encoder  model: static -> all-minilm-l6-v2");
    fixture_has(&x.text, "static_first: (not given) -> 0.9");
    fixture_has(&x.text, "+ class math");
    fixture_has(&x.text, "of class math");
    fixture_has(&x.text, "route 'maths': n");
    assert_false(x.diff.restart);
    pair_clear(&x);
}

static void test_price(void **state)
{
    (void)state;
    struct pair x;
    pair_init(&x, BASE,
              "version: 1\n" FIXTURE_BACKEND
              "models: {m: {backend: local, price: {input: 1.5, output: 2}}, n: {backend: local, "
              "price: {input: 1, output: 2}}}\n" ROUTES);
    assert_int_equal(x.diff.change_count, 1);
    fixture_has(&x.text, "~ model m  price: input 1.00,");
    fixture_has(&x.text, "-> input 1.50,");
    fixture_has(&x.text, "no request is routed differently");
    pair_clear(&x);
}

static void test_every_kind(void **state)
{
    (void)state;
    struct pair x;
    pair_init(&x,
              "version: 1\n" FIXTURE_BACKEND
              "models: {m: {backend: local, price: {input: 1, output: 2}}, gone: {backend: local, "
              "price: {input: 1, output: 2}}}\n"
              "aliases: {a: m, b: m}\ntenants: {t: {keys: [{env: T}]}}\n"
              "routes: [{name: r, cascade: [m, gone], retry: {max_attempts: 3}}]\n",
              "version: 1\nbackends: {local: {dialect: openai, url: ['http://127.0.0.1:9000/v1', "
              "'http://127.0.0.1:9001/v1'],\n"
              "  timeouts: {total: none}, headers: {x-a: b}}, more: {dialect: openai, url: "
              "'http://127.0.0.1:9002/v1'}}\n"
              "models: {m: {backend: more, context: 5, price: {gpu_second: 1}}, new: {backend: "
              "local, price: {input: 1, output: 2}}}\n"
              "aliases: {a: new, c: m}\ntenants: {t: {keys: [{env: T}, {env: U}], admin: true}}\n"
              "routes: [{name: r, cascade: [new, m], deadline: 5s}]\n");
    fixture_has(&x.text, "~ backend local  url: http://127.0.0.1:9000/v1 -> "
                         "http://127.0.0.1:9000/v1, http://127.0.0.1:9001/v1\n");
    fixture_has(&x.text, "~ backend local  timeouts.total: 15m -> none\n");
    fixture_has(&x.text, "~ backend local  headers: (not given) -> x-a: b\n");
    fixture_has(&x.text, "+ backend more\n");
    fixture_has(&x.text, "~ model m  backend: local -> more\n");
    fixture_has(&x.text, "~ model m  context: not given -> 5\n");
    fixture_has(&x.text, "-> gpu_second 1.00\n");
    fixture_has(&x.text, "- model gone\n");
    fixture_has(&x.text, "+ model new\n");
    fixture_has(&x.text, "~ alias a  target: m -> new\n");
    fixture_has(&x.text, "- alias b\n");
    fixture_has(&x.text, "+ alias c\n");
    fixture_has(&x.text, "~ tenant t  admin: false -> true\n");
    fixture_has(&x.text, "~ tenant t  keys: sha256 ");
    fixture_has(&x.text, "~ route r  cascade: m, gone -> new, m\n");
    fixture_has(&x.text, "~ route r  retry.max_attempts: 3 -> 4\n");
    fixture_has(&x.text, "~ route r  deadline: none -> 5s\n");
    fixture_has(&x.text,
                "'b'\n      before: route 'r': m, gone\n      after:  no such model (404)\n");
    fixture_has_not(&x.text, "value-of-"); /* no secret, in no form */
    buf_reset(&x.text);
    assert_int_equal(policy_diff_write_json(&x.diff, &x.text), ERR_OK);
    fixture_has_not(&x.text, "value-of-");
    json_t *o = json_loadb(buf_slice(&x.text).p, buf_len(&x.text), 0, NULL);
    assert_int_equal(json_array_size(json_object_get(o, "changes")), x.diff.change_count);
    assert_int_equal(json_array_size(json_object_get(o, "effects")), x.diff.effect_count);
    json_decref(o);
    pair_clear(&x);
}

static void test_servers(void **state)
{
    (void)state;
    struct pair x;
    pair_init(
        &x, BASE,
        "version: 1\nmodels_by_name: true\nbackends: {local: {dialect: openai, url: "
        "'http://127.0.0.1:9000/v1', server: vllm,\n"
        "  command: {argv: [serve, it], env: {A: 1}, idle: none, ready: {path: /up}}}}\n" MODELS
            ROUTES);
    fixture_has(&x.text, "~ backend local  server: (not given) -> vllm\n");
    fixture_has(&x.text, "~ backend local  discover: none -> 10m\n");
    fixture_has(&x.text, "~ backend local  command.argv: (not given) -> serve, it\n");
    fixture_has(&x.text, "~ backend local  command.env: (not given) -> A=1\n");
    fixture_has(&x.text, "~ backend local  command.idle: 10m -> none\n");
    fixture_has(&x.text, "~ backend local  command.ready.path: (not given) -> /up\n");
    fixture_has(&x.text, "+ route model:m\n+ route model:n\n");
    fixture_has(&x.text, "  'n'\n      before: no route takes it (404)\n"
                         "      after:  route 'model:n': n\n");
    assert_int_equal(x.diff.change_count, 8); /* what has the default on both sides is not told */
    assert_false(x.diff.restart);
    pair_clear(&x);
    pair_init(&x,
              "version: 1\nbackends: {local: {dialect: openai, url: ['http://a.example/v1', "
              "'http://b.example/v1'],\n  balance: prefix_affinity, health: {path: /up, interval: "
              "1s}}}\n" MODELS ROUTES,
              "version: 1\nbackends: {local: {dialect: anthropic, url: ['http://a.example/v1', "
              "'http://b.example/v1'],\n  anthropic_version: '2023-06-01'}}\n" MODELS ROUTES);
    fixture_has(&x.text, "~ backend local  dialect: openai -> anthropic\n");
    fixture_has(&x.text, "~ backend local  balance: prefix_affinity -> least_loaded\n");
    fixture_has(&x.text, "~ backend local  health.path: /up -> (not given)\n");
    fixture_has(&x.text, "~ backend local  anthropic_version: (not given) -> 2023-06-01\n");
    fixture_has(&x.text, "~ model m  capabilities: chat, completions, tools, ");
    pair_clear(&x);
}

static void test_for_whom(void **state)
{
    (void)state;
    static const char head[] = "version: 1\n" FIXTURE_BACKEND MODELS
                               "tenants: {a: {keys: [{env: A}]}, b: {keys: [{env: B}]}}\n";
    char old[2048], new[2048];
    snprintf(old, sizeof old, "%sroutes: [{name: r, match: {model: [auto, m]}, cascade: [m, n]}]\n",
             head);
    snprintf(new, sizeof new,
             "%sroutes: [{name: big, match: {model: auto, tenant: a, api: chat, prompt_tokens: "
             "{min: 1000}}, cascade: [n]},\n"
             "  {name: r, match: {model: [auto, m]}, cascade: [m, n]}]\n",
             head);
    struct pair x;
    pair_init(&x, old, new);
    assert_int_equal(x.diff.effect_count, 1);
    const struct policy_effect *e = &x.diff.effects[0];
    assert_string_equal(e->model, "auto");
    assert_string_equal(e->tenant, "a");
    assert_string_equal(e->api, "chat");
    assert_string_equal(e->when, "1000 prompt tokens");
    assert_string_equal(e->before.models, "m, n");
    assert_string_equal(e->after.route, "big");
    pair_clear(&x);
}

static void test_tenants_come(void **state)
{
    (void)state;
    struct pair x;
    pair_init(&x, BASE, BASE "tenants: {a: {keys: [{env: A}]}}\n");
    fixture_has(&x.text, "+ tenant a\n");
    fixture_has(&x.text, "by (no key)\n      before: route 'r': m, n\n      after:  refused: the "
                         "key is not known (401)\n");
    pair_clear(&x);
}

static void test_order(void **state)
{
    (void)state;
    struct pair x;
    pair_init(&x,
              "version: 1\n" FIXTURE_BACKEND MODELS
              "routes: [{name: x, match: {model: auto, tags: [t]}, cascade: [m]}, {name: y, match: "
              "{model: auto, headers: {h: v}}, cascade: [n]}]\n",
              "version: 1\n" FIXTURE_BACKEND MODELS
              "routes: [{name: y, match: {model: auto, headers: {h: v}}, cascade: [n]}, {name: x, "
              "match: {model: auto, tags: [t]}, cascade: [m]}]\n");
    assert_int_equal(x.diff.change_count, 1);
    fixture_has(&x.text, "~ route  order: x, y -> y, x\n");
    fixture_has(&x.text, "'auto' by (no key), chat, with tag t, h: v");
    pair_clear(&x);
}

static void test_restart(void **state)
{
    (void)state;
    static const struct {
        const char *server, *key;
    } cases[] = {
        /* No route uses the cache, but what is learned lies there. */
        {"{}\ncache: {mode: off, store: redis, redis: {url: 'redis://h'}}",
         "cache.store (embedded -> redis)"},
        {"{}\ncache: {mode: off, max_entries: 9}", NULL},
        {"{log_level: debug}", NULL},
        {"{sse_keepalive: 20s}", NULL},
        {"{reply_model: requested}", NULL},
        {"{cors: {origins: '*'}}", NULL},
        {"{listen: 9999}", "server.listen (127.0.0.1:8080 -> 127.0.0.1:9999)"},
        {"{workers: 2}", "server.workers (auto -> 2)"},
        {"{state_dir: elsewhere}", "server.state_dir (weir-state -> elsewhere)"},
        {"{access_log: stderr}", "server.access_log (none -> stderr)"},
        {"{timeouts: {idle: 1s}}", "server.timeouts.idle (75s -> 1s)"},
        {"{limits: {body: 1MiB}}", "server.limits.body (64MiB -> 1MiB)"},
        {"{drain: 1s}", "server.drain (30s -> 1s)"},
    };
    struct policy *old = fixture_load(BASE);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[2048];
        struct err_text why = {""};
        snprintf(text, sizeof text, "%sserver: %s\n", BASE, cases[i].server);
        struct policy *new = fixture_load(text);
        assert_int_equal(policy_restart_needed(old, new, &why), cases[i].key != NULL);
        if (cases[i].key && !strstr(why.s, cases[i].key))
            fail_msg("'%s' does not name %s", why.s, cases[i].key);
        if (!cases[i].key)
            assert_string_equal(why.s, "");
        policy_unref(new);
    }
    policy_unref(old);
}

static void test_secret_changed(void **state)
{
    (void)state;
    static const char text[] = "version: 1\nbackends: {local: {dialect: openai, url: "
                               "'https://x.example/v1', key_env: K}}\n" MODELS ROUTES;
    struct policy *old = fixture_load_as(text, "-1"), *new = fixture_load_as(text, "-2");
    struct policy_diff d;
    policy_diff(old, new, &d);
    assert_int_equal(d.change_count, 1);
    assert_string_equal(d.changes[0].before, "env K");
    assert_string_equal(d.changes[0].after, "another value from the same place");
    policy_diff_clear(&d);
    policy_unref(old);
    policy_unref(new);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),           cmocka_unit_test(test_steps),
        cmocka_unit_test(test_classes),        cmocka_unit_test(test_price),
        cmocka_unit_test(test_every_kind),     cmocka_unit_test(test_for_whom),
        cmocka_unit_test(test_servers),        cmocka_unit_test(test_tenants_come),
        cmocka_unit_test(test_order),          cmocka_unit_test(test_restart),
        cmocka_unit_test(test_secret_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
