/* Pause, resume and abort: rules of upstream.h, for both transports, plain and TLS
 * (upstream_world.h). */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "tests/unit/backends/upstream_world.h"

/* ---- tests: pause, resume ---- */

struct flood {
    _Atomic bool sent_all;
    uint64_t hash;
};

static void script_flood(struct peer *p, void *ctx)
{
    struct flood *flood = ctx;
    char *bytes = malloc(MANY_BYTES);

    if (bytes && peer_request(p)) {
        for (size_t i = 0; i < MANY_BYTES; i++)
            bytes[i] = (char)(i * 2654435761u >> 13);
        flood->hash = fnv(UINT64_C(14695981039346656037), bytes, MANY_BYTES);
        peer_puts(p, "HTTP/1.1 200 OK\r\nContent-Length: 20971520\r\n\r\n");
        flood->sent_all = peer_send(p, bytes, MANY_BYTES);
    }
    free(bytes);
}

static void test_pause_bounds_and_resume_completes(void **state)
{
    struct fixture *f = *state;
    struct flood flood = {.sent_all = false};
    struct probe *p;
    uint64_t before;

    fixture_serve(f, script_flood, &flood);
    p = probe_new(f);
    p->count_only = true;
    p->req.timeouts.between_bytes_ms = 150; /* stands still while paused */
    p->pause_in_data = true;
    probe_start(p);
    WAIT_UNTIL(f, p->received > 0);
    before = p->received;
    fixture_run_ms(f, 400);
    assert_int_equal(p->received, before);
    assert_false(flood.sent_all); /* 20 MB did not fit anywhere: nobody swallows them */
    upstream_pause(&p->call);     /* twice is once */
    for (int i = 0; i < 50 && p->dones == 0; i++) { /* one piece per resume */
        before = p->received;
        upstream_resume(&p->call);
        assert_int_equal(p->received, before); /* not inside the call */
        WAIT_UNTIL(f, p->received > before);
    }
    p->pause_in_data = false;
    upstream_resume(&p->call);
    probe_finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    assert_int_equal(p->received, MANY_BYTES);
    assert_true(p->hash == flood.hash);
    probe_free(p);
    upstream_close_idle(f->up);
    WAIT_UNTIL(f, server_live(f->server) == 0); /* it writes to our stack */
}

static void test_pause_in_head(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_reply, OK_REPLY);
    p = probe_new(f);
    p->pause_in_head = p->pause_in_data = true;
    probe_start(p);
    WAIT_UNTIL(f, p->heads == 1);
    fixture_run_ms(f, 60);
    assert_int_equal(p->received + (uint64_t)p->dones, 0);
    upstream_resume(&p->call);
    upstream_pause(&p->call);
    fixture_run_ms(f, 30);
    assert_int_equal(p->received + (uint64_t)p->dones, 0);
    upstream_resume(&p->call);
    WAIT_UNTIL(f, p->received == 5);
    fixture_run_ms(f, 60);
    assert_int_equal(p->dones, 0); /* the last piece paused: the end waits too */
    upstream_resume(&p->call);
    probe_finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    probe_assert_body(p, "hello");
    probe_free(p);
}

static void test_pause_before_head(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_reply, OK_REPLY);
    p = probe_new(f);
    probe_start(p);
    upstream_pause(&p->call);
    fixture_run_ms(f, 100);
    assert_int_equal(p->received + (uint64_t)p->dones, 0);
    upstream_resume(&p->call);
    probe_finish(p);
    probe_assert_body(p, "hello");
    probe_free(p);
}

/* The peer's end while paused is found on resume, behind the bytes that came before it. */
static void test_end_while_paused(void **state)
{
    struct fixture *f = *state;

    for (int cut = 0; cut < 2; cut++) {
        struct probe *p;

        fixture_serve(f, script_cut,
                      cut ? "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello" : OK_REPLY);
        p = probe_new(f);
        p->pause_in_head = true;
        probe_start(p);
        WAIT_UNTIL(f, p->heads == 1 && server_live(f->server) == 0);
        fixture_run_ms(f, 20);
        assert_int_equal(p->dones, 0);
        upstream_resume(&p->call);
        probe_finish(p);
        assert_int_equal(p->result.err, cut ? ERR_UPSTREAM_CUT : ERR_OK);
        probe_assert_body(p, "hello");
        probe_free(p);
        server_stop(f->server);
        f->server = NULL;
    }
}

static void test_total_runs_while_paused(void **state)
{
    struct fixture *f = *state;
    struct flood flood = {.sent_all = false};
    struct probe *p;

    fixture_serve(f, script_flood, &flood);
    p = probe_new(f);
    p->count_only = true;
    p->pause_in_data = true;
    p->req.timeouts.total_ms = 1500;
    probe_start(p);
    probe_finish(p);
    assert_int_equal(p->result.err, ERR_UPSTREAM_TOTAL_TIMEOUT);
    probe_free(p);
    WAIT_UNTIL(f, server_live(f->server) == 0); /* it writes to our stack */
}

