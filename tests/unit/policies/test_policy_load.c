/* What a loaded policy holds: defaults, secrets, identity, the examples; and text that was cut or
 * damaged. */
#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>
#include "tests/unit/policies/policy_fixture.h"

static void test_defaults(void **state)
{
    (void)state;
    struct policy *p =
        fixture_load("version: 1\n" FIXTURE_BACKEND
                     "models: {m: {backend: local, price: {input: 1, output: 2}}}\n");
    const struct policy_server *s = &p->server;
    assert_string_equal(s->listen.host, "127.0.0.1");
    assert_int_equal(s->listen.port, 8080);
    assert_int_equal(s->admin.port, 8081);
    assert_int_equal(s->workers, POLICY_NONE);
    assert_int_equal(s->max_body_bytes, 64 << 20);
    assert_int_equal(s->stream_buffer_bytes, 256 << 10);
    assert_int_equal(s->drain_ms, 30000);
    assert_int_equal(s->sse_keepalive_ms, 15000);
    assert_null(s->access_log);
    assert_string_equal(s->log_level, "info");
    assert_int_equal(s->cors_origin_count, 0);
    const struct policy_backend *b = &p->backends[0];
    assert_string_equal(b->name, "local");
    assert_int_equal(b->timeouts.connect_ms, 5000);
    assert_int_equal(b->timeouts.first_byte_ms, 120000);
    assert_int_equal(b->timeouts.between_bytes_ms, 60000);
    assert_int_equal(b->timeouts.total_ms, 900000);
    assert_int_equal(b->max_in_flight, POLICY_NONE);
    assert_int_equal(b->max_response_bytes, 64 << 20);
    assert_true(b->tls_verify && b->stream_options);
    assert_null(b->key);
    assert_string_equal(b->key_source, "none");
    const struct policy_model *m = &p->models[0];
    assert_string_equal(m->upstream_name, "m");
    assert_int_equal(m->context_tokens, POLICY_NONE);
    assert_int_equal(m->capabilities, CAP_CHAT | CAP_COMPLETIONS | CAP_TOOLS | CAP_VISION |
                                          CAP_AUDIO | CAP_STRUCTURED | CAP_LOGPROBS |
                                          CAP_REASONING);
    assert_int_equal(m->prices[0].per_mtok[TOK_CACHED_INPUT], NANOUSD_PER_USD);
    assert_int_equal(m->prices[0].per_mtok[TOK_REASONING], 2 * NANOUSD_PER_USD);
    assert_int_equal(strlen(m->prices[0].version), 8);
    const struct policy_route *r = &p->routes[0]; /* implied */
    assert_string_equal(r->name, "m");
    assert_int_equal(r->retry.max_attempts, 4);
    assert_int_equal(r->retry.per_model, 2);
    assert_int_equal(r->retry.backoff_base_ms, 100);
    assert_int_equal(r->retry.backoff_max_ms, 2000);
    assert_int_equal(r->retry.budget_percent, 20);
    assert_int_equal(r->retry.budget_min_per_second, 3);
    assert_int_equal(r->retry.max_retry_after_ms, 5000);
    assert_int_equal(r->deadline_ms, POLICY_NONE);
    assert_int_equal(strlen(p->version), 12);
    assert_string_equal(p->source, "test.yaml");
    policy_unref(p);
}

