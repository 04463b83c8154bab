/* gateway/http_server, the reading half: requests in every form and cut at every byte, what is
 * refused and how. */
#include "http_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"

#define H "Host: h\r\n"

/* One exchange on a fresh connection. */
struct row {
    const char *request;
    int status;
    const char *body; /* NULL: an error body */
    bool closes;
};

static const struct row rows[] = {
    {"GET /echo HTTP/1.1\r\n" H "\r\n", 200, "GET /echo? ", false},
    {"\r\nGET /echo?a=b HTTP/1.1\r\n" H "\r\n", 200, "GET /echo?a=b ", false},
    {"GET http://other/echo?a HTTP/1.1\r\n" H "\r\n", 200, "GET /echo?a ", false},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", 200, "OPTIONS *? ", false},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello", 200, "POST /echo? hello", false},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 200, "POST /echo? ", false},
    {"POST /echo HTTP/1.1\r\n" H
     "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n",
     200, "POST /echo? abcde", false},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, "POST /echo? ",
     false},
    {"GET /echo HTTP/1.1\r\n" H "Connection: close\r\n\r\n", 200, "GET /echo? ", true},
    {"GET /echo HTTP/1.0\r\n\r\n", 200, "GET /echo? ", true},
    {"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, "GET /echo? ", false},
    {"POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nok", 200, "POST /echo? ok", true},
    {"POST /echo HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok", 200,
     "POST /echo? ok", false},
    /* refused in on_head */
    {"GET /refuse HTTP/1.1\r\n" H "\r\n", 404, "{\"error\":\"no /refuse here\",\"param\":\"path\"}",
     false},
    /* refused by the server */
    {"GET /echo HTTP/1.1\r\n\r\n", 400, NULL, true},
    {"GET /echo HTTP/1.1\r\n" H H "\r\n", 400, NULL, true},
    {"GET /echo HTTP/1.1\n" H "\r\n", 400, NULL, true},
    {"GET  /echo HTTP/1.1\r\n" H "\r\n", 400, NULL, true},
    {"GET /echo HTTP/1.1\r\n" H " folded\r\n\r\n", 400, NULL, true},
    {"GET /echo HTTP/1.1\r\n" H "A : b\r\n\r\n", 400, NULL, true},
    {"GET /a#b HTTP/1.1\r\n" H "\r\n", 400, NULL, false}, /* framing is sound */
    {"GET echo HTTP/1.1\r\n" H "\r\n", 400, NULL, false},
    {"GET * HTTP/1.1\r\n" H "\r\n", 400, NULL, false},
    {"GET /echo HTTP/2.0\r\n" H "\r\n", 505, NULL, true},
    {"GET /echo HTTP/1.1\r\n" H "Expect: a-miracle\r\n\r\n", 417, NULL, true},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, NULL, true},
    /* ways to smuggle a second request */
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, NULL, true},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400, NULL, true},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n", 400, NULL, true},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n", 400, NULL, true},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\n", 400, NULL, true},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
     NULL, true},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
     400, NULL, true},
    {"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, NULL, true},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400,
     NULL, true},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400,
     NULL, true},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", 400, NULL, true},
    {"POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", 400, NULL,
     true},
    /* a refused body is not read as the next request */
    {"POST /refuse HTTP/1.1\r\n" H "Content-Length: 100\r\n\r\nGET /echo HTTP/1.1\r\n" H "\r\n",
     404, NULL, true},
    {"POST /refuse HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nGET /echo HTTP/1.1\r\n" H
     "\r\n",
     404, NULL, true},
    {"POST /echo HTTP/1.1\r\n" H "Content-Length: 999999999999\r\n\r\nGET /echo HTTP/1.1\r\n" H
     "\r\n",
     413, NULL, true},
};

/* An early refusal may come before the client has sent everything; a 100 Continue before the real
 * reply is skipped. */
