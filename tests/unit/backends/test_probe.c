/* Active health checks against a scripted server on a real socket: down after two failures, back
 * after one success, verdicts over a reconfiguration, no quarrel with passive ejection. */
#include <event2/event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "backends/probe.h"
#include "base/clock.h"
#include "tests/unit/backends/peer.h"

#define LIMIT_US INT64_C(120000000)

struct world {
    struct event_base *base;
    struct upstream *up;
    struct prober *prober;
    struct server *server;
    _Atomic int status, seen, with_key; /* the server's */
    struct endpoint_shared shared;
    struct probe_spec spec;
    char authority[64];
};

static void serve(struct peer *p, void *ctx)
{
    struct world *w = ctx;
    char reply[128];

    while (peer_request(p)) {
        int status = w->status;

        w->seen++;
        if (strstr(p->head, "Authorization: Bearer k1\r\n") &&
            strncmp(p->head, "GET /health HTTP/1.1\r\n", 22) == 0)
            w->with_key++;
        if (status == 0) { /* silence */
            peer_wait_gone(p);
            return;
        }
        snprintf(reply, sizeof reply, "HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok", status);
        if (!peer_puts(p, reply))
            return;
    }
}

static void begin(struct world *w, int status)
{
    memset(w, 0, sizeof *w);
    w->status = status;
    w->base = event_base_new();
    w->up = upstream_new(w->base, NULL);
    w->prober = prober_new(w->base, w->up);
    w->server = server_start(NULL, serve, w);
    snprintf(w->authority, sizeof w->authority, "127.0.0.1:%d", (int)server_port(w->server));
    w->spec = (struct probe_spec){
        .target = {.backend = "b",
                   .host = "127.0.0.1",
                   .port = server_port(w->server),
                   .authority = w->authority,
                   .max_idle_connections = 1},
        .path = "/health",
        .authorization = "Bearer k1",
        .interval_ms = 20,
        .timeout_ms = 150,
        .shared = &w->shared,
    };
}

static void end(struct world *w)
{
    prober_free(w->prober);
    upstream_free(w->up);
    event_base_free(w->base);
    server_stop(w->server);
}

static struct prober_info about(const struct world *w)
{
    struct prober_info i;

    assert_true(prober_about(w->prober, &w->shared, &i));
    return i;
}

static void run_until_probes(struct world *w, int64_t probes)
{
    int64_t end_us = clock_mono_us() + LIMIT_US;

    while (about(w).probes < probes) {
        assert_true(clock_mono_us() < end_us);
        event_base_loop(w->base, EVLOOP_ONCE);
    }
}

static bool healthy(const struct world *w)
{
    return endpoint_healthy(&w->shared, clock_mono_us());
}

static void test_down_and_back(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 200);
    prober_configure(w.prober, &w.spec, 1);
    run_until_probes(&w, 3);
    assert_true(healthy(&w));
    assert_int_equal(about(&w).fails, 0);
    assert_int_equal(w.with_key, w.seen);
    w.status = 500;
    run_until_probes(&w, about(&w).probes + 1);
    while (about(&w).fails == 0)
        run_until_probes(&w, about(&w).probes + 1);
    assert_true(healthy(&w)); /* once is no verdict */
    run_until_probes(&w, about(&w).probes + 1);
    assert_false(healthy(&w));
    assert_true(about(&w).down);
    assert_int_equal(about(&w).status, 500);
    for (int i = 0; i < 3; i++) { /* for as long as it lasts */
        int64_t before_us = clock_mono_us();
        run_until_probes(&w, about(&w).probes + 1);
        assert_true(w.shared.ejected_until_us > before_us + 4000000);
    }
    w.status = 204;
    int64_t fails = about(&w).fails;
    while (about(&w).status != 204)
        run_until_probes(&w, about(&w).probes + 1);
    assert_true(about(&w).fails <= fails + 1);
    assert_true(healthy(&w));
    assert_int_equal(w.shared.ejected_until_us, 0);
    end(&w);
}

static void expect_down(int status, enum err err)
{
    struct world w;

    begin(&w, status);
    prober_configure(w.prober, &w.spec, 1);
    run_until_probes(&w, 2);
    assert_false(healthy(&w));
    assert_int_equal(about(&w).err, err);
    end(&w);
}

static void test_what_counts_as_failure(void **state)
{
    (void)state;
    expect_down(503, ERR_OK);
    expect_down(404, ERR_OK);
    expect_down(302, ERR_OK);
    expect_down(0, ERR_UPSTREAM_TOTAL_TIMEOUT);
}

static void test_nobody_there(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 200);
    server_stop(w.server);
    prober_configure(w.prober, &w.spec, 1);
    run_until_probes(&w, 2);
    assert_false(healthy(&w));
    assert_int_equal(about(&w).err, ERR_UPSTREAM_CONNECT);
    assert_int_equal(about(&w).status, 0);
    w.server = server_start(NULL, serve, &w);
    end(&w);
    assert_true(healthy(&w)); /* nobody is left who would give it back */
}

static void test_passive_ejection_is_left_alone(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 200);
    for (int i = 0; i < 3; i++) {
        atomic_fetch_add(&w.shared.in_flight, 1);
        endpoint_release(&w.shared, ERR_UPSTREAM_RESET, -1, clock_mono_us() + 1000000000);
    }
    assert_false(healthy(&w));
    prober_configure(w.prober, &w.spec, 1);
    run_until_probes(&w, 3);
    assert_false(healthy(&w));
    end(&w);
    assert_false(healthy(&w));
}

static void test_reconfiguration(void **state)
{
    struct prober_info none;
    struct world w;

    (void)state;
    begin(&w, 500);
    prober_configure(w.prober, &w.spec, 1);
    run_until_probes(&w, 2);
    assert_false(healthy(&w));
    w.spec.interval_ms = 30;
    prober_configure(w.prober, &w.spec, 1);
    prober_configure(w.prober, &w.spec, 1);
    assert_false(healthy(&w)); /* kept */
    assert_true(about(&w).down);
    run_until_probes(&w, 4);
    prober_configure(w.prober, NULL, 0);
    assert_true(healthy(&w)); /* taken back */
    assert_false(prober_about(w.prober, &w.shared, &none));
    prober_configure(w.prober, &w.spec, 1);
    run_until_probes(&w, 1);
    end(&w); /* with a probe in flight, perhaps */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_down_and_back),
        cmocka_unit_test(test_what_counts_as_failure),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_passive_ejection_is_left_alone),
        cmocka_unit_test(test_reconfiguration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
