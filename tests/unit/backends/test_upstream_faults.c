/* Servers that are not reached, silent, broken or hostile: rules of upstream.h, for both
 * transports, plain and TLS (upstream_world.h). */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/unit/backends/upstream_world.h"

/* ---- tests: never reached ---- */

static void test_refused(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd =
        socket(AF_INET, SOCK_STREAM, 0); /* bound, not listening: nobody else can listen there */
    struct probe *p;

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    p = probe_new(f);
    p->target.port = ntohs(a.sin_port);
    probe_start(p);
    probe_finish(p);
    assert_int_equal(p->result.err, ERR_UPSTREAM_CONNECT);
    assert_false(p->result.sent);
    assert_int_equal(p->result.first_byte_us, -1);
    assert_int_equal(p->heads, 0);
    probe_free(p);
    close(fd);
}

static void test_names(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_reply, OK_REPLY);
    for (int i = 0; i < 2; i++) {
        p = probe_new(f);
        p->target.host = "localhost"; /* perhaps ::1 first, where nobody listens */
        probe_start(p);
        probe_finish(p);
        assert_int_equal(p->result.err, ERR_OK);
        probe_free(p);
    }
    for (int i = 0; i < 2; i++) { /* the second from the cache */
        p = probe_new(f);
        p->target.host = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.invalid";
        probe_start(p);
        probe_finish(p);
        assert_int_equal(p->result.err, ERR_UPSTREAM_DNS);
        assert_false(p->result.sent);
        probe_free(p);
    }
    p = probe_new(f);
    p->target.host = "localhost";
    upstream_close_idle(f->up);
    probe_start(p);
    upstream_abort(&p->call); /* perhaps while the name is being asked for */
    fixture_run_ms(f, 20);
    assert_int_equal(p->heads + p->dones, 0);
    probe_free(p);
}

/* A listener whose queue is full does not answer SYNs. */
static void test_connect_timeout(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0), fillers[4];
    struct probe *p;

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&a, sizeof a);
    }
    p = probe_new(f);
    p->target.port = ntohs(a.sin_port);
    p->req.timeouts.connect_ms = 150;
    probe_start(p);
    probe_finish(p);
    assert_int_equal(p->result.err, ERR_UPSTREAM_CONNECT_TIMEOUT);
    assert_false(p->result.sent);
    assert_in_range(p->result.total_us, 149000, 150000 + LATE_US);
    probe_free(p);
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    close(fd);
}

static void test_bad_request_head(void **state)
{
    const struct http1_header bad[] = {
        {SLICE("X"), SLICE("a\r\nInjected: 1")},
        {SLICE("X\n"), SLICE("a")},
        {SLICE("X Y"), SLICE("a")},
        {SLICE(""), SLICE("a")},
        {SLICE("X"), {"a\0b", 3}},
    };
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_reply, OK_REPLY);
    for (size_t i = 0; i <= sizeof bad / sizeof *bad; i++) {
        p = probe_new(f);
        if (i < sizeof bad / sizeof *bad) {
            p->req.headers = &bad[i];
            p->req.header_count = 1;
        } else {
            p->req.path = SLICE("/a b HTTP/1.1\r\nX: y");
        }
        probe_start(p);
        probe_finish(p);
        assert_int_equal(p->result.err, ERR_UPSTREAM_PROTOCOL);
        assert_false(p->result.sent);
        probe_free(p);
    }
    assert_int_equal(server_connections(f->server), 0);
}

/* ---- tests: timeouts and broken answers ---- */

static void expect_timeout(struct fixture *f, server_script script, const char *text,
                           struct upstream_timeouts t, enum err err, int heads)
{
    struct probe *p;

    fixture_serve(f, script, (void *)(uintptr_t)text);
    p = probe_new(f);
    p->req.timeouts = t;
    probe_start(p);
    probe_finish(p);
    assert_int_equal(p->result.err, err);
    assert_int_equal(p->heads, heads);
    assert_true(p->result.sent);
    assert_in_range(p->result.total_us, 199000, 2000000 + LATE_US);
    probe_free(p);
    WAIT_UNTIL(f, server_live(f->server) == 0); /* the connection is closed, not pooled */
    server_stop(f->server);
    f->server = NULL;
}