static void expect_row(struct fixture *f, struct client *c, const struct row *row)
{
    if (strstr(row->request, "100-continue")) {
        struct slice in = buf_slice(&c->in);
        if (slice_starts(in, SLICE("HTTP/1.1 100 Continue\r\n\r\n")))
            buf_consume(&c->in, strlen("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    expect_reply(f, c, row->status, row->body);
    if (row->closes) {
        expect_closed(f, c);
        return;
    }
    assert_true(client_send(f, c, SLICE("GET /echo?next HTTP/1.1\r\n" H "\r\n")));
    expect_reply(f, c, 200, "GET /echo?next ");
}

static void rows_sent_in_parts(struct fixture *f, const struct row *row, size_t first,
                               bool bytewise)
{
    struct slice all = slice_str(row->request);
    struct client *c = client_open(f);
    fixture_poll(f);
    size_t pos = 0;
    while (pos < all.n) {
        size_t n = bytewise ? 1 : pos == 0 ? first : all.n - pos;
        if (!client_send(f, c, slice_make(all.p + pos, n)) && !row->closes)
            fail_msg("closed early: %s", row->request);
        fixture_poll(f);
        pos += n;
    }
    expect_row(f, c, row);
    client_close(c);
    UNTIL(f, f->connections == 0);
}

static void with_fixture(void (*fn)(struct fixture *f))
{
    struct fixture *f = malloc(sizeof *f);
    fixture_init(f);
    fixture_start(f);
    fn(f);
    fixture_stop(f);
    free(f);
}

static void each_row(struct fixture *f, bool bytewise)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        rows_sent_in_parts(f, &rows[i], strlen(rows[i].request), bytewise);
    assert_int_equal(http_server_active(f->server), 0);
}

static void whole(struct fixture *f)
{
    each_row(f, false);
}

static void byte_by_byte(struct fixture *f)
{
    each_row(f, true);
}

static void requests_whole(void **state)
{
    (void)state;
    with_fixture(whole);
}

static void requests_byte_by_byte(void **state)
{
    (void)state;
    with_fixture(byte_by_byte);
}

static void requests_split_at_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture *f = malloc(sizeof *f);
        fixture_init(f);
        fixture_start(f);
        for (size_t split = 1; split < strlen(rows[i].request); split++)
            rows_sent_in_parts(f, &rows[i], split, false);
        fixture_stop(f);
        free(f);
    }
}

static const char pipeline[] =
    "GET /echo?1 HTTP/1.1\r\n" H "\r\n"
    "POST /echo?2 HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc"
    "POST /echo?3 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    "GET /refuse HTTP/1.1\r\n" H "\r\n"
    "GET /echo?5 HTTP/1.1\r\n" H "Connection: close\r\n\r\n"
    "GET /echo?never HTTP/1.1\r\n" H "\r\n";

static void expect_pipeline(struct fixture *f, struct client *c)
{
    expect_reply(f, c, 200, "GET /echo?1 ");
    expect_reply(f, c, 200, "POST /echo?2 abc");
    expect_reply(f, c, 200, "POST /echo?3 x");
    expect_reply(f, c, 404, NULL);
    expect_reply(f, c, 200, "GET /echo?5 ");
    expect_closed(f, c);
}

static void pipelined_split(struct fixture *f)
{
    for (size_t split = 1; split < sizeof pipeline; split++) {
        struct client *c = client_open(f);
        fixture_poll(f);
        client_send(f, c, slice_make(pipeline, split));
        fixture_poll(f);
        client_send(f, c, slice_make(pipeline + split, sizeof pipeline - 1 - split));
        expect_pipeline(f, c);
        client_close(c);
    }
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    with_fixture(pipelined_split);
}

/* The second waits for the first, also when that is answered much later and from outside
 * on_request. */
static void pipelined_behind_a_waiting_one(struct fixture *f)
{
    struct client *c = client_open(f);
    client_send(f, c,
                SLICE("GET /hold HTTP/1.1\r\n" H "\r\nGET /echo?2 HTTP/1.1\r\n" H "\r\nGET /ho"));
    UNTIL(f, f->held_count == 1);
    for (int i = 0; i < 5; i++)
        fixture_turn(f);
    assert_false(journal_has(f, "request /echo"));
    assert_int_equal(buf_len(&c->in), 0);
    answer(f->held[0], 200, SLICE("first"));
    assert_false(journal_has(f, "request /echo")); /* not from inside the reply call */
    f->held_count = 0;
    expect_reply(f, c, 200, "first");
    expect_reply(f, c, 200, "GET /echo?2 ");
    client_send(f, c, SLICE("ld HTTP/1.1\r\n" H "\r\n"));
    UNTIL(f, f->held_count == 1);
    answer(f->held[0], 200, SLICE("third"));
    expect_reply(f, c, 200, "third");
}

static void pipelining_waits(void **state)
{
    (void)state;
    with_fixture(pipelined_behind_a_waiting_one);
}

/* More than the read-ahead buffer holds: reading pauses, nothing is lost, nothing is out of order.
 */
