/* gateway/http_server, the writing half: whole and streamed replies, back-pressure, errors, cut
 * answers. */
#include "http_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"

#define H    "Host: h\r\n"
#define HOLD "GET /hold HTTP/1.1\r\n" H "\r\n"

static struct fixture *begin(void)
{
    struct fixture *f = malloc(sizeof *f);
    fixture_init(f);
    fixture_start(f);
    return f;
}

static void end(struct fixture *f)
{
    fixture_stop(f);
    free(f);
}

static struct http_exchange *held(struct fixture *f, struct client *c, const char *request)
{
    assert_true(client_send(f, c, slice_str(request)));
    UNTIL(f, f->held_count == 1);
    return f->held[--f->held_count];
}

static const struct http1_header sse = {{"Content-Type", 12}, {"text/event-stream", 17}};

static void streamed_reply(void **state)
{
    struct fixture *f = begin();
    struct client *c = client_open(f);
    struct reply r;
    (void)state;
    struct http_exchange *x = held(f, c, HOLD);
    http_reply_begin(x, 200, &sse, 1);
    fixture_poll(f);
    assert_int_equal(buf_len(&c->in), 0); /* the head waits for the first write */
    assert_true(http_reply_write(x, SLICE("data: 1\n\n")));
    UNTIL(f, buf_len(&c->in) > 0); /* sent at once, not when the reply is complete */
    assert_false(client_reply(c, false, &r));
    assert_true(http_reply_write(x, SLICE(""))); /* must not look like the last chunk */
    assert_true(http_reply_write(x, SLICE("data: 2\n\n")));
    http_reply_end(x);
    assert_false(journal_has(f, "finished")); /* never from inside a reply call */
    UNTIL(f, client_reply(c, false, &r));
    assert_true(slice_eq(buf_slice(&r.body), SLICE("data: 1\n\ndata: 2\n\n")));
    assert_true(slice_eq(reply_header(&r, "transfer-encoding"), SLICE("chunked")));
    assert_true(slice_eq(reply_header(&r, "content-type"), SLICE("text/event-stream")));
    assert_true(slice_eq(reply_header(&r, "x-extra"), SLICE("yes")));
    assert_int_equal(reply_header(&r, "date").n, 29);
    reply_clear(&r);
    UNTIL(f, journal_has(f, "finished 200;"));

    x = held(f, c, HOLD); /* the connection goes on; a stream without a byte */
    http_reply_begin(x, 200, &sse, 1);
    http_reply_end(x);
    expect_reply(f, c, 200, "");
    end(f);
}

static void streamed_to_http_1_0_ends_with_the_connection(void **state)
{
    struct fixture *f = begin();
    struct client *c = client_open(f);
    (void)state;
    struct http_exchange *x = held(f, c, "GET /hold HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    http_reply_begin(x, 200, &sse, 1);
    http_reply_write(x, SLICE("data: 1\n\n"));
    http_reply_write(x, SLICE("data: 2\n\n"));
    http_reply_end(x);
    UNTIL(f, c->eof);
    expect_reply(f, c, 200, "data: 1\n\ndata: 2\n\n");
    expect_closed(f, c);
    end(f);
}

static void streamed_to_head_sends_the_head(void **state)
{
    struct fixture *f = begin();
    struct client *c = client_open(f);
    struct reply r;
    (void)state;
    struct http_exchange *x = held(f, c, "HEAD /hold HTTP/1.1\r\n" H "\r\n");
    http_reply_begin(x, 200, &sse, 1);
    assert_true(http_reply_write(x, SLICE("data: 1\n\n")));
    http_reply_end(x);
    UNTIL(f, client_reply(c, true, &r));
    reply_clear(&r);
    client_send(f, c, SLICE("GET /echo HTTP/1.1\r\n" H "\r\n"));
    expect_reply(f, c, 200, "GET /echo? ");
    end(f);
}

static void statuses_without_body(void **state)
{
    static const int statuses[] = {204, 304};
    struct fixture *f = begin();
    struct client *c = client_open(f);
    struct reply r;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        answer(held(f, c, HOLD), statuses[i], SLICE("ignored"));
        UNTIL(f, client_reply(c, false, &r));
        assert_int_equal(r.status, statuses[i]);
        assert_int_equal(reply_header(&r, "content-length").n, 0);
        assert_int_equal(reply_header(&r, "transfer-encoding").n, 0);
        reply_clear(&r);
    }
    client_send(f, c, SLICE("GET /echo HTTP/1.1\r\n" H "\r\n"));
    expect_reply(f, c, 200, "GET /echo? ");
    end(f);
}

