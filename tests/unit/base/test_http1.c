/* base/http1: what is refused and why, what is accepted at every split, body rules, the chunked
 * decoder. Inputs are copied to heap blocks of their exact size, so that ASan sees a read beyond
 * the end. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/http1.h"
#include "base/rng.h"

static struct http1_head head; /* 3 KB: not on every test's stack */

static char *exact_copy(struct slice s)
{
    char *p = malloc(s.n ? s.n : 1);
    assert_non_null(p);
    memcpy(p, s.p, s.n);
    return p;
}

static enum http1_parse parse(struct slice text, enum err *err, const char **why)
{
    size_t scanned = 0;
    char *copy = exact_copy(text);
    enum http1_parse r = http1_parse_request(slice_make(copy, text.n), &scanned, &head, err, why);
    free(copy);
    return r;
}

/* ---- requests that are refused ---- */

#define LIT(s)                                                                                     \
    {                                                                                              \
        "" s, sizeof(s) - 1                                                                        \
    }

struct bad_request {
    struct slice text;
    enum err err;
};

static const struct bad_request bad_requests[] = {
    /* line ends */
    {LIT("GET / HTTP/1.1\nHost: a\n\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\n\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\rHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\rZ: c\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("\r\n\r\n"), ERR_BAD_HTTP},
    /* request line */
    {LIT("GET /\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET /  HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT(" GET / HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("G(T / HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / http/1.1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1,1\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1x\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.10\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/11\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), ERR_HTTP_VERSION},
    {LIT("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), ERR_HTTP_VERSION},
    {LIT("GET / HTTP/0.9\r\nHost: a\r\n\r\n"), ERR_HTTP_VERSION},
    {LIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ERR_HTTP_VERSION},
    {LIT("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), ERR_BAD_HTTP}, /* TLS on a plain port */
    /* header lines */
    {LIT("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\nNoColon\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xa4: b\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\nX: b\x0b\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n"), ERR_BAD_HTTP},
    /* Host */
    {LIT("GET / HTTP/1.1\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nX-Host: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), ERR_BAD_HTTP},
    /* Content-Length */
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
     ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"),
     ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"5\"\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5e3\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n"),
     ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\n"),
     ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length\r\n: 5\r\n\r\n"), ERR_BAD_HTTP},
    /* Transfer-Encoding */
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
     ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
     ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
         "chunked\r\n\r\n"),
     ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
         "identity\r\n\r\n"),
     ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"),
     ERR_NOT_IMPLEMENTED},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
     ERR_NOT_IMPLEMENTED},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n"),
     ERR_NOT_IMPLEMENTED},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"), ERR_NOT_IMPLEMENTED},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"), ERR_NOT_IMPLEMENTED},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n"),
     ERR_NOT_IMPLEMENTED},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n"),
     ERR_NOT_IMPLEMENTED},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"), ERR_NOT_IMPLEMENTED},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b"
         "chunked\r\n\r\n"),
     ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\r\n : chunked\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nX: \nTransfer-Encoding: chunked\r\n\r\n"), ERR_BAD_HTTP},
    {LIT("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), ERR_BAD_HTTP},
    /* Expect */
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n"), ERR_EXPECTATION_FAILED},
    {LIT("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\n\r\n"), ERR_EXPECTATION_FAILED},
};

static void test_bad_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_requests / sizeof *bad_requests; i++) {
        struct slice text = bad_requests[i].text;
        enum err err = ERR_OK;
        const char *why = NULL;
        if (parse(text, &err, &why) != HTTP1_BAD || err != bad_requests[i].err || !why)
            fail_msg("row %zu: %.*s -> %s", i, SLICE_ARG(text), err_name(err));
        enum http1_parse r = HTTP1_MORE;
        size_t scanned = 0;
        for (size_t n = 0; n <= text.n && r == HTTP1_MORE; n++) {
            char *copy = exact_copy(slice_make(text.p, n));
            r = http1_parse_request(slice_make(copy, n), &scanned, &head, &err, &why);
            free(copy);
        }
        if (r != HTTP1_BAD)
            fail_msg("row %zu byte by byte: %.*s", i, SLICE_ARG(text));
    }
}