static void test_silence(void **state)
{
    struct fixture *f = *state;
    struct upstream_timeouts first = {60000, 200, 60000, 60000},
                             between = {60000, 60000, 200, 60000},
                             total = {60000, 60000, 60000,
                                      1000}; /* the request has been sent by then */

    expect_timeout(f, script_stall, "", first, ERR_UPSTREAM_FIRST_BYTE_TIMEOUT, 0);
    expect_timeout(f, script_stall, "HTTP/1.1 103 Early Hints\r\n\r\n", first,
                   ERR_UPSTREAM_FIRST_BYTE_TIMEOUT, 0);
    expect_timeout(f, script_stall, "HTTP/1.1 200 OK\r\nContent-", between,
                   ERR_UPSTREAM_IDLE_TIMEOUT, 0);
    expect_timeout(f, script_stall, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel", between,
                   ERR_UPSTREAM_IDLE_TIMEOUT, 1);
    expect_timeout(f, script_stall, "", total, ERR_UPSTREAM_TOTAL_TIMEOUT, 0);
}

static void script_drip_body(struct peer *p, void *ctx)
{
    (void)ctx;
    if (!peer_request(p) || !peer_puts(p, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"))
        return;
    while (peer_puts(p, "x"))
        usleep(20 * 1000);
}

/* Activity keeps an answer alive between bytes, but not beyond the total. */
static void test_drip(void **state)
{
    struct upstream_timeouts t = {60000, 60000, 1500, 2000};

    expect_timeout(*state, script_drip_body, NULL, t, ERR_UPSTREAM_TOTAL_TIMEOUT, 1);
}

static void expect_broken(struct fixture *f, const char *reply, enum err err, int heads)
{
    struct probe *p;

    fixture_serve(f, script_cut, (void *)(uintptr_t)reply);
    p = probe_exchange(f);
    if (p->result.err != err || p->heads != heads)
        fail_msg("%s: got %s (%s), %d heads", reply, err_name(p->result.err), p->why, p->heads);
    assert_true(p->result.sent);
    assert_true(p->why[0] != '\0');
    probe_free(p);
    server_stop(f->server);
    f->server = NULL;
}

static void test_cut(void **state)
{
    struct fixture *f = *state;

    expect_broken(f, "", ERR_UPSTREAM_RESET, 0);
    expect_broken(f, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", ERR_UPSTREAM_RESET, 0);
    expect_broken(f, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", ERR_UPSTREAM_CUT, 1);
    expect_broken(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                  ERR_UPSTREAM_CUT, 1);
    expect_broken(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
                  ERR_UPSTREAM_CUT, 1);
    expect_broken(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", ERR_UPSTREAM_CUT,
                  1);
    if (f->mode.tls) /* without close_notify anyone on the path may have ended it */
        expect_broken(f, "HTTP/1.1 200 OK\r\n\r\nuntil close", ERR_UPSTREAM_CUT, 1);
}

static void script_reset_in_body(struct peer *p, void *ctx)
{
    int before = fixture_data_calls;

    if (peer_request(p))
        peer_puts(p, ctx);
    for (int i = 0; i < 60000 && fixture_data_calls == before; i++)
        usleep(1000); /* the reset must not overtake the head */
    peer_reset(p);
}

static void test_reset_in_body(void **state)
{
    static const char *const heads[] = {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
                                        "HTTP/1.1 200 OK\r\n\r\nhello"};
    struct fixture *f = *state;

    for (int i = 0; i < 2; i++) {
        struct probe *p;

        fixture_serve(f, script_reset_in_body, (void *)(uintptr_t)heads[i]);
        p = probe_exchange(f);
        assert_int_equal(p->result.err, ERR_UPSTREAM_CUT);
        probe_assert_body(p, "hello");
        probe_free(p);
        server_stop(f->server);
        f->server = NULL;
    }
}

static void test_malformed(void **state)
{
    static const struct {
        const char *reply;
        int heads;
    } cases[] = {
        {"SSH-2.0-OpenSSH_9\r\n\r\n", 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", 0},
        {"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 5\r\n\r\nhello", 0},
        {"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", 0},
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 0},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", 1},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_broken(f, cases[i].reply, ERR_UPSTREAM_PROTOCOL, cases[i].heads);
}

static void script_huge_head(struct peer *p, void *ctx)
{
    int bytes = *(int *)ctx;
    char line[1024];

    if (!peer_request(p) || !peer_puts(p, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"))
        return;
    memset(line, 'h', sizeof line);
    memcpy(line, "X: ", 3);
    memcpy(line + sizeof line - 2, "\r\n", 2);
    for (; bytes > 0; bytes -= (int)sizeof line) {
        if (!peer_send(p, line, sizeof line))
            return;
    }
    peer_puts(p, "\r\nhello");
    peer_wait_gone(p);
}

static void test_huge_head(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 2; i++) {
        int bytes = i ? 100 * 1024 : 40 * 1024;
        struct probe *p;

        fixture_serve(f, script_huge_head, &bytes);
        p = probe_exchange(f);
        assert_int_equal(p->result.err, i ? ERR_UPSTREAM_PROTOCOL : ERR_OK);
        assert_int_equal(p->heads, !i);
        probe_free(p);
        upstream_close_idle(f->up);
        server_stop(f->server);
        f->server = NULL;
    }
}

static void test_too_large(void **state)
{
    static const char *const replies[] = {
        OK_REPLY,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhello",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < 3; i++) {
        for (int limit = 4; limit <= 5; limit++) {
            struct probe *p;

            fixture_serve(f, i == 2 ? script_reply_close : script_reply,
                          (void *)(uintptr_t)replies[i]);
            p = probe_new(f);
            p->req.max_response_bytes = limit;
            probe_start(p);
            probe_finish(p);
            assert_int_equal(p->result.err, limit == 5 ? ERR_OK : ERR_UPSTREAM_TOO_LARGE);
            assert_true(p->received <= (uint64_t)limit);
            probe_free(p);
            upstream_close_idle(f->up);
            server_stop(f->server);
            f->server = NULL;
        }
    }
}

static void script_early_answer(struct peer *p, void *ctx)
{
    (void)ctx;
    if (peer_read_head(p) &&
        peer_puts(p, "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge"))
        peer_wait_gone(
            p); /* reads on, as servers do for a while, so that no reset overtakes the answer */
}

/* The answer comes while the body is still going out: it counts, and the connection is not used
 * again. */
static void test_early_answer(void **state)
{
    struct fixture *f = *state;
    char *big = calloc(1, MANY_BYTES);
    struct probe *p;

    fixture_serve(f, script_early_answer, NULL);
    p = probe_new(f);
    p->body_pieces[0] = slice_make(big, MANY_BYTES);
    probe_start(p);
    probe_finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    assert_int_equal(p->status, 413);
    probe_assert_body(p, "large");
    WAIT_UNTIL(f, server_live(f->server) == 0);
    probe_free(p);
    free(big);
}

static void script_answer_and_reset(struct peer *p, void *ctx)
{
    (void)ctx;
    if (peer_read_head(p) &&
        peer_puts(p, "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge"))
        usleep(20 * 1000);
    peer_reset(p);
}

/* A ruder server: it answers, and resets because it does not want the body. The answer still
 * counts. */
static void test_early_answer_and_reset(void **state)
{
    struct fixture *f = *state;
    char *big = calloc(1, MANY_BYTES);
    struct probe *p;

    fixture_serve(f, script_answer_and_reset, NULL);
    p = probe_new(f);
    p->body_pieces[0] = slice_make(big, MANY_BYTES);
    probe_start(p);
    /* The reset is to be there before we read: so we stand still, but for the moments that a slow
     * handshake needs to go on. */
    while (server_connections(f->server) == 0 || server_live(f->server)) {
        fixture_run_ms(f, 5);
        for (int i = 0; i < 100 && server_live(f->server); i++)
            usleep(1000);
    }
    probe_finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    assert_int_equal(p->status, 413);
    probe_free(p);
    free(big);
}

/* ---- the table ---- */

static const struct upstream_test table[] = {
#define T(fn, where)                                                                               \
    {                                                                                              \
#fn, fn, where                                                                             \
    }
    T(test_refused, EVERY),
    T(test_names, EVERY),
    T(test_connect_timeout, EVERY),
    T(test_bad_request_head, EVERY),
    T(test_silence, EVERY),
    T(test_drip, EVERY),
    T(test_cut, EVERY),
    T(test_reset_in_body, EVERY),
    T(test_malformed, EVERY),
    T(test_huge_head, EVERY),
    T(test_too_large, EVERY),
    T(test_early_answer, EVERY),
    T(test_early_answer_and_reset, EVERY),
#undef T
};

int main(int argc, char **argv)
{
    return upstream_world_run("upstream_faults", table, sizeof table / sizeof *table, argc, argv);
}