static void flood(struct fixture *f)
{
    enum { N = 10000 };
    struct client *c = client_open(f);
    size_t sent = 0, n = 0;
    char *all = malloc(N * 64);
    for (int i = 0; i < N; i++)
        n += (size_t)snprintf(all + n, 64, "GET /echo?%d HTTP/1.1\r\n" H "\r\n", i);
    client_send(f, c, SLICE("GET /hold HTTP/1.1\r\n" H "\r\n"));
    UNTIL(f, f->held_count == 1);
    while (sent < n &&
           sent < 200000) { /* above the 64 KB that are read ahead, below what the kernel takes */
        client_send(f, c, slice_make(all + sent, 10000));
        sent += 10000;
        fixture_poll(f);
    }
    answer(f->held[0], 200, SLICE("first"));
    expect_reply(f, c, 200, "first");
    client_send(f, c, slice_make(all + sent, n - sent));
    for (int i = 0; i < N; i++) {
        char expected[32];
        snprintf(expected, sizeof expected, "GET /echo?%d ", i);
        f->journal_bytes = 0;
        expect_reply(f, c, 200, expected);
    }
    free(all);
}

static void a_flood_of_pipelined_requests(void **state)
{
    (void)state;
    with_fixture(flood);
}

static void continue_100(struct fixture *f)
{
    struct client *c = client_open(f);
    struct reply r;
    client_send(
        f, c,
        SLICE("POST /echo HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
    UNTIL(f, client_reply(c, false, &r));
    assert_int_equal(r.status, 100);
    reply_clear(&r);
    assert_false(journal_has(f, "request"));
    client_send(f, c, SLICE("ok"));
    expect_reply(f, c, 200, "POST /echo? ok");

    /* a refusal comes instead of the 100, and the connection ends because the body may still follow
     */
    client_send(
        f, c,
        SLICE("POST /refuse HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
    expect_reply(f, c, 404, NULL);
    expect_closed(f, c);

    /* HTTP/1.0 knows no 100 */
    c = client_open(f);
    client_send(f, c,
                SLICE("POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
    fixture_poll(f);
    assert_int_equal(buf_len(&c->in), 0);
    client_send(f, c, SLICE("ok"));
    expect_reply(f, c, 200, "POST /echo? ok");
}

static void expectations(void **state)
{
    (void)state;
    with_fixture(continue_100);
}

static void head_request(struct fixture *f)
{
    struct client *c = client_open(f);
    struct reply r;
    client_send(f, c, SLICE("HEAD /echo HTTP/1.1\r\n" H "\r\n"));
    UNTIL(f, client_reply(c, true, &r));
    assert_int_equal(r.status, 200);
    assert_true(slice_eq(reply_header(&r, "content-length"), SLICE("12")));
    assert_true(slice_eq(reply_header(&r, "x-extra"), SLICE("yes")));
    reply_clear(&r);
    client_send(f, c, SLICE("GET /echo HTTP/1.1\r\n" H "\r\n"));
    expect_reply(f, c, 200, "GET /echo? ");
}

static void head_has_no_body(void **state)
{
    (void)state;
    with_fixture(head_request);
}

/* 20 MB with a length and in chunks: whole, unchanged, and with the next request behind it. */
static void big_bodies(struct fixture *f)
{
    enum { BYTES = 20 << 20, CHUNK = 40000 };
    char *body = malloc(BYTES), line[128];
    for (size_t i = 0; i < BYTES; i++)
        body[i] = (char)('a' + i * 2654435761u % 26);
    for (int chunked = 0; chunked <= 1; chunked++) {
        struct client *c = client_open(f);
        int n = snprintf(
            line, sizeof line, "POST /hold HTTP/1.1\r\n" H "%s%s\r\n\r\n",
            chunked ? "Transfer-Encoding: " : "Content-Length: ", chunked ? "chunked" : "20971520");
        assert_true(client_send(f, c, slice_make(line, (size_t)n)));
        for (size_t pos = 0; pos < BYTES; pos += CHUNK) {
            size_t take = BYTES - pos < CHUNK ? BYTES - pos : CHUNK;
            n = snprintf(line, sizeof line, "%zx\r\n", take);
            assert_true(!chunked || client_send(f, c, slice_make(line, (size_t)n)));
            assert_true(client_send(f, c, slice_make(body + pos, take)));
            assert_true(!chunked || client_send(f, c, SLICE("\r\n")));
        }
        assert_true(!chunked || client_send(f, c, SLICE("0\r\n\r\n")));
        assert_true(client_send(f, c, SLICE("GET /echo?next HTTP/1.1\r\n" H "\r\n")));
        UNTIL(f, f->held_count == 1);
        struct slice got = http_exchange_body(f->held[0]);
        assert_int_equal(got.n, BYTES);
        assert_memory_equal(got.p, body, BYTES);
        answer(f->held[--f->held_count], 200, SLICE("got it"));
        expect_reply(f, c, 200, "got it");
        expect_reply(f, c, 200, "GET /echo?next ");
    }
    free(body);
}

static void bodies_of_20_mb(void **state)
{
    (void)state;
    with_fixture(big_bodies);
}

static void just_too_large(struct fixture *f)
{
    char body[1001], line[64];
    memset(body, 'b', sizeof body);
    for (int over = 0; over <= 1; over++) {
        struct client *c = client_open(f);
        int n = snprintf(line, sizeof line,
                         "POST /echo HTTP/1.1\r\n" H "Content-Length: %d\r\n\r\n", 1000 + over);
        client_send(f, c, slice_make(line, (size_t)n));
        client_send(f, c, slice_make(body, 1000 + (size_t)over));
        expect_reply(f, c, over ? 413 : 200, NULL);
        c = client_open(f);
        client_send(f, c,
                    SLICE("POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1f4\r\n"));
        client_send(f, c, slice_make(body, 500));
        client_send(f, c, over ? SLICE("\r\n1f5\r\n") : SLICE("\r\n1f4\r\n"));
        client_send(f, c, slice_make(body, 500 + (size_t)over));
        client_send(f, c, SLICE("\r\n0\r\n\r\n"));
        expect_reply(f, c, over ? 413 : 200, NULL);
    }
}

/* The client is in the middle of sending 20 MB: it still reads the 413, no reset destroys it. */
static void refusal_in_mid_upload(struct fixture *f)
{
    char *body = calloc(1, 20 << 20);
    struct client *c = client_open(f);
    client_send(f, c, SLICE("POST /echo HTTP/1.1\r\n" H "Content-Length: 20971520\r\n\r\n"));
    client_send(f, c, slice_make(body, 20 << 20));
    expect_reply(f, c, 413, NULL);
    expect_closed(f, c);
    free(body);
}

static void bodies_too_large(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    (void)state;
    fixture_init(f);
    f->options.max_body_bytes = 1000;
    fixture_start(f);
    just_too_large(f);
    refusal_in_mid_upload(f);
    fixture_stop(f);
    free(f);
}

static void long_heads(struct fixture *f)
{
    char *filler = malloc(70000);
    memset(filler, 'x', 70000);
    /* max_header_bytes is 4096: one header too long, without end, and many small ones */
    struct client *c = client_open(f);
    client_send(f, c, SLICE("GET /echo HTTP/1.1\r\n" H "X: "));
    client_send(f, c, slice_make(filler, 4096));
    client_send(f, c, SLICE("\r\n\r\n"));
    expect_reply(f, c, 431, NULL);
    expect_closed(f, c);
    c = client_open(f);
    client_send(f, c, SLICE("GET /"));
    client_send(f, c, slice_make(filler, 70000));
    expect_reply(f, c, 431, NULL);
    expect_closed(f, c);
    c = client_open(f);
    client_send(f, c, SLICE("GET /echo HTTP/1.1\r\n" H));
    for (int i = 0; i < 101; i++)
        client_send(f, c, SLICE("A: b\r\n"));
    client_send(f, c, SLICE("\r\n"));
    expect_reply(f, c, 431, NULL);
    expect_closed(f, c);
    c = client_open(f);
    client_send(f, c, SLICE("GET /echo HTTP/1.1\r\n" H "X: "));
    client_send(f, c, slice_make(filler, 4000));
    client_send(f, c, SLICE("\r\n\r\n"));
    expect_reply(f, c, 200, NULL);
    free(filler);
}

static void heads_too_large(void **state)
{
    (void)state;
    with_fixture(long_heads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_whole),
        cmocka_unit_test(requests_byte_by_byte),
        cmocka_unit_test(requests_split_at_every_byte),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(pipelining_waits),
        cmocka_unit_test(a_flood_of_pipelined_requests),
        cmocka_unit_test(expectations),
        cmocka_unit_test(head_has_no_body),
        cmocka_unit_test(bodies_of_20_mb),
        cmocka_unit_test(bodies_too_large),
        cmocka_unit_test(heads_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
