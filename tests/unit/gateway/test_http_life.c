/* gateway/http_server: clients that leave, clients that are slow, draining, stopping, many
 * connections. */
#include "http_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"

#define H    "Host: h\r\n"
#define HOLD "GET /hold HTTP/1.1\r\n" H "\r\n"
#define ECHO "GET /echo HTTP/1.1\r\n" H "\r\n"

static struct fixture *prepare(void)
{
    struct fixture *f = malloc(sizeof *f);
    fixture_init(f);
    return f;
}

static struct fixture *begin(void)
{
    struct fixture *f = prepare();
    fixture_start(f);
    return f;
}

static void end(struct fixture *f)
{
    fixture_stop(f);
    free(f);
}

static void send_hold(struct fixture *f, struct client *c)
{
    size_t before = f->held_count;
    assert_true(client_send(f, c, SLICE(HOLD)));
    UNTIL(f, f->held_count == before + 1);
}

/* ---- clients that leave ---- */

static void leaving_before_a_request(void **state)
{
    static const char *const parts[] = {
        "", "GET /hol", "POST /hold HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\n12345",
        "POST /hold HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\n12"};
    struct fixture *f = begin();
    (void)state;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        for (int reset = 0; reset <= 1; reset++) {
            struct client *c = client_open(f);
            client_send(f, c, slice_str(parts[i]));
            fixture_poll(f);
            assert_int_equal(f->connections, 1);
            reset ? client_reset(c) : client_close(c);
            UNTIL(f, f->connections == 0);
        }
    assert_false(journal_has(f, "request"));
    assert_false(journal_has(f, "gone")); /* no handler was at work */
    /* What had a head is accounted for. */
    assert_true(journal_has(f, "finished 499 client closed;"));
    assert_true(journal_has(f, "finished 499 client reset;"));
    assert_int_equal(f->finished, 4);
    assert_int_equal(http_server_active(f->server), 0);
    assert_int_equal(fixture_metric(f, STAT_DROPPED, "client closed"), 3);
    end(f);
}

/* The expensive moment: the model is at work and nobody waits for it any more. */
static void leaving_while_the_handler_works(void **state)
{
    struct fixture *f = begin();
    (void)state;
    for (int reset = 0; reset <= 1; reset++) {
        struct client *c = client_open(f);
        send_hold(f, c);
        reset ? client_reset(c) : client_close(c);
        UNTIL(f, f->held_count == 0); /* nothing else would end it */
        UNTIL(f, f->connections == 0);
    }
    assert_string_equal(f->journal,
                        "head /hold;request /hold;gone /hold;finished 499 client closed;"
                        "head /hold;request /hold;gone /hold;finished 499 client reset;");
    end(f);
}

static void leaving_in_mid_stream(void **state)
{
    struct fixture *f = begin();
    (void)state;
    for (int reset = 0; reset <= 1; reset++) {
        struct client *c = client_open(f);
        send_hold(f, c);
        http_reply_begin(f->held[0], 200, NULL, 0);
        http_reply_write(f->held[0], SLICE("data"));
        UNTIL(f, buf_len(&c->in) > 0); /* closing with unread bytes would be a reset */
        reset ? client_reset(c) : client_close(c);
        UNTIL(f, f->held_count == 0);
    }
    assert_true(journal_has(f, "gone /hold;finished 200 client closed;"));
    assert_true(journal_has(f, "gone /hold;finished 200 client reset;"));
    end(f);
}

/* The write finds out first: on_gone follows, but not from inside the call; a handler that ends its
 * reply meanwhile is not called. */
static void leaving_is_noticed_by_a_write(void **state)
{
    struct fixture *f = begin();
    (void)state;
    for (int ended = 0; ended <= 1; ended++) {
        struct client *c = client_open(f);
        send_hold(f, c);
        struct http_exchange *x = f->held[0];
        http_reply_begin(x, 200, NULL, 0);
        http_reply_write(x, SLICE("data"));
        client_reset(c);
        f->journal[f->journal_bytes = 0] = '\0';
        assert_false(http_reply_write(x, SLICE("more")));
        assert_false(http_reply_write(x, SLICE("and more")));
        assert_string_equal(f->journal, "");
        if (ended) {
            http_reply_end(x);
            f->held_count = 0;
        }
        UNTIL(f, f->connections == 0);
        assert_string_equal(f->journal, ended ? "finished 200 client reset;"
                                              : "gone /hold;finished 200 client reset;");
    }
    end(f);
}