static void many_pieces_and_a_big_reply(void **state)
{
    enum { PIECES = 1000, BYTES = 20000 };
    struct fixture *f = begin();
    struct client *c = client_open(f);
    struct reply r;
    struct slice pieces[PIECES];
    char *bytes = malloc(BYTES);
    (void)state;
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * 7);
    for (size_t i = 0; i < PIECES; i++)
        pieces[i] = slice_make(bytes + i % 10, i == 5 ? 0 : BYTES - 10);
    struct http_exchange *x = held(f, c, HOLD);
    http_reply_whole(x, 200, NULL, 0, pieces, PIECES); /* 20 MB, more than the socket takes */
    memset(pieces, 0, sizeof pieces);                  /* only needed during the call */
    char *copy = malloc(BYTES);
    memcpy(copy, bytes, BYTES);
    memset(bytes, 0, BYTES);
    UNTIL(f, client_reply(c, false, &r));
    assert_int_equal(buf_len(&r.body), (PIECES - 1) * (BYTES - 10));
    for (size_t i = 0, at = 0; i < PIECES; i++) {
        if (i == 5)
            continue;
        assert_memory_equal(buf_slice(&r.body).p + at, copy + i % 10, BYTES - 10);
        at += BYTES - 10;
    }
    reply_clear(&r);
    UNTIL(f, f->finished == 1);
    assert_true(f->bytes_finished > (PIECES - 1) * (BYTES - 10));
    free(copy);
    free(bytes);
    end(f);
}

static void errors_and_retry_after(void **state)
{
    static const struct {
        int64_t retry_after_ms;
        const char *seconds, *ms;
    } cases[] = {
        {-1, "", ""}, {0, "0", "0"}, {1, "1", "1"}, {1000, "1", "1000"}, {1001, "2", "1001"}};
    struct fixture *f = begin();
    struct client *c = client_open(f);
    struct reply r;
    struct http1_header more = {SLICE("x-weir-route"), SLICE("r")};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        http_reply_error(held(f, c, HOLD), ERR_OVERLOADED, "busy", "p", cases[i].retry_after_ms,
                         &more, 1);
        UNTIL(f, client_reply(c, false, &r));
        assert_int_equal(r.status, 503);
        assert_true(slice_eq(buf_slice(&r.body), SLICE("{\"error\":\"busy\",\"param\":\"p\"}")));
        assert_true(slice_eq(reply_header(&r, "retry-after"), slice_str(cases[i].seconds)));
        assert_true(slice_eq(reply_header(&r, "retry-after-ms"), slice_str(cases[i].ms)));
        assert_true(slice_eq(reply_header(&r, "content-type"), SLICE("application/json")));
        assert_true(slice_eq(reply_header(&r, "x-weir-route"), SLICE("r")));
        reply_clear(&r);
    }
    end(f);
}

static void an_aborted_stream_is_seen_as_cut(void **state)
{
    struct fixture *f = begin();
    struct client *c = client_open(f);
    struct reply r;
    (void)state;
    struct http_exchange *x = held(f, c, HOLD);
    http_reply_begin(x, 200, &sse, 1);
    http_reply_write(x, SLICE("data: 1\n\n"));
    http_reply_abort(x, "upstream cut");
    UNTIL(f, c->eof);
    assert_false(client_reply(c, false, &r));
    assert_non_null(memmem(buf_slice(&c->in).p, buf_len(&c->in), "data: 1\n\n",
                           9)); /* what was written did arrive */
    assert_true(journal_has(f, "finished 200 upstream cut;"));

    /* without chunks only a reset can say so */
    c = client_open(f);
    x = held(f, c, "GET /hold HTTP/1.0\r\n\r\n");
    http_reply_begin(x, 200, &sse, 1);
    http_reply_write(x, SLICE("data: 1\n\n"));
    http_reply_abort(x, "upstream cut");
    UNTIL(f, c->reset || c->eof);
    assert_true(c->reset);

    /* before anything was written: nothing but the end */
    c = client_open(f);
    x = held(f, c, HOLD);
    http_reply_abort(x, "changed its mind");
    expect_closed(f, c);
    assert_true(journal_has(f, "finished 499 changed its mind;"));
    assert_int_equal(fixture_metric(f, STAT_DROPPED, "upstream cut"), 2);
    end(f);
}

