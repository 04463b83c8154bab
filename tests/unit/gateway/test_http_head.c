/* gateway/http_head: the bytes of reply heads, and what is kept out of them. */
#include <cmocka.h>
#include "gateway/http_head.h"

static void date_is_imf_fixdate(void **state)
{
    static const struct {
        time_t at;
        const char *line;
    } cases[] = {
        {784111777, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"}, /* RFC 9110's own example */
        {0, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"},
        {1709251199, "Date: Thu, 29 Feb 2024 23:59:59 GMT\r\n"},
        {4102444800, "Date: Fri, 01 Jan 2100 00:00:00 GMT\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[HTTP_DATE_LINE_BYTES];
        http_head_date_line(cases[i].at, line);
        assert_int_equal(strlen(cases[i].line), sizeof line);
        assert_memory_equal(line, cases[i].line, sizeof line);
    }
}

static void expect_head(int status, const struct http1_header *headers, size_t n,
                        enum http_head_framing framing, uint64_t length,
                        enum http_head_connection connection, const char *expected)
{
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(http_head_open(&out, status, SLICE("Date: x\r\n"), headers, n), ERR_OK);
    assert_int_equal(http_head_close(&out, framing, length, connection), ERR_OK);
    assert_int_equal(buf_append(&out, "", 1), ERR_OK);
    assert_string_equal(buf_slice(&out).p, expected);
    buf_clear(&out);
}

static void heads_are_rendered(void **state)
{
    struct http1_header type = {SLICE("Content-Type"), SLICE("text/event-stream")};
    (void)state;
    expect_head(200, &type, 1, HTTP_HEAD_LENGTH, 0, HTTP_HEAD_IMPLIED,
                "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Type: text/event-stream\r\nContent-Length: "
                "0\r\n\r\n");
    expect_head(503, NULL, 0, HTTP_HEAD_LENGTH, UINT64_MAX, HTTP_HEAD_CLOSE,
                "HTTP/1.1 503 Service Unavailable\r\nDate: x\r\nContent-Length: "
                "18446744073709551615\r\nConnection: close\r\n\r\n");
    expect_head(200, NULL, 0, HTTP_HEAD_CHUNKED, 7, HTTP_HEAD_KEEP_ALIVE,
                "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\nConnection: "
                "keep-alive\r\n\r\n");
    expect_head(204, NULL, 0, HTTP_HEAD_BARE, 7, HTTP_HEAD_IMPLIED,
                "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n");
    expect_head(298, NULL, 0, HTTP_HEAD_BARE, 0, HTTP_HEAD_IMPLIED,
                "HTTP/1.1 298 \r\nDate: x\r\n\r\n");
}

static void what_could_split_or_contradict_a_head_is_left_out(void **state)
{
    const struct http1_header hostile[] = {
        {SLICE("X-A"), SLICE("1\r\nSet-Cookie: evil")},
        {SLICE("X-B"), SLICE("1\n2")},
        {SLICE("X-C"), {"1\0", 2}},
        {SLICE("X-D\r\nX-E"), SLICE("1")},
        {SLICE("X:F"), SLICE("1")},
        {{"", 0}, SLICE("1")},
        {SLICE("X-Del"), SLICE("a\x7f")},
        {SLICE("content-LENGTH"), SLICE("5")},
        {SLICE("Transfer-Encoding"), SLICE("chunked")},
        {SLICE("Connection"), SLICE("keep-alive")},
        {SLICE("Keep-Alive"), SLICE("timeout=5")},
        {SLICE("Proxy-Authenticate"), SLICE("x")},
        {SLICE("Date"), SLICE("x")},
        {SLICE("TE"), SLICE("x")},
        {SLICE("Trailer"), SLICE("x")},
        {SLICE("Upgrade"), SLICE("h2c")},
        {SLICE("X-Good"), SLICE("caf\xc3\xa9\t!")},
    };
    (void)state;
    expect_head(
        200, hostile, sizeof hostile / sizeof *hostile, HTTP_HEAD_LENGTH, 1, HTTP_HEAD_IMPLIED,
        "HTTP/1.1 200 OK\r\nDate: x\r\nX-Good: caf\xc3\xa9\t!\r\nContent-Length: 1\r\n\r\n");
}

static void a_head_beyond_the_maximum_is_an_error(void **state)
{
    char value[200];
    struct http1_header h = {SLICE("X"), {value, sizeof value}};
    struct buf out;
    (void)state;
    memset(value, 'v', sizeof value);
    buf_init(&out, 128);
    assert_int_equal(http_head_open(&out, 200, SLICE(""), &h, 1), ERR_TOO_LARGE);
    assert_int_equal(buf_len(&out), 0);
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(date_is_imf_fixdate),
        cmocka_unit_test(heads_are_rendered),
        cmocka_unit_test(what_could_split_or_contradict_a_head_is_left_out),
        cmocka_unit_test(a_head_beyond_the_maximum_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