static void test_everything_written(void **state)
{
    (void)state;
    struct policy *p = fixture_load(
        "version: 1\n"
        "server: {listen: '[::1]:1', admin: 2, workers: 3, state_dir: s, log_level: debug, "
        "access_log: stderr,\n"
        "  reply_model: requested, cors: {origins: '*'}, drain: 1s, sse_keepalive: none,\n"
        "  timeouts: {header: 1s, body: 2s, idle: 3s, write: 4s},\n"
        "  limits: {body: 1MiB, headers: 8KiB, connections: 10, in_flight: 5, stream_buffer: "
        "64KiB}}\n"
        "backends:\n"
        "  a: {dialect: openai, url: ['https://a.example/v1', 'https://b.example/v1'], balance: "
        "least_loaded, key_env: K,\n"
        "    timeouts: {connect: 1s, first_byte: none, between_bytes: none, total: none}, http: 2, "
        "transport: curl,\n"
        "    limits: {in_flight: 7, idle_connections: 0, response: 1KiB}, proxy: "
        "'socks5h://proxy:1080',\n"
        "    tls: {verify: false}, headers: {x-a: b}, stream_options: false}\n"
        "models:\n"
        "  m: {backend: a, name: up/m, context: 10, max_output: 5, capabilities: [chat], "
        "quantization: q4,\n"
        "    price: [{from: 2026-01-01, input: 3, cached_input: 0.5, cache_write: 4, output: 2, "
        "reasoning: 9}, {gpu_second: 0.1}]}\n"
        "retry: {max_attempts: 9, backoff: {max: 7s}}\n"
        "tenants: {t: {keys: [{env: T}], tags: [x, y], admin: true}}\n"
        "aliases: {other: auto}\n"
        "routes:\n"
        "  - {name: r, match: {model: auto, tenant: t, tags: x, headers: {x-h: 'a*', x-p: '*'}, "
        "api: chat, prompt_tokens: {min: 1}},\n"
        "     cascade: [m], retry: {per_model: 5}, deadline: 1m}\n");
    const struct policy_server *s = &p->server;
    assert_string_equal(s->listen.host, "::1");
    assert_int_equal(s->admin.port, 2);
    assert_int_equal(s->workers, 3);
    assert_int_equal(s->reply_model, REPLY_MODEL_REQUESTED);
    assert_int_equal(s->sse_keepalive_ms, POLICY_NONE);
    assert_string_equal(s->cors_origins[0], "*");
    assert_int_equal(s->write_timeout_ms, 4000);
    assert_int_equal(s->max_in_flight, 5);
    const struct policy_backend *b = &p->backends[0];
    assert_int_equal(b->endpoint_count, 2);
    assert_string_equal(b->key, "value-of-K");
    assert_string_equal(b->key_source, "env K");
    assert_int_equal(b->timeouts.total_ms, POLICY_NONE);
    assert_int_equal(b->http, HTTP_2);
    assert_int_equal(b->transport, TRANSPORT_CURL);
    assert_int_equal(b->max_idle_connections, 0);
    assert_false(b->tls_verify || b->stream_options);
    assert_string_equal(b->headers[0].value, "b");
    const struct policy_model *m = &p->models[0];
    assert_string_equal(m->upstream_name, "up/m");
    assert_int_equal(m->capabilities, CAP_CHAT);
    assert_int_equal(m->price_count, 2);
    assert_true(m->prices[0].per_gpu_second && !m->prices[0].per_token); /* put in order of time */
    assert_int_equal(m->prices[1].from_wall_us, INT64_C(1767225600000000));
    assert_int_equal(m->prices[1].per_mtok[TOK_CACHED_INPUT], NANOUSD_PER_USD / 2);
    assert_string_not_equal(m->prices[0].version, m->prices[1].version);
    const struct policy_route *r = &p->routes[0];
    assert_int_equal(r->retry.max_attempts, 9); /* from the top level */
    assert_int_equal(r->retry.per_model, 5);    /* its own */
    assert_int_equal(r->retry.backoff_base_ms, 100);
    assert_int_equal(r->retry.backoff_max_ms, 7000);
    assert_int_equal(r->deadline_ms, 60000);
    assert_int_equal(r->line, 18);
    assert_null(r->match.headers[1].value); /* present */
    assert_int_equal(r->match.prompt_tokens.min, 1);
    assert_int_equal(r->match.prompt_tokens.max, POLICY_NONE);
    assert_int_equal(r->match.apis, 1u << POLICY_API_CHAT);
    assert_int_equal(p->tenants[0].key_count, 1);
    assert_true(p->tenants[0].admin);
    assert_string_equal(p->aliases[0].canonical, "auto");
    policy_unref(p);
}

