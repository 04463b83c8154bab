/* What the wire code costs by itself: one pass-through SSE chunk of about 280 bytes, the same with
 * usage stripped, and scan + splice of requests of 1, 10 and 100 KB. Nanoseconds, the best and the
 * median of many rounds, beside a plain copy of the same bytes as the yardstick: hosts change
 * speed, ratios less so. Run: build/release/tests/bench/micro_wire */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/openai_reply.h"
#include "backends/wire/openai_request.h"
#include "base/clock.h"

#define ROUNDS 41
#define CHUNKS 64

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_row(const char *name, size_t bytes, double *ns, double *copy_ns)
{
    qsort(ns, ROUNDS, sizeof(*ns), compare);
    qsort(copy_ns, ROUNDS, sizeof(*copy_ns), compare);
    printf("%-34s %7zu B  best %9.0f ns  median %9.0f ns  %6.1f x copy\n", name, bytes, ns[0],
           ns[ROUNDS / 2], ns[0] / copy_ns[0]);
}

static double per_call_ns(int64_t start_us, int calls)
{
    return (double)(clock_mono_us() - start_us) * 1000.0 / calls;
}

/* memcpy through a pointer the compiler cannot see through. */
static void *(*volatile copy_bytes)(void *, const void *, size_t) = memcpy;

static double copy_cost(const char *from, size_t n, int calls)
{
    char *to = malloc(n);
    int64_t start = clock_mono_us();

    for (int i = 0; i < calls; i++)
        copy_bytes(to, from, n);
    double ns = per_call_ns(start, calls);
    free(to);
    return ns;
}

/* ---- streams ---- */

static size_t make_chunk(char *out, size_t room, const char *usage)
{
    return (size_t)snprintf(out, room,
                            "data: "
                            "{\"id\":\"chatcmpl-Bx7Qm2Lr9ZkT4vYw8NcHs1Pd\",\"object\":\"chat."
                            "completion.chunk\",\"created\":1763712000,"
                            "\"model\":\"gpt-4.1-2025-04-14\",\"system_fingerprint\":\"fp_"
                            "51e1070cf2\",\"choices\":[{\"index\":0,"
                            "\"delta\":{\"content\":\" token number "
                            "7\"},\"logprobs\":null,\"finish_reason\":null}]%s}\n\n",
                            usage);
}

/* One read from the upstream holds one chunk, as it does while a model writes. */
static void bench_stream(const char *name, const char *usage, bool include)
{
    char chunk[512];
    size_t n = make_chunk(chunk, sizeof(chunk), usage);
    double ns[ROUNDS], copy_ns[ROUNDS];
    struct buf out;

    buf_init(&out, 1 << 20);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start = clock_mono_us();
        for (int i = 0; i < 100; i++) {
            struct openai_stream s;
            openai_stream_init(&s, WIRE_CHAT, 1, include, true, slice_make(NULL, 0), 65536);
            for (int c = 0; c < CHUNKS; c++)
                if (openai_stream_feed(&s, slice_make(chunk, n), &out))
                    abort();
            openai_stream_clear(&s);
            buf_consume(&out, buf_len(&out));
        }
        ns[round] = per_call_ns(start, 100 * CHUNKS);
        copy_ns[round] = copy_cost(chunk, n, 100 * CHUNKS);
    }
    buf_clear(&out);
    print_row(name, n, ns, copy_ns);
}

/* ---- requests ---- */

/* A conversation of that size: turns of some 400 bytes, with escapes and a little beyond ASCII, as
 * chats have. */
static char *make_request(size_t bytes, size_t *n)
{
    static const char turn[] =
        "{\"role\":\"%s\",\"content\":\"Please look at this once more:\\n\\tthe total of column "
        "\\\"b\\\" seems wrong, "
        "caf\xC3\xA9 or not. It should be the sum over all the rows of the table that were added "
        "after the "
        "first of May, without those that were cancelled, and with the discount that the client "
        "has agreed "
        "to in writing. Explain each step in one sentence and give the number at the end.\"}";
    char *text = malloc(bytes + 1024);
    size_t at;

    if (!text)
        abort();
    at = (size_t)snprintf(text, 1024,
                          "{\"model\":\"auto\",\"temperature\":0.7,\"stream\":true,\"messages\":[");
    for (int i = 0; at < bytes - 300 || i == 0; i++) {
        if (i)
            text[at++] = ',';
        at += (size_t)snprintf(text + at, 1024, turn, i % 2 ? "assistant" : "user");
    }
    at += (size_t)snprintf(text + at, 1024, "],\"max_tokens\":512}");
    *n = at;
    return text;
}

static void bench_request(const char *name, size_t bytes)
{
    size_t n, total;
    char *text = make_request(bytes, &n);
    int calls = (int)(4000000 / bytes) + 1;
    double ns[ROUNDS], copy_ns[ROUNDS];
    struct arena a;

    arena_init(&a, 4096);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start = clock_mono_us();
        for (int i = 0; i < calls; i++) {
            struct openai_request r;
            struct slice *pieces;
            const char *param;
            if (openai_request_scan(WIRE_CHAT, slice_make(text, n), &a, &r, &param, NULL))
                abort();
            if (openai_request_splice(&r, SLICE("gpt-4.1"), true, false, &a, &pieces, &total) != 5)
                abort();
            arena_clear(&a);
        }
        ns[round] = per_call_ns(start, calls);
        copy_ns[round] = copy_cost(text, n, calls);
    }
    print_row(name, n, ns, copy_ns);
    free(text);
}

int main(void)
{
    bench_stream("SSE chunk, passed", "", true);
    bench_stream("SSE chunk, \"usage\":null stripped", ",\"usage\":null", false);
    bench_request("request scan + splice, 1 KB", 1024);
    bench_request("request scan + splice, 10 KB", 10240);
    bench_request("request scan + splice, 100 KB", 102400);
    return 0;
}