/* With the read-ahead buffer full nothing is read any more; FIN and RST are still seen, and the
 * loop sleeps meanwhile. */
static void leaving_while_reading_is_paused(void **state)
{
    enum { BYTES = 150000 };
    struct fixture *f = begin();
    char *noise = malloc(BYTES);
    (void)state;
    memset(noise, 'n', BYTES);
    for (int reset = 0; reset <= 1; reset++) {
        struct client *c = client_open(f);
        send_hold(f, c);
        for (int i = 0; i < 3; i++) {
            client_send(f, c, slice_make(noise, BYTES / 3));
            fixture_poll(f);
        }
        struct rusage before, after;
        getrusage(RUSAGE_SELF, &before);
        int64_t began_us = clock_mono_us();
        int turns = 0;
        while (clock_mono_us() - began_us < 100000) {
            event_base_loop(f->base, EVLOOP_ONCE);
            turns++;
        }
        getrusage(RUSAGE_SELF, &after);
        /* The tick's turns, one per ms; a spinning loop makes tens of thousands. */
        assert_true(turns < 1000);
        reset ? client_reset(c) : client_close(c);
        UNTIL(f, f->held_count == 0);
        UNTIL(f, f->connections == 0);
    }
    free(noise);
    end(f);
}

/* A FIN that comes while a finished reply is still leaving does not spoil it. */
static void fin_behind_a_finished_reply(void **state)
{
    enum { BYTES = 20 << 20 };
    struct fixture *f = begin();
    struct client *c = client_open(f);
    char *body = calloc(1, BYTES);
    struct reply r;
    (void)state;
    c->deaf = true;
    send_hold(f, c);
    answer(f->held[0], 200, slice_make(body, BYTES));
    f->held_count = 0;
    shutdown(c->fd, SHUT_WR);
    for (int i = 0; i < 10; i++)
        fixture_turn(f);
    c->deaf = false;
    UNTIL(f, client_reply(c, false, &r));
    assert_int_equal(buf_len(&r.body), BYTES);
    reply_clear(&r);
    expect_closed(f, c);
    assert_false(journal_has(f, "gone"));
    assert_true(journal_has(f, "finished 200;"));
    free(body);
    end(f);
}

/* ---- slow clients ---- */

/* One byte per millisecond, or later on a machine that has other things to do: how long the last
 * one had to wait. */
static int64_t trickle(struct fixture *f, struct client *c, const char *byte, int64_t *last_us)
{
    int64_t now_us = clock_mono_us(), since_us = now_us - *last_us;
    if (since_us >= 1000) {
        client_send(f, c, slice_str(byte));
        *last_us = now_us;
    }
    fixture_turn(f);
    return since_us;
}

static void timeouts(void **state)
{
    struct fixture *f = prepare();
    (void)state;
    f->options.header_timeout_ms = 60;
    f->options.body_timeout_ms = 60;
    f->options.idle_timeout_ms = 60;
    fixture_start(f);

    struct client *idle = client_open(f);
    expect_closed(f, idle); /* silently */

    struct client *head = client_open(f);
    int64_t began_us = clock_mono_us(), last_us = 0;
    /* A trickle does not help: the clock runs from the first byte. */
    while (!head->eof && clock_mono_us() - began_us < 60000000)
        trickle(f, head, "G", &last_us);
    assert_true(head->eof);
    expect_reply(f, head, 408, NULL);

    struct client *body = client_open(f);
    int64_t longest_us = 0;
    began_us = last_us = clock_mono_us();
    client_send(f, body, SLICE("POST /echo HTTP/1.1\r\n" H "Content-Length: 10000000\r\n\r\n"));
    while (clock_mono_us() - began_us < 200000) { /* progress does help here */
        int64_t waited_us = trickle(f, body, "b", &last_us);
        longest_us = waited_us > longest_us ? waited_us : longest_us;
    }
    assert_true(!body->eof || longest_us >= 50000); /* it was this test that stood still */
    expect_reply(f, body, 408, NULL);
    expect_closed(f, body);
    assert_true(journal_has(f, "finished 408;"));

    struct client *waiting = client_open(f); /* none of these clocks runs while the handler works */
    send_hold(f, waiting);
    began_us = clock_mono_us();
    while (clock_mono_us() - began_us < 200000)
        fixture_turn(f);
    answer(f->held[0], 200, SLICE("late"));
    f->held_count = 0;
    expect_reply(f, waiting, 200, "late");
    end(f);
}