/* A NULL-terminated list of texts. */
static void list_is(const char *const *list, size_t n, const char *const *want)
{
    for (size_t i = 0; want[i]; i++) {
        assert_true(i < n);
        assert_string_equal(list[i], want[i]);
        if (i + 1 == n)
            assert_null(list[i + 1]);
    }
    assert_non_null(want[n - 1]);
    assert_null(want[n]);
}

static void test_command(void **state)
{
    (void)state;
    struct policy *p = fixture_load(
        "version: 1\nbackends:\n"
        "  a: {dialect: openai, url: 'http://127.0.0.1:1/v1', command: [run, --temp, 0.10, 007, "
        "yes, "
        "'', 'two words']}\n"
        "  b: {dialect: openai, url: 'http://127.0.0.1:2/v1', command: {argv: [b], env: {A: 0, "
        "B_1: "
        "'', c: 'x=y'},\n"
        "    directory: sub, ready: {path: /health, timeout: 3m}, idle: none, stop: 5s, group: g, "
        "min_run: 0s, queue: 0,\n"
        "    backoff: {base: 2s, max: 3s}}}\n"
        "  c: {dialect: openai, url: 'http://127.0.0.1:3/v1'}\n"
        "  d: {dialect: openai, url: 'http://127.0.0.1:4/v1', command: {argv: [d], group: g}}\n"
        "models: {a: {backend: a, price: {gpu_second: 1}}, b: {backend: b, price: {gpu_second: "
        "1}},\n"
        "  c: {backend: c, price: {gpu_second: 1}}, d: {backend: d, price: {gpu_second: 1}}}\n");
    const struct policy_command *a = &p->backends[0].command, *b = &p->backends[1].command;
    static const char *const argv[] = {"run", "--temp", "0.10",      "007",
                                       "yes", "",       "two words", NULL};
    static const char *const env[] = {"A=0", "B_1=", "c=x=y", NULL};
    list_is(a->argv, a->argv_count, argv);
    assert_true(a->env == NULL && a->env_count == 0);
    assert_true(a->directory == NULL && a->ready_path == NULL && a->group == NULL);
    assert_int_equal(a->ready_timeout_ms, 120000);
    assert_int_equal(a->idle_ms, 600000);
    assert_int_equal(a->stop_ms, 10000);
    assert_int_equal(a->min_run_ms, 30000);
    assert_int_equal(a->max_queue, 64);
    assert_int_equal(a->backoff_base_ms, 1000);
    assert_int_equal(a->backoff_max_ms, 60000);
    assert_string_equal(b->argv[0], "b");
    list_is(b->env, b->env_count, env);
    assert_string_equal(b->directory, "sub");
    assert_string_equal(b->ready_path, "/health");
    assert_int_equal(b->ready_timeout_ms, 180000);
    assert_int_equal(b->idle_ms, POLICY_NONE);
    assert_int_equal(b->stop_ms, 5000);
    assert_string_equal(b->group, "g");
    assert_int_equal(b->min_run_ms, 0);
    assert_int_equal(b->max_queue, 0);
    assert_int_equal(b->backoff_base_ms, 2000);
    assert_int_equal(b->backoff_max_ms, 3000);
    assert_null(p->backends[2].command.argv);
    policy_unref(p);
}

