/* What translating a streamed answer costs, per chunk of text: the pass-through of each dialect
 * beside every pair that is translated. Nanoseconds, the best and the median of many rounds; the
 * ratio is to the pass-through of the upstream's dialect (goal: at most 2). One read from the
 * upstream holds one chunk, as it does while a model writes; chunks that begin and end a stream are
 * in the time, spread over its CHUNKS. Run: build/release/tests/bench/micro_translate */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/anthropic_decode.h"
#include "backends/wire/anthropic_encode.h"
#include "backends/wire/anthropic_stream.h"
#include "backends/wire/openai_decode.h"
#include "backends/wire/openai_encode.h"
#include "backends/wire/openai_stream.h"
#include "backends/wire/responses_encode.h"
#include "base/clock.h"

#define ROUNDS    61
#define STREAMS   40
#define CHUNKS    256
#define MAX_EVENT 65536

#define OPENAI_HEAD                                                                                \
    "data: {\"id\":\"chatcmpl-Bx7Qm2Lr9ZkT4vYw8NcHs1Pd\",\"object\":\"chat.completion.chunk\","    \
    "\"created\":1763712000,\"model\":\"gpt-4.1-2025-04-14\",\"system_fingerprint\":"              \
    "\"fp_51e1070cf2\",\"choices\":[{\"index\":0,\"delta\":"
#define OPENAI_START OPENAI_HEAD "{\"role\":\"assistant\"},\"finish_reason\":null}]}\n\n"
#define OPENAI_CHUNK                                                                               \
    OPENAI_HEAD "{\"content\":\" token number "                                                    \
                "7\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n"
#define OPENAI_STOP OPENAI_HEAD "{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"

#define ANTHROPIC_START                                                                            \
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\","       \
    "\"model\":\"claude\",\"usage\":{\"input_tokens\":25}}}\n\n"                                   \
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"             \
    "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
#define ANTHROPIC_CHUNK                                                                            \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"   \
    "{\"type\":\"text_delta\",\"text\":\" token number 7\"}}\n\n"
#define ANTHROPIC_STOP                                                                             \
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"           \
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"          \
    "\"end_turn\"},\"usage\":{\"output_tokens\":256}}\n\n"                                         \
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

enum dialect { OPENAI, ANTHROPIC, RESPONSES };

