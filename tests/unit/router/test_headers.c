/* Which header fields cross the gateway, both ways. */
#include <cmocka.h>
#include "router/headers.h"

static void parse(const char *text, bool response, struct http1_head *head)
{
    size_t scanned = 0;
    const char *why = NULL;
    enum err err;
    enum http1_parse got = response
                               ? http1_parse_response(slice_str(text), &scanned, false, head, &why)
                               : http1_parse_request(slice_str(text), &scanned, head, &err, &why);

    assert_int_equal(got, HTTP1_DONE);
}

static bool has(const struct http1_header *h, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (slice_ieq(h[i].name, slice_str(name)))
            return true;
    return false;
}

static void test_to_upstream(void **state)
{
    static const char *const stays[] = {
        "authorization",   "x-api-key",  "cookie",         "host",
        "connection",      "x-internal", "x-weir-tags",    "openai-organization",
        "accept-encoding", "te",         "content-length", "origin"};
    static const char *const goes[] = {"user-agent",       "accept",      "idempotency-key",
                                       "x-stainless-lang", "traceparent", "openai-beta"};
    struct http1_head head;
    struct http1_header *out;
    struct arena a;
    size_t n;

    (void)state;
    parse("POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer "
          "secret\r\nX-Api-Key: k\r\nCookie: c=1\r\n"
          "Connection: keep-alive, X-Internal\r\nX-Internal: 1\r\nX-Weir-Tags: "
          "a\r\nOpenAI-Organization: o\r\nAccept-Encoding: gzip\r\n"
          "TE: trailers\r\nContent-Length: 2\r\nOrigin: http://x\r\nUser-Agent: u\r\nAccept: "
          "*/*\r\nIdempotency-Key: i\r\n"
          "X-Stainless-Lang: python\r\ntraceparent: t\r\nOpenAI-Beta: b\r\n\r\n",
          false, &head);
    arena_init(&a, 256);
    n = headers_to_upstream(&head, &a, 3, &out);
    for (size_t i = 0; i < sizeof stays / sizeof stays[0]; i++)
        assert_false(has(out, n, stays[i]));
    for (size_t i = 0; i < sizeof goes / sizeof goes[0]; i++)
        assert_true(has(out, n, goes[i]));
    assert_int_equal(n, sizeof goes / sizeof goes[0]);
    out[n + 2].value = SLICE("the spare entries are there"); /* ASan watches */
    arena_clear(&a);
}

static void test_to_client(void **state)
{
    struct http1_head head;
    struct http1_header *out;
    struct arena a;
    char text[] = "HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nretry-after-ms: "
                  "2900\r\nx-ratelimit-remaining-requests: 0\r\n"
                  "X-Request-Id: up-1\r\nSet-Cookie: a=b\r\nServer: s\r\nDate: d\r\nx-weir-model: "
                  "forged\r\nx-should-retry: true\r\n"
                  "Content-Length: 0\r\nopenai-processing-ms: 5\r\n\r\n";
    size_t n;

    (void)state;
    parse(text, true, &head);
    arena_init(&a, 256);
    n = headers_to_client(&head, &a, 2, &out);
    memset(text, 'x', sizeof text - 1); /* copies, not views */
    assert_true(has(out, n, "retry-after") && has(out, n, "retry-after-ms") &&
                has(out, n, "x-should-retry"));
    assert_true(has(out, n, "x-ratelimit-remaining-requests") &&
                has(out, n, "openai-processing-ms"));
    assert_true(has(out, n, "x-weir-upstream-request-id"));
    assert_int_equal(n, 6);
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_to_upstream),
                                       cmocka_unit_test(test_to_client)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