static void test_servers(void **state)
{
    (void)state;
    struct policy *p = fixture_load(
        "version: 1\nbackends:\n"
        "  a: {dialect: anthropic, url: 'https://a.example/v1', key_env: K, anthropic_version: x}\n"
        "  b: {dialect: openai, url: 'https://b.example', server: azure, api_version: 2024-10-21}\n"
        "  c: {dialect: openai, url: ['http://c.example/v1', 'http://d.example/v1'], server: "
        "vllm,\n"
        "    balance: prefix_affinity, health: {path: /health}}\n"
        "models: {a: {backend: a, thinking: adaptive, price: {input: 1, output: 1}}, b: {backend: "
        "b, price: {input: 1, output: 1}},\n"
        "  c: {backend: c, capabilities: [chat], price: {input: 1, output: 1}}}\n");
    const struct policy_backend *a = &p->backends[0], *b = &p->backends[1], *c = &p->backends[2];
    assert_int_equal(a->dialect, DIALECT_ANTHROPIC);
    assert_string_equal(a->anthropic_version, "x");
    assert_string_equal(policy_key_header(a), "x-api-key");
    assert_null(a->server);
    assert_string_equal(b->api_version, "2024-10-21");
    assert_string_equal(policy_key_header(b), "api-key");
    assert_int_equal(b->balance, BALANCE_LEAST_LOADED);
    assert_null(b->health_path);
    assert_string_equal(policy_key_header(c), "Authorization");
    assert_string_equal(c->server, "vllm");
    assert_int_equal(c->balance, BALANCE_PREFIX_AFFINITY);
    assert_string_equal(c->health_path, "/health");
    assert_int_equal(c->health_interval_ms, 5000);
    assert_int_equal(c->health_timeout_ms, 1000);
    assert_false(p->models[0].capabilities & CAP_COMPLETIONS); /* Anthropic has no such API */
    assert_true(p->models[0].capabilities & CAP_CHAT && p->models[0].capabilities & CAP_TOOLS);
    assert_true(p->models[1].capabilities & CAP_COMPLETIONS);
    assert_int_equal(p->models[0].thinking, THINKING_ADAPTIVE);
    assert_int_equal(p->models[1].thinking, THINKING_BUDGET);
    policy_unref(p);
}

#define BY_NAME                                                                                    \
    "version: 1\n" FIXTURE_BACKEND "models: {a: {backend: local, price: {input: 1, output: 2}},"   \
    " b: {backend: local, price: {input: 1, output: 2}},"                                          \
    " c-1: {backend: local, price: {input: 1, output: 2}}}\n"                                      \
    "models_by_name: true\nretry: {max_attempts: 9}\n"

/* The routes' names, in order, with a blank behind each. */
static void routes_are(const char *text, const char *want)
{
    struct policy *p = fixture_load(text);
    char all[256] = "";
    for (size_t i = 0, n = 0; i < p->route_count; i++)
        n += (size_t)snprintf(all + n, sizeof all - n, "%s ", p->routes[i].name);
    assert_string_equal(all, want);
    policy_unref(p);
}

static void test_discover(void **state)
{
    (void)state;
    struct policy *p = fixture_load(
        "version: 1\nbackends:\n"
        "  remote: {dialect: openai, url: 'https://api.example/v1'}\n"
        "  asked: {dialect: anthropic, url: 'https://api.example/v1', discover: 1h}\n"
        "  engine: {dialect: openai, url: 'http://127.0.0.1:1/v1', server: llama_cpp}\n"
        "  own: {dialect: openai, url: 'http://127.0.0.1:2/v1', command: [run]}\n"
        "  quiet: {dialect: openai, url: 'http://127.0.0.1:3/v1', command: [run], discover: none}\n"
        "models: {a: {backend: remote, price: {gpu_second: 1}}, b: {backend: asked, price: "
        "{gpu_second: 1}},\n"
        "  c: {backend: engine, price: {gpu_second: 1}}, d: {backend: own, price: {gpu_second: "
        "1}},\n"
        "  e: {backend: quiet, price: {gpu_second: 1}}}\n");
    static const int64_t expected[] = {POLICY_NONE, 3600000, 600000, 600000, POLICY_NONE};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(p->backends[i].discover_ms, expected[i]);
    policy_unref(p);
}