static void test_too_many_headers(void **state)
{
    (void)state;
    for (int extra = -1; extra <= 1; extra++) {
        char text[4096];
        enum err err = ERR_OK;
        const char *why;
        size_t n = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 1; i < HTTP1_MAX_HEADERS + extra; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "h%d: %d\r\n", i, i);
        n += (size_t)snprintf(text + n, sizeof text - n, "\r\n");
        enum http1_parse r = parse(slice_make(text, n), &err, &why);
        assert_int_equal(r, extra > 0 ? HTTP1_BAD : HTTP1_DONE);
        assert_int_equal(err, extra > 0 ? ERR_HEADERS_TOO_LARGE : ERR_OK);
    }
}

/* ---- requests that are accepted ---- */

struct good_request {
    const char *text, *method, *target;
    size_t headers;
    enum http1_body body;
    uint64_t length;
    bool keep_alive, expect_continue;
};

static const struct good_request good_requests[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/", 1, HTTP1_BODY_NONE, 0, true, false},
    {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/", 1, HTTP1_BODY_NONE, 0, true, false},
    {"GET / HTTP/1.0\r\n\r\n", "GET", "/", 0, HTTP1_BODY_NONE, 0, false, false},
    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET", "/", 1, HTTP1_BODY_NONE, 0, true,
     false},
    {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "GET", "/", 1, HTTP1_BODY_NONE, 0,
     false, false},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET", "/", 1, HTTP1_BODY_NONE, 0, true, false},
    {"GET / HTTP/1.1\r\nhost: [::1]:8080\r\nConnection: x\r\nConnection: , Close\r\n\r\n", "GET",
     "/", 3, HTTP1_BODY_NONE, 0, false, false},
    {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS", "*", 1, HTTP1_BODY_NONE, 0, true, false},
    {"GET http://a/b?c=%20 HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "http://a/b?c=%20", 1,
     HTTP1_BODY_NONE, 0, true, false},
    {"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 0042\r\nX: \xc3\xa4\t "
     "b\r\n\r\n",
     "POST", "/v1/chat/completions", 3, HTTP1_BODY_LENGTH, 42, true, false},
    {"POST / HTTP/1.1\r\nHost: a\r\ncontent-length:\t9223372036854775807 \r\nExpect: "
     "100-Continue\r\n\r\n",
     "POST", "/", 3, HTTP1_BODY_LENGTH, INT64_MAX, true, true},
    {"POST / HTTP/1.0\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n", "POST", "/", 2,
     HTTP1_BODY_LENGTH, 0, false, false},
    {"POST / HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: \tChunked \r\n\r\n", "POST", "/", 2,
     HTTP1_BODY_CHUNKED, 0, true, false},
    {"!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~09azAZ:\r\n\r\n",
     "!#$%&'*+-.^_`|~09azAZ", "/", 2, HTTP1_BODY_NONE, 0, true, false},
};

static void check_good(const struct good_request *g)
{
    assert_true(slice_eq(head.method, slice_str(g->method)));
    assert_true(slice_eq(head.target, slice_str(g->target)));
    assert_int_equal(head.header_count, g->headers);
    assert_int_equal(head.body, g->body);
    if (g->body == HTTP1_BODY_LENGTH)
        assert_int_equal(head.content_length, g->length);
    assert_int_equal(head.keep_alive, g->keep_alive);
    assert_int_equal(head.expect_continue, g->expect_continue);
    assert_int_equal(head.head_bytes, strlen(g->text));
}

/* Each head whole, then with a body behind it, then a byte more at a time: MORE until it is
 * complete, and the same head. */
static void test_good_requests_at_every_boundary(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good_requests / sizeof *good_requests; i++) {
        const struct good_request *g = &good_requests[i];
        size_t scanned = 0, n = strlen(g->text);
        enum err err;
        const char *why = "";
        char with_body[512];
        int m = snprintf(with_body, sizeof with_body, "%s\nGET\n\r\n\r\n", g->text);
        size_t scanned_whole = 0;
        if (http1_parse_request(slice_make(with_body, (size_t)m), &scanned_whole, &head, &err,
                                &why) != HTTP1_DONE)
            fail_msg("%s: %s", g->text, why);
        check_good(g);
        for (size_t k = 0; k <= n; k++) {
            char *copy = exact_copy(slice_make(g->text, k));
            enum http1_parse r =
                http1_parse_request(slice_make(copy, k), &scanned, &head, &err, &why);
            assert_int_equal(r, k < n ? HTTP1_MORE : HTTP1_DONE);
            if (k == n)
                check_good(g);
            free(copy);
            size_t fresh = 0; /* and split in two at k */
            (void)http1_parse_request(slice_make(g->text, k), &fresh, &head, &err, &why);
            if (k < n)
                assert_int_equal(
                    http1_parse_request(slice_make(g->text, n), &fresh, &head, &err, &why),
                    HTTP1_DONE);
        }
    }
}

