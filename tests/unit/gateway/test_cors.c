/* CORS header lines. */
#include <cmocka.h>
#include "gateway/cors.h"

static void render(const char **origins, size_t n, const char *request, bool preflight,
                   struct buf *out)
{
    struct policy_server s = {.cors_origins = origins, .cors_origin_count = n};
    struct http1_head head;
    size_t scanned = 0;
    enum err err;
    const char *why;

    assert_int_equal(http1_parse_request(slice_str(request), &scanned, &head, &err, &why),
                     HTTP1_DONE);
    buf_reset(out);
    assert_int_equal(cors_headers(&s, &head, preflight, out), ERR_OK);
    assert_int_equal(buf_append(out, "", 1), ERR_OK);
}

#define FROM(origin)                                                                               \
    "POST / HTTP/1.1\r\nHost: h\r\nOrigin: " origin                                                \
    "\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"

static void test_cors(void **state)
{
    const char *one[] = {"https://app.example"}, *any[] = {"*"};
    struct buf out;

    (void)state;
    buf_init(&out, 4096);
    render(NULL, 0, FROM("https://app.example"), false, &out);
    assert_string_equal(buf_slice(&out).p, ""); /* off by default */
    render(one, 1, FROM("https://evil.example"), true, &out);
    assert_string_equal(buf_slice(&out).p, "Vary: Origin\r\n");
    render(one, 1, FROM("https://app.example"), false, &out);
    assert_non_null(strstr(buf_slice(&out).p,
                           "Access-Control-Allow-Origin: https://app.example\r\nVary: Origin\r\n"));
    assert_non_null(strstr(buf_slice(&out).p, "x-weir-cost-usd"));
    render(one, 1, FROM("https://app.example"), true, &out);
    assert_non_null(strstr(buf_slice(&out).p, "Access-Control-Allow-Headers: authorization\r\n"));
    assert_non_null(
        strstr(buf_slice(&out).p, "Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS\r\n"));
    render(any, 1, FROM("null"), false, &out);
    assert_non_null(strstr(buf_slice(&out).p, "Access-Control-Allow-Origin: *\r\n"));
    render(any, 1, "POST / HTTP/1.1\r\nHost: h\r\n\r\n", false, &out);
    assert_string_equal(buf_slice(&out).p, ""); /* not a cross-origin request */
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cors)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
