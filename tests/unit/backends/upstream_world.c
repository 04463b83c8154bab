/* The worker's upstream, its exchanges, scripts and the run of a table. */
#include "tests/unit/backends/upstream_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"

#define MAX_TESTS 64

struct cert_authority fixture_authority;
char fixture_ca_path[] = "/tmp/weir-test-ca-XXXXXX";

uint64_t fnv(uint64_t h, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * UINT64_C(1099511628211);
    return h;
}

static void act_on_others(struct probe *p)
{
    if (p->abort_other)
        upstream_abort(&p->abort_other->call);
    if (p->start_other) {
        struct probe *other = p->start_other;

        p->start_other = NULL;
        probe_start(other);
    }
}

static void on_head(struct upstream_call *c, const struct http1_head *head)
{
    struct probe *p = CONTAINER_OF(c, struct probe, call);
    const struct http1_header *h = http1_find(head, SLICE("x-test"));

    assert_false(p->starting);
    assert_int_equal(p->heads + p->dones, 0);
    assert_true(upstream_active(c));
    p->heads++;
    p->status = head->status;
    if (h)
        snprintf(p->header, sizeof p->header, "%.*s", SLICE_ARG(h->value));
    act_on_others(p);
    if (p->pause_in_head)
        upstream_pause(c);
    if (p->abort_in_head)
        upstream_abort(c);
}

_Atomic int fixture_data_calls; /* for scripts, which run in threads of their own */

static void on_data(struct upstream_call *c, struct slice data)
{
    struct probe *p = CONTAINER_OF(c, struct probe, call);

    assert_false(p->starting);
    assert_int_equal(p->heads, 1);
    assert_int_equal(p->dones, 0);
    assert_false(c->paused);
    assert_true(data.n > 0);
    fixture_data_calls++;
    p->pieces++;
    p->received += data.n;
    p->hash = fnv(p->hash, data.p, data.n);
    if (!p->count_only)
        assert_int_equal(buf_append_slice(&p->body, data), ERR_OK);
    act_on_others(p);
    if (p->pause_in_data)
        upstream_pause(c);
    if (p->abort_in_data) {
        upstream_abort(c);
        p->hash = fnv(p->hash, data.p,
                      data.n); /* the view outlives the abort until the callback returns */
    }
}

static void on_done(struct upstream_call *c, const struct upstream_result *r)
{
    struct probe *p = CONTAINER_OF(c, struct probe, call);

    assert_false(p->starting);
    assert_int_equal(p->dones, 0);
    assert_non_null(r->why);
    p->dones++;
    p->result = *r;
    snprintf(p->why, sizeof p->why, "%s", r->why);
    act_on_others(p);
}

static const struct upstream_handler handler = {on_head, on_data, on_done};

struct probe *probe_new(struct fixture *f)
{
    struct probe *p = calloc(1, sizeof *p);

    assert_non_null(p);
    p->f = f;
    buf_init(&p->body, 64 * 1024 * 1024);
    p->hash = UINT64_C(14695981039346656037);
    p->target = (struct upstream_target){
        .backend = "test",
        .tls = f->mode.tls,
        .host = "127.0.0.1",
        .port = f->server ? server_port(f->server) : 0,
        .authority = "model.test:1234",
        .force_curl = f->mode.curl,
        .tls_ca_file = fixture_ca_path,
        .tls_verify = true,
        .max_idle_connections = 300,
    };
    p->req = (struct upstream_request){
        .target = &p->target,
        .method = SLICE("POST"),
        .path = SLICE("/v1/chat/completions"),
        .body = p->body_pieces,
        .body_count = 1,
        .timeouts = {10000, 10000, 10000, 20000},
        .max_response_bytes = 64 * 1024 * 1024,
    };
    p->body_pieces[0] = SLICE("{}");
    return p;
}

void probe_free(struct probe *p)
{
    upstream_abort(&p->call);
    buf_clear(&p->body);
    free(p);
}

void probe_start(struct probe *p)
{
    p->starting = true;
    upstream_start(p->f->up, &p->call, &handler, &p->req);
    p->starting = false;
    assert_true(upstream_active(&p->call));
}