static void test_models_by_name(void **state)
{
    (void)state;
    routes_are(BY_NAME, "a b c-1 ");
    routes_are(BY_NAME "routes: [{name: r, match: {model: auto}, cascade: [a, b]}]\n",
               "r model:a model:b model:c-1 ");
    /* What a route says about a name is all that holds for it, whom it may concern. */
    routes_are(BY_NAME "tenants: {t: {keys: [{env: T}], admin: true}}\n"
                       "routes: [{name: r, match: {model: [b, x], tenant: t}, cascade: [b]},\n"
                       "  {name: s, match: {model: 'c*', tags: y}, cascade: [a]}]\n",
               "r s model:a ");
    /* An alias is another name. */
    routes_are(BY_NAME "aliases: {fast: a}\n"
                       "routes: [{name: r, match: {model: fast}, cascade: [b]}]\n",
               "r model:a model:b model:c-1 ");
    /* Any name, but not from everyone; then any name from everyone. */
    routes_are(BY_NAME "routes: [{name: r, match: {tags: y}, cascade: [b]}]\n",
               "r model:a model:b model:c-1 ");
    routes_are(BY_NAME "routes: [{name: r, cascade: [a, b, c-1]}]\n", "r ");
    /* Together they take every request for b; the route that is added is not the operator's. */
    routes_are(BY_NAME
               "routes: [{name: r, match: {api: [chat, completions, embeddings]}, cascade: "
               "[a, b]},\n  {name: s, match: {api: [messages, responses]}, cascade: [a]}]\n",
               "r s model:a model:b model:c-1 ");
    struct policy *p =
        fixture_load(BY_NAME "routes: [{name: r, match: {model: auto}, cascade: [a]}]\n");
    const struct policy_route *r = &p->routes[2];
    assert_int_equal(r->step_count, 1);
    assert_int_equal(r->cascade_count, 1);
    assert_int_equal(r->steps[0].model, 1);
    assert_int_equal(r->retry.max_attempts, 9);
    assert_int_equal(r->deadline_ms, POLICY_NONE);
    assert_int_equal(r->line, 3); /* the model's */
    struct policy_query q = {.model = SLICE("b"), .api = POLICY_API_MESSAGES};
    bool known;
    assert_ptr_equal(policy_match(p, &q, &known), r);
    policy_unref(p);
}

static void test_price_version_depends_on_the_price_alone(void **state)
{
    (void)state;
    struct policy *a =
        fixture_load("version: 1\n" FIXTURE_BACKEND
                     "models: {m: {backend: local, price: {input: 1, output: 2}}}\n");
    struct policy *b = fixture_load(
        "version: 1\n" FIXTURE_BACKEND
        "models: {n: {backend: local, context: 5, price: {output: 2.0, input: 1.00}}}\n");
    assert_string_equal(a->models[0].prices[0].version, b->models[0].prices[0].version);
    assert_string_not_equal(a->version, b->version);
    policy_unref(a);
    policy_unref(b);
}