static void test_header_views(void **state)
{
    (void)state;
    static const char text[] =
        "POST / HTTP/1.1\r\nHost: a\r\nAccept:a , b\r\naccept: \"c,d\",  E;q=1,,f \r\n"
        "Connection: X-Private, close\r\nEmpty: \t \r\n\r\n";
    size_t scanned = 0;
    enum err err;
    const char *why;
    assert_int_equal(http1_parse_request(slice_str(text), &scanned, &head, &err, &why), HTTP1_DONE);
    assert_true(slice_eq(http1_find(&head, SLICE("ACCEPT"))->value, SLICE("a , b")));
    assert_int_equal(http1_find(&head, SLICE("empty"))->value.n, 0);
    assert_null(http1_find(&head, SLICE("Hos")));
    assert_true(http1_list_has(&head, SLICE("accept"), SLICE("A")));
    assert_true(http1_list_has(&head, SLICE("accept"), SLICE("f")));
    assert_true(http1_list_has(&head, SLICE("accept"), SLICE("e;q=1")));
    assert_false(http1_list_has(&head, SLICE("accept"), SLICE("")));
    assert_false(http1_list_has(&head, SLICE("host"), SLICE("b")));
    static const char *const hop[] = {"connection",        "KEEP-ALIVE", "Proxy-Authorization",
                                      "proxy-connection",  "TE",         "Trailer",
                                      "Transfer-Encoding", "Upgrade",    "x-private"};
    static const char *const end_to_end[] = {"host",  "content-length", "authorization",
                                             "proxy", "x-privat",       "tee"};
    for (size_t i = 0; i < sizeof hop / sizeof *hop; i++)
        assert_true(http1_is_hop_by_hop(&head, slice_str(hop[i])));
    for (size_t i = 0; i < sizeof end_to_end / sizeof *end_to_end; i++)
        assert_false(http1_is_hop_by_hop(&head, slice_str(end_to_end[i])));
}

static void test_valid_name_and_value(void **state)
{
    (void)state;
    assert_true(http1_valid_name(SLICE("X-Api-Key")));
    assert_false(http1_valid_name(SLICE("")));
    assert_false(http1_valid_name(SLICE("a b")));
    assert_false(http1_valid_name(SLICE("a:")));
    assert_false(http1_valid_name(SLICE("a\r\nb")));
    assert_true(http1_valid_value(SLICE("")));
    assert_true(http1_valid_value(SLICE("Bearer a\tb \xc3\xa4")));
    assert_false(http1_valid_value(SLICE(" a")));
    assert_false(http1_valid_value(SLICE("a ")));
    assert_false(http1_valid_value(SLICE("a\r\nX: b")));
    assert_false(http1_valid_value(SLICE("a\0b")));
}

/* ---- responses ---- */

static enum http1_parse parse_answer(struct slice text, bool was_head)
{
    size_t scanned = 0;
    const char *why = NULL;
    char *copy = exact_copy(text);
    enum http1_parse r =
        http1_parse_response(slice_make(copy, text.n), &scanned, was_head, &head, &why);
    free(copy);
    assert_true(r != HTTP1_BAD || why);
    return r;
}