void fixture_turn(struct fixture *f)
{
    struct timeval tv = {0, 5000};

    event_base_loopexit(f->base, &tv);
    event_base_loop(f->base, EVLOOP_ONCE);
}

void fixture_run_ms(struct fixture *f, int64_t ms)
{
    int64_t end_us = clock_mono_us() + ms * 1000;

    while (clock_mono_us() < end_us)
        fixture_turn(f);
}

void probe_finish(struct probe *p)
{
    WAIT_UNTIL(p->f, p->dones == 1);
    assert_false(upstream_active(&p->call));
    assert_true(p->result.total_us >= 0);
}

void fixture_serve(struct fixture *f, server_script script, void *ctx)
{
    f->server = server_start(
        f->mode.tls ? cert_server_context(&fixture_authority, "DNS:localhost,IP:127.0.0.1") : NULL,
        script, ctx);
}

static void *open_fixture(const struct mode *m)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->mode = *m;
    f->base = event_base_new();
    f->stats = stats_new();
    f->up = upstream_new(f->base, f->stats);
    return f;
}

static int setup(void **state)
{
    *state = open_fixture(*state);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    upstream_free(f->up);
    if (f->server)
        server_stop(f->server);
    stats_free(f->stats);
    event_base_free(f->base);
    free(f);
    return 0;
}

struct probe *probe_exchange(struct fixture *f)
{
    struct probe *p = probe_new(f);

    probe_start(p);
    probe_finish(p);
    return p;
}

void probe_assert_body(struct probe *p, const char *text)
{
    struct slice got = buf_slice(&p->body);

    assert_int_equal(got.n, strlen(text));
    assert_memory_equal(got.p, text, got.n);
}

/* ---- scripts ---- */

void script_reply(struct peer *p, void *ctx)
{
    while (peer_request(p) && peer_puts(p, ctx))
        continue;
}

void script_reply_close(struct peer *p, void *ctx)
{
    if (peer_request(p))
        peer_puts(p, ctx);
}

void script_drip(struct peer *p, void *ctx)
{
    while (peer_request(p) && peer_drip(p, ctx))
        continue;
}

void script_stall(struct peer *p, void *ctx)
{
    if (peer_request(p) && peer_puts(p, ctx))
        peer_wait_gone(p);
}

void script_cut(struct peer *p, void *ctx)
{
    if (peer_request(p))
        peer_puts(p, ctx);
    peer_cut(p);
}

int occurrences(const char *text, const char *what)
{
    int n = 0;

    for (const char *at = text; (at = strcasestr(at, what)); at++)
        n++;
    return n;
}

/* ---- the run ---- */

static bool applies(unsigned where, const struct mode *m)
{
    return (where & (m->curl ? CURL : NATIVE)) && (where & (m->tls ? TLS : PLAIN));
}

int upstream_world_run(const char *group, const struct upstream_test *table, size_t count, int argc,
                       char **argv)
{
    static const struct mode modes[] = {{"http1 plain", false, false},
                                        {"http1 tls", false, true},
                                        {"curl plain", true, false},
                                        {"curl tls", true, true}};
    static struct CMUnitTest tests[4 * MAX_TESTS];
    static char names[4 * MAX_TESTS][96];
    size_t n = 0;
    int fd = mkstemp(fixture_ca_path), failed;

    if (fd < 0 || count > MAX_TESTS)
        return 1;
    close(fd);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    cert_authority_init(&fixture_authority, "weir test fixture_authority");
    cert_authority_write(&fixture_authority, fixture_ca_path);
    for (size_t m = 0; m < 4; m++) {
        for (size_t t = 0; t < count; t++) {
            if (!applies(table[t].where, &modes[m]))
                continue;
            snprintf(names[n], sizeof names[n], "%s (%s)", table[t].name, modes[m].name);
            tests[n] = (struct CMUnitTest){.name = names[n],
                                           .test_func = table[t].fn,
                                           .setup_func = setup,
                                           .teardown_func = teardown,
                                           .initial_state = (void *)(uintptr_t)&modes[m]};
            n++;
        }
    }
    failed = _cmocka_run_group_tests(group, tests, n, NULL, NULL);
    cert_authority_clear(&fixture_authority);
    unlink(fixture_ca_path);
    return failed;
}