/* The client does not read: the abort waits a second for the bytes to leave, not longer. */
static void an_aborted_stream_does_not_wait_for_a_deaf_client(void **state)
{
    struct fixture *f = begin();
    struct client *c = client_open(f);
    char *chunk = calloc(1, 65536);
    (void)state;
    struct http_exchange *x = held(f, c, HOLD);
    c->deaf = true;
    http_reply_begin(x, 200, &sse, 1);
    while (http_reply_write(x, slice_make(chunk, 65536)))
        ;
    int64_t began_us = clock_mono_us();
    http_reply_abort(x, "upstream cut");
    UNTIL(f, f->connections == 0);
    assert_true(clock_mono_us() - began_us > 900000);
    assert_true(journal_has(f, "finished 200 upstream cut;"));
    free(chunk);
    end(f);
}

/* 50 MB to a client that reads nothing, then everything: a writer that honours the watermark never
 * has more than it and one chunk waiting, is told when to go on, and every byte arrives. */
static void back_pressure(void **state)
{
    enum { CHUNK = 16384, TOTAL = 50 << 20 };
    struct fixture *f = begin();
    struct client *c = client_open(f);
    char *chunk = malloc(CHUNK);
    size_t written = 0, pauses = 0;
    uint64_t got = 0;
    (void)state;
    memset(chunk, 'c', CHUNK);
    struct http_exchange *x = held(f, c, HOLD);
    c->deaf = true;
    http_reply_begin(x, 200, &sse, 1);
    bool open = true;
    while (open) {
        open = http_reply_write(x, slice_make(chunk, CHUNK));
        written += CHUNK;
        assert_true(written < TOTAL); /* or nothing ever pushed back */
    }
    size_t taken_by_kernel =
        written; /* it buffers some MB; ours is at most the watermark and one chunk */
    for (int i = 0; i < 20; i++)
        fixture_turn(f);
    assert_false(journal_has(f, "writable"));
    c->deaf = false;
    while (written < TOTAL) {
        f->journal_bytes = 0;
        f->journal[0] = '\0';
        UNTIL(f, journal_has(f, "writable /hold;"));
        got += buf_len(&c->in);
        buf_reset(&c->in);
        pauses++;
        do {
            open = http_reply_write(x, slice_make(chunk, CHUNK));
            written += CHUNK;
        } while (open && written < TOTAL);
    }
    http_reply_end(x);
    UNTIL(f, f->finished == 1);
    for (uint64_t before = UINT64_MAX; before != got;) {
        before = got;
        for (int i = 0; i < 10; i++)
            fixture_turn(f);
        got += buf_len(&c->in);
        buf_reset(&c->in);
    }
    assert_true(pauses > 3);
    assert_true(taken_by_kernel < TOTAL / 2);
    assert_int_equal(got, f->bytes_finished);
    assert_true(got > TOTAL);
    assert_false(c->eof);
    client_send(f, c, SLICE("GET /echo HTTP/1.1\r\n" H "\r\n"));
    expect_reply(f, c, 200, "GET /echo? ");
    free(chunk);
    end(f);
}

/* A reply call for another exchange from inside a callback, and replies in the order of neither
 * arrival nor anything else. */
static void replies_from_elsewhere(void **state)
{
    struct fixture *f = begin();
    struct client *c[3];
    (void)state;
    for (int i = 0; i < 3; i++) {
        c[i] = client_open(f);
        client_send(f, c[i], SLICE(HOLD));
        UNTIL(f, f->held_count == (size_t)i + 1);
    }
    for (int i = 2; i >= 0; i--)
        answer(f->held[i], 200, SLICE("ok"));
    assert_int_equal(f->finished, 0);
    for (int i = 0; i < 3; i++)
        expect_reply(f, c[i], 200, "ok");
    assert_int_equal(f->finished, 3);
    assert_int_equal(http_server_active(f->server), 0);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streamed_reply),
        cmocka_unit_test(streamed_to_http_1_0_ends_with_the_connection),
        cmocka_unit_test(streamed_to_head_sends_the_head),
        cmocka_unit_test(statuses_without_body),
        cmocka_unit_test(many_pieces_and_a_big_reply),
        cmocka_unit_test(errors_and_retry_after),
        cmocka_unit_test(an_aborted_stream_is_seen_as_cut),
        cmocka_unit_test(an_aborted_stream_does_not_wait_for_a_deaf_client),
        cmocka_unit_test(back_pressure),
        cmocka_unit_test(replies_from_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