static void test_good_responses(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        int status;
        bool was_head;
        enum http1_body body;
        uint64_t length;
        bool keep_alive;
    } rows[] = {
        {LIT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), 200, false, HTTP1_BODY_LENGTH, 5,
         true},
        {LIT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n"), 200, false,
         HTTP1_BODY_LENGTH, 5, true},
        {LIT("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n"), 200, false, HTTP1_BODY_CHUNKED,
         0, true},
        {LIT("HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"), 200,
         false, HTTP1_BODY_CHUNKED, 0, false},
        {LIT("HTTP/1.1 200 Na\xc3\xafve  reason\r\n\r\n"), 200, false, HTTP1_BODY_UNTIL_CLOSE, 0,
         false},
        {LIT("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n"), 200, false, HTTP1_BODY_LENGTH, 5,
         false},
        {LIT("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"), 200, false,
         HTTP1_BODY_LENGTH, 5, true},
        {LIT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), 200, true, HTTP1_BODY_NONE, 0, true},
        {LIT("HTTP/1.1 204 No Content\r\n\r\n"), 204, false, HTTP1_BODY_NONE, 0, true},
        {LIT("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), 304, false, HTTP1_BODY_NONE,
         0, true},
        {LIT("HTTP/1.1 100 Continue\r\n\r\n"), 100, false, HTTP1_BODY_NONE, 0, true},
        {LIT("HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n"), 599, false, HTTP1_BODY_LENGTH, 0,
         true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t scanned = 0;
        const char *why;
        for (size_t n = 0; n < rows[i].text.n; n++)
            assert_int_equal(http1_parse_response(slice_make(rows[i].text.p, n), &scanned,
                                                  rows[i].was_head, &head, &why),
                             HTTP1_MORE);
        assert_int_equal(parse_answer(rows[i].text, rows[i].was_head), HTTP1_DONE);
        assert_int_equal(head.status, rows[i].status);
        assert_int_equal(head.body, rows[i].body);
        if (head.body == HTTP1_BODY_LENGTH)
            assert_int_equal(head.content_length, rows[i].length);
        assert_int_equal(head.keep_alive, rows[i].keep_alive);
        assert_int_equal(head.head_bytes, rows[i].text.n);
    }
}