/* A file in a fresh folder, and a policy beside it that refers to it by a relative path. */
static void test_key_file(void **state)
{
    (void)state;
    char dir[] = "/tmp/weir-policy-XXXXXX", path[64], key[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/weir.yaml", dir);
    snprintf(key, sizeof key, "%s/key", dir);
    FILE *f = fopen(key, "w");
    fputs("  sk-from-file\r\n\n", f);
    fclose(f);
    f = fopen(path, "w");
    fputs(
        "version: 1\nbackends: {a: {dialect: openai, url: 'http://127.0.0.1/v1', key_file: key}}\n"
        "models: {m: {backend: a, price: {input: 0, output: 0}}}\n"
        "tenants: {t: {keys: [{file: key}]}}\n",
        f);
    fclose(f);
    struct diags d;
    struct policy *p;
    diags_init(&d);
    assert_int_equal(policy_load_file(path, NULL, &d, &p), ERR_OK);
    assert_string_equal(p->backends[0].key, "sk-from-file");
    assert_int_equal(p->tenants[0].key_count, 1);
    assert_int_equal(p->tenants[0].keys[0].sha256[0],
                     0x36); /* printf %s sk-from-file | sha256sum */
    policy_unref(p);
    unlink(key);
    assert_int_equal(policy_load_file(path, NULL, &d, &p), ERR_INVALID_POLICY);
    assert_null(p);
    diags_clear(&d);
    diags_init(&d);
    struct policy_load_options no_secrets = {.resolve_secrets = false};
    assert_int_equal(policy_load_file(path, &no_secrets, &d, &p), ERR_OK);
    assert_null(p->backends[0].key);
    assert_int_equal(p->tenants[0].key_count, 0);
    policy_unref(p);
    diags_clear(&d);
    unlink(path);
    rmdir(dir);
}

static void test_unreadable_file(void **state)
{
    (void)state;
    struct diags d;
    struct policy *p;
    char line[512];
    diags_init(&d);
    assert_int_equal(policy_load_file("/nonexistent/weir.yaml", NULL, &d, &p), ERR_NOT_FOUND);
    assert_null(p);
    assert_int_equal(d.count, 1);
    diag_format(&d.items[0], line, sizeof line);
    assert_string_equal(line,
                        "/nonexistent/weir.yaml: error: cannot be read: No such file or directory");
    assert_int_equal(policy_load_file("/tmp", NULL, &d, &p), ERR_NOT_FOUND); /* a folder */
    diags_clear(&d);
}

static void test_too_large(void **state)
{
    (void)state;
    size_t n = ((size_t)4 << 20) + 1;
    char *text = malloc(n);
    memset(text, '#', n);
    struct diags d;
    struct policy *p;
    diags_init(&d);
    assert_int_equal(policy_load_text(slice_make(text, n), "big.yaml", NULL, &d, &p),
                     ERR_INVALID_POLICY);
    assert_int_equal(d.errors, 1);
    diags_clear(&d);
    free(text);
}

static void test_refcount(void **state)
{
    (void)state;
    struct policy *p =
        fixture_load("version: 1\n" FIXTURE_BACKEND
                     "models: {m: {backend: local, price: {input: 1, output: 2}}}\n");
    assert_ptr_equal(policy_ref(p), p);
    policy_unref(p);
    assert_string_equal(p->models[0].name, "m");
    policy_unref(p);
    policy_unref(NULL);
}

static void read_example(const char *name, char *out, size_t out_bytes, size_t *n)
{
    char path[320];
    snprintf(path, sizeof path, "policies/examples/%s", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    *n = fread(out, 1, out_bytes, f);
    fclose(f);
}

static enum err load_bytes(const char *text, size_t n, size_t *warnings)
{
    struct policy_load_options options = {.getenv_fn = fixture_getenv, .resolve_secrets = true};
    struct diags d;
    struct policy *p;
    diags_init(&d);
    enum err e = policy_load_text(slice_make(text, n), "example.yaml", &options, &d, &p);
    assert_true((e == ERR_OK) == (p != NULL) && (e == ERR_OK) == (d.errors == 0));
    *warnings = d.count - d.errors;
    policy_unref(p);
    diags_clear(&d);
    return e;
}

static void test_examples(void **state)
{
    (void)state;
    DIR *dir = opendir("policies/examples");
    assert_non_null(dir);
    int seen = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        char text[16384];
        size_t n, warnings;
        if (!strstr(e->d_name, ".yaml"))
            continue;
        read_example(e->d_name, text, sizeof text, &n);
        if (load_bytes(text, n, &warnings) != ERR_OK || warnings)
            fail_msg("%s is not clean", e->d_name);
        seen++;
    }
    closedir(dir);
    assert_true(seen >= 6);
}

/* Cut anywhere, and with any one byte replaced, a file gives a policy or diagnostics, never both or
 * neither. */
static void damage(const char *example)
{
    char text[16384];
    size_t n, warnings;
    read_example(example, text, sizeof text, &n);
    for (size_t cut = 0; cut <= n; cut += 3)
        load_bytes(text, cut, &warnings);
    static const char noise[] = {'\0', '\t', '\n', '{', '*', '&', '\xff', ':', '"', '-'};
    for (size_t i = 0; i < n; i += 7) {
        char was = text[i];
        text[i] = noise[i / 7 % sizeof noise];
        load_bytes(text, n, &warnings);
        text[i] = was;
    }
}

static void test_damaged(void **state)
{
    (void)state;
    damage("tenants.yaml");
    damage("local-engines.yaml");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_everything_written),
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_servers),
        cmocka_unit_test(test_discover),
        cmocka_unit_test(test_models_by_name),
        cmocka_unit_test(test_price_version_depends_on_the_price_alone),
        cmocka_unit_test(test_key_file),
        cmocka_unit_test(test_unreadable_file),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_refcount),
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