static void write_timeout(void **state)
{
    struct fixture *f = prepare();
    char *chunk = calloc(1, 1 << 20);
    (void)state;
    f->options.write_timeout_ms = 100;
    fixture_start(f);
    struct client *c = client_open(f);
    c->deaf = true;
    send_hold(f, c);
    http_reply_begin(f->held[0], 200, NULL, 0);
    while (http_reply_write(f->held[0], slice_make(chunk, 1 << 20)))
        ;
    UNTIL(f, f->connections == 0);
    assert_true(journal_has(f, "gone /hold;finished 200 write timeout;"));
    free(chunk);
    end(f);
}

/* ---- draining and stopping ---- */

static void drain(void **state)
{
    struct fixture *f = begin();
    struct client *idle = client_open(f), *half = client_open(f), *busy = client_open(f),
                  *sent = client_open(f);
    struct reply r;
    (void)state;
    client_send(f, idle, SLICE(ECHO));
    expect_reply(f, idle, 200, NULL);
    client_send(f, sent, SLICE(ECHO));
    expect_reply(f, sent, 200, NULL);
    client_send(f, half, SLICE("POST /echo HTTP/1.1\r\n" H "Content-Le"));
    fixture_poll(f);
    send_hold(f, busy);
    assert_int_equal(http_server_active(f->server), 2);

    struct client *queued = client_open(f); /* in the backlog, its request with it */
    client_send(f, queued, SLICE(ECHO));
    client_send(f, sent, SLICE(ECHO)); /* in the socket when the drain begins */
    http_server_drain(f->server);
    expect_closed(f, idle);
    expect_reply(f, queued, 200, NULL);
    expect_closed(f, queued);
    expect_reply(f, sent, 200, NULL);
    expect_closed(f, sent);

    client_send(f, half, SLICE("ngth: 2\r\n\r\nok"));
    UNTIL(f, client_reply(half, false, &r));
    assert_int_equal(r.status, 200);
    assert_true(slice_eq(reply_header(&r, "connection"), SLICE("close")));
    reply_clear(&r);
    expect_closed(f, half);

    assert_int_equal(http_server_active(f->server), 1);
    answer(f->held[0], 200, SLICE("done"));
    f->held_count = 0;
    expect_reply(f, busy, 200, "done");
    expect_closed(f, busy);
    assert_int_equal(http_server_active(f->server), 0);
    UNTIL(f, f->connections == 0);
    end(f);
}

static void stop_in_every_state(void **state)
{
    static const char *const parts[] = {
        "",
        "GET /ho",
        "POST /hold HTTP/1.1\r\n" H "Content-Length: 30\r\n\r\n12345",
        "POST /hold HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\n12",
        HOLD,
        HOLD ECHO "GET /mo",
        ECHO};
    struct fixture *f = begin();
    struct client *lingering, *blocked;
    char *big = calloc(1, 20 << 20);
    (void)state;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        client_send(f, client_open(f), slice_str(parts[i]));
    UNTIL(f, f->held_count == 2);
    http_reply_begin(f->held[1], 200, NULL, 0);
    http_reply_write(f->held[1], SLICE("data"));

    lingering = client_open(f);
    client_send(f, lingering, SLICE("POST /refuse HTTP/1.1\r\n" H "Content-Length: 100\r\n\r\n"));
    expect_reply(f, lingering, 404, NULL);
    blocked = client_open(f);
    blocked->deaf = true;
    send_hold(f, blocked);
    answer(f->held[2], 200, slice_make(big, 20 << 20)); /* over, but not sent */
    f->journal[f->journal_bytes = 0] = '\0';
    struct client *deferred = client_open(f);
    send_hold(f, deferred);
    answer(f->held[3], 200, SLICE("x")); /* over, its turn not come */

    http_server_free(f->server);
    f->server = NULL;
    f->held_count = 0;
    assert_int_equal(f->connections, 0);
    assert_false(journal_has(f, "gone"));
    assert_true(journal_has(f, "finished 499 server stopped;"));
    assert_true(journal_has(f, "finished 200 server stopped;"));
    free(big);
    end(f);
}

/* ---- many ---- */

