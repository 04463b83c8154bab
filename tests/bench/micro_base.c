/* Nanoseconds per call of the two codecs that every request passes: the JSON scan (each level of
 * SIMD, beside jansson's parse of the same body) and the HTTP head parse. Bodies are chat requests
 * of about 1, 10 and 100 KB: prose with an escape every 60 bytes or so; then the same with one
 * character in eight outside ASCII, and as dense source code. Each figure is the best of several
 * rounds: the machine's other work only ever adds. usage: micro_base (build with
 * -DCMAKE_BUILD_TYPE=RelWithDebInfo) */
#include <stdio.h>
#include <stdlib.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/http1.h"
#include "base/json_scan_int.h"
#include "tests/unit/base/jansson_peer.h"

enum { ROUNDS = 7 };
#define ROUND_US 20000

static volatile size_t sink; /* keeps the calls */

/* Best ns per call over the rounds. */
static double measure(void (*call)(void *ctx), void *ctx)
{
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t begin = clock_mono_us(), now = begin;
        size_t calls = 0;
        while (now - begin < ROUND_US) {
            for (int i = 0; i < 8; i++)
                call(ctx);
            calls += 8;
            now = clock_mono_us();
        }
        double ns = (double)(now - begin) * 1000 / (double)calls;
        best = ns < best ? ns : best;
    }
    return best;
}

struct scan_job {
    struct slice text;
    json_run_fn run;
};

static bool count_member(const struct json_member *m, void *ctx)
{
    *(size_t *)ctx += m->value.text.n;
    return true;
}

static void scan_call(void *ctx)
{
    const struct scan_job *j = ctx;
    size_t n = 0;
    if (!json_scan_object_with(j->run, j->text, count_member, &n, NULL))
        abort();
    sink += n;
}

static void peer_call(void *ctx)
{
    const struct scan_job *j = ctx;
    json_t *t = json_loadb(j->text.p, j->text.n, 0, NULL);
    if (!t)
        abort();
    json_decref(t);
}

static void must(enum err e)
{
    if (e)
        abort();
}

/* A chat request of about n bytes: a system message, then turns of about 400 bytes until it is
 * full. */
static void make_body(struct buf *b, size_t n, const char *sentence)
{
    must(buf_append_slice(
        b,
        SLICE("{\"model\":\"auto\",\"stream\":true,\"temperature\":0.7,\"max_tokens\":256,"
              "\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"}")));
    while (buf_len(b) + 64 < n) {
        must(buf_append_slice(b, SLICE(",{\"role\":\"user\",\"content\":\"")));
        size_t turn = buf_len(b);
        while (buf_len(b) - turn < 400 && buf_len(b) + 64 < n)
            must(buf_append_slice(b, slice_str(sentence)));
        must(buf_append_slice(b, SLICE("\"}")));
    }
    must(buf_append_slice(b, SLICE("],\"user\":\"someone\"}")));
}

static void bench_scan(const char *kind, const char *sentence)
{
    static const size_t sizes[] = {1000, 10000, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        make_body(&b, sizes[i], sentence);
        struct scan_job j = {buf_slice(&b), json_run_portable};
        double portable = measure(scan_call, &j), best, peer;
        j.run = json_run_best();
        best = measure(scan_call, &j);
        peer = measure(peer_call, &j);
        printf("scan %-6s %6zu B: %9.0f ns (%4.2f GB/s), portable %9.0f ns, jansson %9.0f ns, "
               "%4.0fx\n",
               kind, j.text.n, best, (double)j.text.n / best, portable, peer, peer / best);
        buf_clear(&b);
    }
}

static void head_call(void *ctx)
{
    static struct http1_head head;
    size_t scanned = 0;
    enum err err;
    const char *why;
    const struct slice *text = ctx;
    if (http1_parse_request(*text, &scanned, &head, &err, &why) != HTTP1_DONE)
        abort();
    sink += head.header_count;
}

static void bench_head(void)
{
    struct slice text = SLICE(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"
        "Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
        "User-Agent: OpenAI/Python 1.54.3\r\nContent-Type: application/json\r\n"
        "Authorization: Bearer sk-0123456789abcdef0123456789abcdef0123456789abcdef\r\n"
        "X-Stainless-Lang: python\r\nX-Stainless-Retry-Count: 0\r\nContent-Length: 1016\r\n\r\n");
    printf("head of %zu B, 10 headers: %.0f ns\n", text.n, measure(head_call, &text));
}

int main(void)
{
    bench_scan("prose", "The quick brown fox jumps over the lazy dog, and says so.\\n");
    bench_scan("umlaut", "Gr\xc3\xbc\xc3\x9f"
                         "e aus K\xc3\xb6ln, \xe2\x82\xac 5 f\xc3\xbcr s\xc3\xbc\xc3\x9f"
                         "e \xc3\x84pfel und \xc3\x96l.\\n");
    bench_scan("code", "if (a[i] == \\\"x\\\") {\\n\\treturn \\\"\\\\n\\\";\\n}\\n");
    bench_head();
    return 0;
}