/* One way of an answer; to and from may be the same dialect: then it passes. */
struct way {
    const char *name;
    enum dialect from, to;
};
static const struct way ways[] = {
    {"openai, passed", OPENAI, OPENAI},         {"openai -> anthropic", OPENAI, ANTHROPIC},
    {"openai -> responses", OPENAI, RESPONSES}, {"anthropic, passed", ANTHROPIC, ANTHROPIC},
    {"anthropic -> openai", ANTHROPIC, OPENAI}, {"anthropic -> responses", ANTHROPIC, RESPONSES},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static void must(enum err err)
{
    if (err)
        abort();
}

/* ---- one stream ---- */

typedef void (*feed_fn)(void *to, struct slice in);

static void feed_stream(enum dialect from, feed_fn feed, void *to)
{
    feed(to, from == OPENAI ? SLICE(OPENAI_START) : SLICE(ANTHROPIC_START));
    for (int i = 0; i < CHUNKS; i++)
        feed(to, from == OPENAI ? SLICE(OPENAI_CHUNK) : SLICE(ANTHROPIC_CHUNK));
    feed(to, from == OPENAI ? SLICE(OPENAI_STOP) : SLICE(ANTHROPIC_STOP));
}

struct filters {
    struct openai_stream openai;
    struct anthropic_stream anthropic;
    struct buf *out;
};

static void filter_openai(void *to, struct slice in)
{
    struct filters *f = to;

    must(openai_stream_feed(&f->openai, in, f->out));
}

static void filter_anthropic(void *to, struct slice in)
{
    struct filters *f = to;

    must(anthropic_stream_feed(&f->anthropic, in, f->out));
}

static void pass(enum dialect dialect, struct buf *out)
{
    struct filters f = {.out = out};

    if (dialect == OPENAI) {
        openai_stream_init(&f.openai, WIRE_CHAT, 1, true, true, slice_make(NULL, 0), MAX_EVENT);
        feed_stream(dialect, filter_openai, &f);
        must(openai_stream_end(&f.openai, out));
        openai_stream_clear(&f.openai);
    } else {
        anthropic_stream_init(&f.anthropic, slice_make(NULL, 0), MAX_EVENT);
        feed_stream(dialect, filter_anthropic, &f);
        must(anthropic_stream_end(&f.anthropic, out));
        anthropic_stream_clear(&f.anthropic);
    }
}

struct translation {
    enum dialect to;
    struct openai_decode from_openai;
    struct anthropic_decode from_anthropic;
    struct openai_encode openai;
    struct anthropic_encode anthropic;
    struct responses_encode responses;
    struct buf *out;
};

static bool on_event(const struct chat_event *e, void *ctx)
{
    struct translation *t = ctx;

    if (t->to == OPENAI)
        must(openai_encode_on(&t->openai, e, t->out));
    else if (t->to == ANTHROPIC)
        must(anthropic_encode_on(&t->anthropic, e, t->out));
    else
        must(responses_encode_on(&t->responses, e, t->out));
    return true;
}

static void decode_openai(void *to, struct slice in)
{
    must(openai_decode_feed(&((struct translation *)to)->from_openai, in));
}

static void decode_anthropic(void *to, struct slice in)
{
    must(anthropic_decode_feed(&((struct translation *)to)->from_anthropic, in));
}

static void translate(const struct way *way, struct buf *out)
{
    struct chat_encode_options options = {.model = SLICE("auto"), .max_answer_bytes = 1 << 20};
    struct openai_decode_options decode = {
        .n = 1, .max_event_bytes = MAX_EVENT, .max_held_bytes = MAX_EVENT};
    struct translation t = {.to = way->to, .out = out};

    openai_encode_init(&t.openai, &options);
    anthropic_encode_init(&t.anthropic, &options);
    responses_encode_init(&t.responses, &options);
    openai_decode_init(&t.from_openai, &decode, on_event, &t);
    anthropic_decode_init(&t.from_anthropic, MAX_EVENT, on_event, &t);
    feed_stream(way->from, way->from == OPENAI ? decode_openai : decode_anthropic, &t);
    must(way->from == OPENAI ? openai_decode_end(&t.from_openai)
                             : anthropic_decode_end(&t.from_anthropic));
    openai_encode_clear(&t.openai);
    anthropic_encode_clear(&t.anthropic);
    responses_encode_clear(&t.responses);
    openai_decode_clear(&t.from_openai);
    anthropic_decode_clear(&t.from_anthropic);
}

/* ---- measuring ---- */

static double measure(const struct way *way, struct buf *out)
{
    int64_t start = clock_mono_us();

    for (int i = 0; i < STREAMS; i++) {
        if (way->from == way->to)
            pass(way->from, out);
        else
            translate(way, out);
        buf_reset(out);
    }
    return (double)(clock_mono_us() - start) * 1000.0 / (STREAMS * CHUNKS);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Rounds are interleaved: a host that changes its speed changes it for all ways. */
int main(void)
{
    static double ns[WAYS][ROUNDS];
    double passed_ns = 0;
    struct buf out;

    buf_init(&out, 16 << 20);
    for (int round = 0; round < ROUNDS; round++)
        for (size_t w = 0; w < WAYS; w++)
            ns[w][round] = measure(&ways[w], &out);
    buf_clear(&out);
    for (size_t w = 0; w < WAYS; w++) {
        qsort(ns[w], ROUNDS, sizeof(ns[w][0]), compare);
        if (ways[w].from == ways[w].to)
            passed_ns = ns[w][0];
        printf("%-24s best %6.0f ns  median %6.0f ns per chunk  %5.2f x passed\n", ways[w].name,
               ns[w][0], ns[w][ROUNDS / 2], ns[w][0] / passed_ns);
    }
    return 0;
}