static void a_thousand_connections(void **state)
{
    enum { N = 1000 };
    struct fixture *f = begin();
    struct client **c = calloc(N, sizeof *c);
    (void)state;
    for (int i = 0; i < N; i++) {
        c[i] = client_open(f);
        client_send(f, c[i], SLICE(HOLD));
        if (i % 100 == 0)
            fixture_poll(f);
    }
    UNTIL(f, f->held_count == N);
    assert_int_equal(http_server_active(f->server), N);
    assert_int_equal(f->connections, N);
    assert_int_equal(fixture_metric(f, STAT_CONNECTIONS, NULL), N);
    for (size_t i = 0; i < N; i++)
        answer(f->held[i], 200, SLICE("ok"));
    f->held_count = 0;
    for (int i = 0; i < N; i++) {
        expect_reply(f, c[i], 200, "ok");
        client_close(c[i]);
    }
    UNTIL(f, f->connections == 0);
    assert_int_equal(fixture_metric(f, STAT_CONNECTIONS_TOTAL, NULL), N);
    assert_int_equal(fixture_metric(f, STAT_CONNECTIONS, NULL), 0);
    free(c);
    end(f);
}

static void too_many_connections(void **state)
{
    struct fixture *f = prepare();
    (void)state;
    f->options.max_connections = 2;
    fixture_start(f);
    struct client *a = client_open(f), *b = client_open(f), *over = client_open(f);
    UNTIL(f, over->eof || over->reset);
    assert_int_equal(fixture_metric(f, STAT_DROPPED, "too many connections"), 1);
    client_send(f, a, SLICE(ECHO));
    expect_reply(f, a, 200, NULL);
    client_close(b);
    UNTIL(f, f->connections == 1);
    struct client *again = client_open(f);
    client_send(f, again, SLICE(ECHO));
    expect_reply(f, again, 200, NULL);
    end(f);
}

/* Out of descriptors: nothing spins, nothing is refused, accepting goes on when there are some
 * again. */
static void out_of_descriptors(void **state)
{
    struct fixture *f = begin();
    struct rlimit before, tight;
    (void)state;
    struct client *a = client_open(f), *b = client_open(f);
    getrlimit(RLIMIT_NOFILE, &before);
    int next = dup(0);
    close(next);
    tight = (struct rlimit){.rlim_cur = (rlim_t)next + 1, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &tight); /* room for one more */
    client_send(f, a, SLICE(ECHO));
    client_send(f, b, SLICE(ECHO));
    expect_reply(f, a, 200, NULL);
    int64_t began_us = clock_mono_us();
    int turns = 0;
    while (clock_mono_us() - began_us < 50000) {
        fixture_turn(f);
        turns++;
    }
    assert_true(turns < 500);
    assert_int_equal(f->connections, 1);
    client_close(a);
    setrlimit(RLIMIT_NOFILE, &before);
    expect_reply(f, b, 200, NULL);
    end(f);
}

static void addresses(void **state)
{
    struct fixture *f = begin(), *second = prepare();
    struct err_text t = {""};
    (void)state;
    second->options.port = http_server_port(f->server);
    assert_null(http_server_new(&second->options, &t)); /* taken */
    assert_non_null(strstr(t.s, "127.0.0.1"));
    second->options.host = "no-such-host.invalid";
    assert_null(http_server_new(&second->options, &t));
    assert_non_null(strstr(t.s, "no-such-host.invalid"));
    end(second);
    end(f);
    /* shared on purpose */
    f = prepare();
    second = prepare();
    f->options.reuse_port = second->options.reuse_port = true;
    fixture_start(f);
    second->options.port = http_server_port(f->server);
    fixture_start(second);
    assert_int_equal(http_server_port(second->server), http_server_port(f->server));
    end(second);
    end(f);
}

int main(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 4096 && files.rlim_max >= 4096) {
        files.rlim_cur = 4096;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaving_before_a_request),
        cmocka_unit_test(leaving_while_the_handler_works),
        cmocka_unit_test(leaving_in_mid_stream),
        cmocka_unit_test(leaving_is_noticed_by_a_write),
        cmocka_unit_test(leaving_while_reading_is_paused),
        cmocka_unit_test(fin_behind_a_finished_reply),
        cmocka_unit_test(timeouts),
        cmocka_unit_test(write_timeout),
        cmocka_unit_test(drain),
        cmocka_unit_test(stop_in_every_state),
        cmocka_unit_test(a_thousand_connections),
        cmocka_unit_test(too_many_connections),
        cmocka_unit_test(out_of_descriptors),
        cmocka_unit_test(addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