/* ---- tests: abort ---- */

static void script_abort_states(struct peer *p, void *ctx)
{
    const char *text = ctx;

    if (peer_request(p) && peer_puts(p, text))
        assert_true(peer_wait_gone(p));
}

static void test_abort_at_each_state(void **state)
{
    struct fixture *f = *state;

    for (int when = 0; when < 5; when++) {
        const char *text = when < 3    ? ""
                           : when == 3 ? "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
                                       : "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel";
        struct probe *p;
        int64_t from_us;
        int pieces;

        fixture_serve(f, script_abort_states, (void *)(uintptr_t)text);
        p = probe_new(f);
        probe_start(p);
        if (when == 1)
            fixture_turn(f);
        if (when == 2)
            WAIT_UNTIL(f, server_live(f->server) == 1);
        if (when == 3)
            WAIT_UNTIL(f, p->heads == 1);
        if (when == 4)
            WAIT_UNTIL(f, p->received == 3);
        pieces = p->heads + p->pieces;
        from_us = clock_mono_us();
        upstream_abort(&p->call);
        upstream_abort(&p->call);
        assert_false(upstream_active(&p->call));
        while (server_live(f->server) > 0) /* without the loop: closed at once */
            assert_true(clock_mono_us() - from_us < LIMIT_US / 4);
        fixture_run_ms(f, 20);
        assert_int_equal(p->heads + p->pieces, pieces);
        assert_int_equal(p->dones, 0);
        probe_free(p);
        server_stop(f->server);
        f->server = NULL;
    }
}

static void test_abort_inside_callbacks(void **state)
{
    struct fixture *f = *state;

    for (int where = 0; where < 2; where++) {
        struct probe *p;

        fixture_serve(
            f, script_abort_states,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n");
        p = probe_new(f);
        p->abort_in_head = where == 0;
        p->abort_in_data = where == 1;
        probe_start(p);
        WAIT_UNTIL(f, where == 0 ? p->heads == 1 : p->pieces == 1);
        WAIT_UNTIL(f, server_live(f->server) == 0);
        assert_int_equal(p->dones, 0);
        assert_int_equal(p->pieces, where);
        probe_free(p);
        server_stop(f->server);
        f->server = NULL;
    }
}

/* The callbacks of one call abort another and start a third. */
static void test_others_inside_callbacks(void **state)
{
    struct fixture *f = *state;
    struct probe *first, *victim, *next, *last;

    fixture_serve(f, script_reply, OK_REPLY);
    first = probe_new(f);
    victim = probe_new(f);
    next = probe_new(f);
    last = probe_new(f);
    victim->pause_in_head = true;
    probe_start(victim);
    WAIT_UNTIL(f, victim->heads == 1);
    first->abort_other = victim;
    first->start_other = next;
    next->start_other = last;
    probe_start(first);
    probe_finish(first);
    probe_finish(next);
    probe_finish(last);
    assert_int_equal(victim->dones + victim->pieces, 0);
    assert_int_equal(first->result.err | next->result.err | last->result.err, ERR_OK);
    probe_free(first);
    probe_free(victim);
    probe_free(next);
    probe_free(last);
}

static void test_free_with_calls_in_flight(void **state)
{
    struct fixture *f = *state;
    struct probe *p[6];

    fixture_serve(f, script_stall, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel");
    for (int i = 0; i < 6; i++) {
        p[i] = probe_new(f);
        p[i]->pause_in_data = i % 2;
        if (i == 5)
            p[i]->target.host = "localhost";
        probe_start(p[i]);
    }
    WAIT_UNTIL(f, p[0]->received == 3 && p[1]->received == 3);
    probe_start((p[4]->dones = 0, upstream_abort(&p[4]->call), p[4]));
    upstream_free(f->up);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(p[i]->dones, 0);
        assert_false(upstream_active(&p[i]->call));
        probe_free(p[i]);
    }
    f->up = upstream_new(f->base, f->stats);
}

/* ---- the table ---- */

static const struct upstream_test table[] = {
#define T(fn, where)                                                                               \
    {                                                                                              \
#fn, fn, where                                                                             \
    }
    T(test_pause_bounds_and_resume_completes, EVERY),
    T(test_pause_in_head, EVERY),
    T(test_pause_before_head, EVERY),
    T(test_end_while_paused, EVERY),
    T(test_total_runs_while_paused, EVERY),
    T(test_abort_at_each_state, EVERY),
    T(test_abort_inside_callbacks, EVERY),
    T(test_others_inside_callbacks, EVERY),
    T(test_free_with_calls_in_flight, EVERY),
#undef T
};

int main(int argc, char **argv)
{
    return upstream_world_run("upstream_flow", table, sizeof table / sizeof *table, argc, argv);
}