static void test_bad_responses(void **state)
{
    (void)state;
    static const struct slice rows[] = {
        LIT("HTTP/1.1 200 OK\nContent-Length: 5\n\n"),
        LIT("HTTP/2 200\r\n\r\n"),
        LIT("HTTP/1.2 200 OK\r\n\r\n"),
        LIT("http/1.1 200 OK\r\n\r\n"),
        LIT("ICY 200 OK\r\n\r\n"),
        LIT("<html>"),
        LIT("\r\nHTTP/1.1 200 OK\r\n\r\n"),
        LIT("HTTP/1.1\r\n\r\n"),
        LIT("HTTP/1.1 \r\n\r\n"),
        LIT("HTTP/1.1 20\r\n\r\n"),
        LIT("HTTP/1.1 2000 OK\r\n\r\n"),
        LIT("HTTP/1.1 099 OK\r\n\r\n"),
        LIT("HTTP/1.1 600 OK\r\n\r\n"),
        LIT("HTTP/1.1 2x0 OK\r\n\r\n"),
        LIT("HTTP/1.1  200 OK\r\n\r\n"),
        LIT("HTTP/1.1 200\tOK\r\n\r\n"),
        LIT("HTTP/1.1 200 O\0K\r\n\r\n"),
        LIT("HTTP/1.1 200 O\rK\r\n\r\n"),
        LIT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
        LIT("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n"),
        LIT("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n"),
        LIT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        LIT("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
        LIT("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        LIT("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n"),
        LIT("HTTP/1.1 200 OK\r\nX : a\r\n\r\n"),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (parse_answer(rows[i], false) != HTTP1_BAD)
            fail_msg("accepted: %.*s", SLICE_ARG(rows[i]));
}

/* A head that arrives byte by byte must be searched once, not once per byte: the mark only moves
 * forward. */
static void test_the_search_does_not_restart(void **state)
{
    (void)state;
    enum { N = 60000 };
    char *text = malloc(N);
    assert_non_null(text);
    memset(text, 'a', N);
    size_t scanned = 0;
    enum err err;
    const char *why;
    for (size_t n = 1; n <= N; n++) {
        assert_int_equal(http1_parse_request(slice_make(text, n), &scanned, &head, &err, &why),
                         HTTP1_MORE);
        assert_int_equal(scanned, n);
    }
    free(text);
}

/* ---- chunked ---- */

/* Feeds text in pieces of the given size (0: all at once), each in an exact heap block; gathers the
 * payload. */
static enum http1_parse feed(struct slice text, size_t piece, char *out, size_t *out_n,
                             size_t *taken)
{
    struct http1_chunked c;
    enum http1_parse r = HTTP1_MORE;
    http1_chunked_init(&c);
    *out_n = *taken = 0;
    while (*taken < text.n && r == HTTP1_MORE) {
        size_t n = piece && piece < text.n - *taken ? piece : text.n - *taken, used;
        char *copy = exact_copy(slice_make(text.p + *taken, n));
        struct slice data;
        r = http1_chunked_feed(&c, slice_make(copy, n), &used, &data);
        assert_true(used <= n && (used > 0 || r != HTTP1_MORE));
        assert_true(data.n == 0 || (data.p >= copy && data.p + data.n <= copy + used));
        memcpy(out + *out_n, data.p, data.n);
        *out_n += data.n;
        *taken += used;
        free(copy);
    }
    return r;
}

static void test_good_chunks_at_every_boundary(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        const char *payload;
        size_t behind; /* bytes of the next message */
    } rows[] = {
        {LIT("0\r\n\r\n"), "", 0},
        {LIT("000\r\n\r\nGET"), "", 3},
        {LIT("5\r\nhello\r\n0\r\n\r\n"), "hello", 0},
        {LIT("5\r\nhello\r\n06\r\n\r\nwor\r\r\n1\r\nd\r\n00\r\n\r\nX"), "hello\r\nwor\rd", 1},
        {LIT("A\r\n0123456789\r\na;x=y;z=\"q;\xc3\xa4\"\r\n0123456789\r\n0;last\r\n\r\n"),
         "01234567890123456789", 0},
        {LIT("1 \t ;x\r\na\r\n0\r\nTrailer: v\r\nOther:\r\n\r\n0"), "a", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t piece = 0; piece <= rows[i].text.n; piece++) {
            char out[256];
            size_t n, taken;
            assert_int_equal(feed(rows[i].text, piece, out, &n, &taken), HTTP1_DONE);
            assert_true(slice_eq(slice_make(out, n), slice_str(rows[i].payload)));
            assert_int_equal(taken, rows[i].text.n - rows[i].behind);
        }
}

static void test_bad_chunks(void **state)
{
    (void)state;
    static const struct slice rows[] = {
        LIT("\r\n"),
        LIT("5\nhello\n0\n\n"),
        LIT("0x5\r\nhello\r\n0\r\n\r\n"),
        LIT("+5\r\nhello\r\n0\r\n\r\n"),
        LIT("-1\r\nhello\r\n0\r\n\r\n"),
        LIT(" 5\r\nhello\r\n0\r\n\r\n"),
        LIT("5 \r\nhello\r\n0\r\n\r\n"),
        LIT("5 5\r\nhello\r\n0\r\n\r\n"),
        LIT("5,\r\nhello\r\n0\r\n\r\n"),
        LIT("g\r\n"),
        LIT(";x\r\n"),
        LIT("5\rhello"),
        LIT("5\r\nhello\n0\r\n\r\n"),
        LIT("5\r\nhello0\r\n\r\n"),
        LIT("4\r\nhello\r\n0\r\n\r\n"),
        LIT("6\r\nhello\r\n0\r\n\r\n"),
        LIT("5;a\nb\r\nhello\r\n0\r\n\r\n"),
        LIT("5;a\0b\r\nhello\r\n0\r\n\r\n"),
        LIT("5;a\r\r\nhello\r\n0\r\n\r\n"),
        LIT("10000000000000000\r\n"),
        LIT("8000000000000000\r\n"),
        LIT("fffffffffffffffff\r\n"),
        LIT("0\r\nno colon\r\n\r\n"),
        LIT("0\r\n folded: x\r\n\r\n"),
        LIT("0\r\n: x\r\n\r\n"),
        LIT("0\r\na: b\n\r\n"),
        LIT("0\r\na: \0\r\n\r\n"),
        LIT("0\r\n\rX"),
        LIT("0\r\n\n"),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t piece = 0; piece <= rows[i].n; piece++) {
            char out[256];
            size_t n, taken;
            if (feed(rows[i], piece, out, &n, &taken) != HTTP1_BAD)
                fail_msg("accepted in pieces of %zu: %.*s", piece, SLICE_ARG(rows[i]));
        }
}

/* Size lines and trailers are bounded, and a broken decoder stays broken. */
static void test_chunk_bounds(void **state)
{
    (void)state;
    struct http1_chunked c;
    struct slice data;
    size_t used;
    http1_chunked_init(&c);
    assert_int_equal(http1_chunked_feed(&c, SLICE("1;"), &used, &data), HTTP1_MORE);
    enum http1_parse r = HTTP1_MORE;
    int bytes = 0;
    while (r == HTTP1_MORE && ++bytes < 100000)
        r = http1_chunked_feed(&c, SLICE("x"), &used, &data);
    assert_int_equal(r, HTTP1_BAD);
    assert_true(bytes < 1000);
    assert_int_equal(http1_chunked_feed(&c, SLICE("0\r\n\r\n"), &used, &data), HTTP1_BAD);
    assert_int_equal(used, 0);

    http1_chunked_init(&c);
    assert_int_equal(http1_chunked_feed(&c, SLICE("0\r\n"), &used, &data), HTTP1_MORE);
    for (bytes = 0, r = HTTP1_MORE; r == HTTP1_MORE && bytes < 100000; bytes += 6)
        r = http1_chunked_feed(&c, SLICE("a: b\r\n"), &used, &data);
    assert_int_equal(r, HTTP1_BAD);
    assert_true(bytes < 10000);

    http1_chunked_init(&c); /* leading zeros do not get around the line's bound */
    for (bytes = 0, r = HTTP1_MORE; r == HTTP1_MORE && bytes < 100000; bytes++)
        r = http1_chunked_feed(&c, SLICE("0"), &used, &data);
    assert_int_equal(r, HTTP1_BAD);

    http1_chunked_init(&c); /* the largest chunk that is taken */
    assert_int_equal(http1_chunked_feed(&c, SLICE("7fffffffffffffff\r\nab"), &used, &data),
                     HTTP1_MORE);
    assert_int_equal(data.n, 2);
    assert_int_equal(c.left, INT64_MAX - 2);
}

static void test_chunk_header_round_trip(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 6);
    for (int i = 0; i < 2000; i++) {
        char text[32];
        size_t n = (size_t)(rng_u64(&r) >> (1 + rng_below(&r, 62))), used;
        struct http1_chunked c;
        struct slice data;
        size_t len = http1_chunk_header(n, text);
        assert_true(len <= 20);
        http1_chunked_init(&c);
        assert_int_equal(http1_chunked_feed(&c, slice_make(text, len), &used, &data), HTTP1_MORE);
        assert_int_equal(used, len);
        assert_int_equal(c.left, n);
    }
    char text[20];
    assert_int_equal(http1_chunk_header(SIZE_MAX, text), 18);
    assert_memory_equal(text, "ffffffffffffffff\r\n", 18);
    assert_int_equal(http1_chunk_header(0, text), 3);
    assert_memory_equal(text, "0\r\n", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_too_many_headers),
        cmocka_unit_test(test_good_requests_at_every_boundary),
        cmocka_unit_test(test_header_views),
        cmocka_unit_test(test_valid_name_and_value),
        cmocka_unit_test(test_good_responses),
        cmocka_unit_test(test_bad_responses),
        cmocka_unit_test(test_the_search_does_not_restart),
        cmocka_unit_test(test_good_chunks_at_every_boundary),
        cmocka_unit_test(test_bad_chunks),
        cmocka_unit_test(test_chunk_bounds),
        cmocka_unit_test(test_chunk_header_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
