/* Whole exchanges and the connections they leave: rules of upstream.h, for both transports, plain
 * and TLS (upstream_world.h). A test that means one transport only says so in its table entry. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/unit/backends/upstream_world.h"

/* ---- tests: the plain exchange ---- */

static void script_record(struct peer *p, void *ctx)
{
    struct seen *s = ctx;

    if (!peer_request(p))
        return;
    snprintf(s->head, sizeof s->head, "%s", p->head);
    s->body_bytes = p->body_bytes;
    memcpy(s->body, p->body, p->body_bytes < sizeof s->body ? p->body_bytes : sizeof s->body);
    peer_puts(p, "HTTP/1.1 201 Created\r\nX-Test:  a value \r\nContent-Length: 5\r\n\r\nhello");
}

static void test_exchange(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {.head = ""};
    const struct http1_header headers[] = {{SLICE("Authorization"), SLICE("Bearer x")},
                                           {SLICE("X-Empty"), SLICE("")},
                                           {SLICE("Content-Type"), SLICE("application/json")}};
    struct probe *p;

    fixture_serve(f, script_record, &seen);
    p = probe_new(f);
    p->req.headers = headers;
    p->req.header_count = 3;
    p->body_pieces[0] = SLICE("{\"a\":");
    p->body_pieces[1] = SLICE("");
    p->body_pieces[2] = SLICE("1");
    p->body_pieces[3] = SLICE("}");
    p->req.body_count = 4;
    probe_start(p);
    probe_finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    assert_int_equal(p->status, 201);
    assert_string_equal(p->header, "a value");
    probe_assert_body(p, "hello");
    assert_true(p->result.sent);
    assert_false(p->result.reused);
    assert_true(p->result.connect_us > 0);
    assert_in_range(p->result.first_byte_us, 1, p->result.total_us);

    assert_int_equal(strncmp(seen.head, "POST /v1/chat/completions HTTP/1.1\r\n", 36), 0);
    assert_int_equal(occurrences(seen.head, "\r\nHost: model.test:1234\r\n"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nHost:"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nContent-Length: 7\r\n"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nAccept-Encoding: identity\r\n"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nAuthorization: Bearer x\r\n"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nContent-Type: application/json\r\n"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nX-Empty:"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nExpect:"), 0);
    assert_int_equal(occurrences(seen.head, "\r\nUser-Agent:"), 0);
    assert_int_equal(occurrences(seen.head, "\r\nTransfer-Encoding:"), 0);
    assert_int_equal(seen.body_bytes, 7);
    assert_memory_equal(seen.body, "{\"a\":1}", 7);
    probe_free(p);
}

static void test_framings(void **state)
{
    static const struct {
        const char *reply, *body;
        int status;
    } cases[] = {
        {OK_REPLY, "hello", 200},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
         "chunked\r\n\r\n3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n",
         "hello", 200},
        {"HTTP/1.1 429 \r\nContent-Length: 0\r\n\r\n", "", 429},
        {"HTTP/1.1 204 No Content\r\n\r\n", "", 204},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" OK_REPLY,
         "hello", 200},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", 200},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int drip = 0; drip < 2; drip++) {
            struct probe *p;

            fixture_serve(f, drip ? script_drip : script_reply, (void *)(uintptr_t)cases[i].reply);
            for (int again = 0; again < 2; again++) {
                p = probe_exchange(f);
                assert_int_equal(p->result.err, ERR_OK);
                assert_int_equal(p->status, cases[i].status);
                probe_assert_body(p, cases[i].body);
                assert_int_equal(p->result.reused, again);
                probe_free(p);
            }
            assert_int_equal(server_connections(f->server), 1);
            upstream_close_idle(f->up);
            server_stop(f->server);
            f->server = NULL;
        }
    }
}

static void test_until_close(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_reply_close, "HTTP/1.1 200 OK\r\n\r\nuntil the end");
    p = probe_exchange(f);
    assert_int_equal(p->result.err, ERR_OK);
    probe_assert_body(p, "until the end");
    probe_free(p);
    p = probe_exchange(f);
    assert_false(p->result.reused);
    probe_free(p);
}

static void script_head_method(struct peer *p, void *ctx)
{
    (void)ctx;
    while (peer_request(p)) {
        bool head = strncmp(p->head, "HEAD ", 5) == 0;

        peer_puts(p, head ? "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" : OK_REPLY);
    }
}

static void test_head_and_get(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_head_method, NULL);
    for (int i = 0; i < 2; i++) {
        p = probe_new(f);
        p->req.method = i ? SLICE("GET") : SLICE("HEAD");
        p->req.body_count = 0;
        probe_start(p);
        probe_finish(p);
        assert_int_equal(p->result.err, ERR_OK);
        probe_assert_body(p, i ? "hello" : "");
        assert_int_equal(p->result.reused, i);
        probe_free(p);
    }
}

static void test_large_request(void **state)
{
    struct fixture *f = *state;
    struct probe *p;
    char *big = malloc(3 * 1024 * 1024);

    memset(big, 'x', 3 * 1024 * 1024);
    fixture_serve(f, script_reply, OK_REPLY);
    p = probe_new(f);
    p->body_pieces[0] = slice_make(big, 5);
    p->body_pieces[1] = slice_make(big, 3 * 1024 * 1024 - 7);
    p->body_pieces[2] = slice_make(big, 2);
    p->req.body_count = 3;
    for (int i = 0; i < 2; i++) {
        p->dones = p->heads = 0;
        probe_start(p);
        probe_finish(p);
        assert_int_equal(p->result.err, ERR_OK);
        assert_int_equal(p->result.reused, i);
    }
    probe_free(p);
    free(big);
}

/* ---- tests: connections ---- */

static void test_thousand_in_a_row(void **state)
{
    struct fixture *f = *state;

    fixture_serve(f, script_reply, OK_REPLY);
    for (int i = 0; i < 1000; i++) {
        struct probe *p = probe_exchange(f);

        assert_int_equal(p->result.err, ERR_OK);
        assert_int_equal(p->result.reused, i > 0);
        assert_true((p->result.connect_us == 0) == (i > 0));
        probe_free(p);
    }
    assert_int_equal(server_connections(f->server), 1);
}

static void test_many_at_once(void **state)
{
    enum { COUNT = 256 };
    struct fixture *f = *state;
    struct probe *p[COUNT];

    fixture_serve(f, script_reply, OK_REPLY);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++) {
            p[i] = probe_new(f);
            probe_start(p[i]);
        }
        for (int i = 0; i < COUNT; i++) {
            probe_finish(p[i]);
            assert_int_equal(p[i]->result.err, ERR_OK);
            probe_assert_body(p[i], "hello");
            probe_free(p[i]);
        }
    }
    assert_in_range(server_connections(f->server), 1, COUNT);
}

static void test_idle_limit(void **state)
{
    struct fixture *f = *state;
    struct probe *p[4];

    fixture_serve(f, script_reply, OK_REPLY);
    for (int i = 0; i < 4; i++) {
        p[i] = probe_new(f);
        p[i]->target.max_idle_connections = 1;
        probe_start(p[i]);
    }
    for (int i = 0; i < 4; i++) {
        probe_finish(p[i]);
        probe_free(p[i]);
    }
    /* On a slow machine an early one may be done, and reused, before the last begins. */
    assert_in_range(server_connections(f->server), 2, 4);
    WAIT_UNTIL(f, server_live(f->server) == 1); /* the others are closed at once */
}

static void test_no_keep_alive(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {.head = ""};
    struct probe *p;

    fixture_serve(f, script_record, &seen);
    p = probe_new(f);
    p->target.max_idle_connections = 0;
    probe_start(p);
    probe_finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    assert_int_equal(occurrences(seen.head, "\r\nConnection: close\r\n"), 1);
    WAIT_UNTIL(f, server_live(f->server) == 0);
    probe_free(p);
}

static void test_server_closes(void **state)
{
    static const char *const replies[] = {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < 2; i++) {
        fixture_serve(f, script_reply, (void *)(uintptr_t)replies[i]);
        for (int n = 0; n < 2; n++) {
            struct probe *p = probe_exchange(f);

            assert_int_equal(p->result.err, ERR_OK);
            assert_false(p->result.reused);
            probe_free(p);
        }
        assert_int_equal(server_connections(f->server), 2);
        server_stop(f->server);
        f->server = NULL;
    }
}

/* The server's FIN reaches an idle connection: it is dropped and nobody notices. */
static void test_idle_end_is_seen(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_reply_close, OK_REPLY);
    for (int i = 0; i < 3; i++) {
        p = probe_exchange(f);
        assert_int_equal(p->result.err, ERR_OK);
        assert_false(p->result.reused);
        probe_free(p);
        WAIT_UNTIL(f, server_live(f->server) == 0);
        fixture_run_ms(f, 10);
    }
}

static void script_stale(struct peer *p,
                         void *ctx) /* the first connection dies under its second request */
{
    int alive_from = *(int *)ctx;

    if (!peer_request(p))
        return;
    if (p->number >= alive_from || p->number == 0)
        peer_puts(p, OK_REPLY);
    if (p->number > 0 || !peer_request(p))
        return;
    peer_reset(p);
}

static void test_stale_reuse(void **state)
{
    struct fixture *f = *state;
    int alive_from = 1;
    struct probe *p;

    fixture_serve(f, script_stale, &alive_from);
    p = probe_exchange(f);
    assert_false(p->result.resent);
    probe_free(p);
    p = probe_exchange(f);
    assert_int_equal(p->result.err, ERR_OK);
    assert_false(p->result.reused);
    assert_true(p->result.resent);
    assert_true(p->result.connect_us > 0);
    probe_assert_body(p, "hello");
    assert_int_equal(server_connections(f->server), 2);
    probe_free(p);
}

static void test_stale_only_once(void **state)
{
    struct fixture *f = *state;
    int alive_from = 99;
    struct probe *p;

    fixture_serve(f, script_stale, &alive_from);
    p = probe_exchange(f);
    probe_free(p);
    p = probe_exchange(f);
    assert_int_equal(p->result.err, ERR_UPSTREAM_RESET);
    assert_int_equal(p->heads, 0);
    assert_true(p->result.sent);
    assert_int_equal(server_connections(f->server), 2);
    probe_free(p);
}

static void script_late_death(struct peer *p, void *ctx)
{
    (void)ctx;
    if (peer_request(p) && peer_puts(p, OK_REPLY) && peer_request(p))
        usleep(1200 * 1000);
    peer_reset(p);
}

/* A server that worked on the request for a while and then died is not asked again behind the
 * router's back. */
static void test_late_death_is_no_stale_reuse(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_late_death, NULL);
    p = probe_exchange(f);
    probe_free(p);
    p = probe_exchange(f);
    assert_int_equal(p->result.err, ERR_UPSTREAM_RESET);
    assert_true(p->result.reused);
    assert_int_equal(server_connections(f->server), 1);
    probe_free(p);
}

static void test_bytes_after_the_end(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_reply, OK_REPLY "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad");
    for (int i = 0; i < 3; i++) {
        p = probe_exchange(f);
        assert_int_equal(p->result.err, ERR_OK);
        probe_assert_body(p, "hello");
        assert_false(p->result.reused);
        probe_free(p);
    }
}

static void test_close_idle(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_reply, OK_REPLY);
    p = probe_exchange(f);
    probe_free(p);
    assert_int_equal(server_live(f->server), 1);
    upstream_close_idle(f->up);
    WAIT_UNTIL(f, server_live(f->server) == 0);
    p = probe_new(f);
    probe_start(p);
    upstream_close_idle(f->up); /* does not touch what is in use */
    probe_finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    probe_free(p);
}

static void test_two_backends_do_not_share(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_reply, OK_REPLY);
    p = probe_exchange(f);
    probe_free(p);
    p = probe_new(f);
    p->target.backend = "another";
    probe_start(p);
    probe_finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    assert_false(p->result.reused);
    probe_free(p);
}

/* ---- the table ---- */

static const struct upstream_test table[] = {
#define T(fn, where)                                                                               \
    {                                                                                              \
#fn, fn, where                                                                             \
    }
    T(test_exchange, EVERY),
    T(test_framings, EVERY),
    T(test_until_close, EVERY),
    T(test_head_and_get, EVERY),
    T(test_large_request, EVERY),
    T(test_thousand_in_a_row, EVERY),
    T(test_many_at_once, EVERY),
    T(test_idle_limit, NATIVE | PLAIN | TLS), /* libcurl counts over all targets */
    T(test_no_keep_alive, EVERY),
    T(test_server_closes, EVERY),
    T(test_idle_end_is_seen, EVERY),
    T(test_stale_reuse, EVERY),
    T(test_stale_only_once, EVERY),
    T(test_late_death_is_no_stale_reuse,
      NATIVE | PLAIN | TLS), /* libcurl tries again however late */
    T(test_bytes_after_the_end, EVERY),
    T(test_close_idle, EVERY),
    T(test_two_backends_do_not_share, NATIVE | PLAIN | TLS), /* libcurl knows hosts, not backends */
#undef T
};

int main(int argc, char **argv)
{
    return upstream_world_run("upstream", table, sizeof table / sizeof *table, argc, argv);
}
