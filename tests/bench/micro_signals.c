/* What reading along with a streamed answer costs, per chunk of text: a stream that passes, as it
 * does without anybody reading along, beside the same stream with its signals collected
 * (backends/wire/answer_signals.h), with log-probabilities in the chunks or without, shown to the
 * client or muted. Nanoseconds, the best and the median of many rounds; the ratio is to the same
 * bytes passed (goal: at most 1.3). Features are computed once per answer: the last lines say what
 * they cost. One read from the server holds one chunk. Run: build/release/tests/bench/micro_signals
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/answer.h"
#include "base/clock.h"
#include "router/confidence.h"

#define ROUNDS    401
#define STREAMS   1
#define CHUNKS    256
#define MAX_BYTES ((size_t)1 << 20)

#define HEAD                                                                                       \
    "data: {\"id\":\"chatcmpl-Bx7Qm2Lr9ZkT4vYw8NcHs1Pd\",\"object\":\"chat.completion.chunk\","    \
    "\"created\":1763712000,\"model\":\"gpt-4.1-2025-04-14\",\"system_fingerprint\":"              \
    "\"fp_51e1070cf2\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token number 7\"},"     \
    "\"logprobs\":"
#define TAIL                 ",\"finish_reason\":null}]}\n\n"
#define TOP(token, l, bytes) "{\"token\":\"" token "\",\"logprob\":" l ",\"bytes\":[" bytes "]}"
#define LOGPROBS                                                                                                           \
    "{\"content\":[{\"token\":\" token\",\"logprob\":-0.31725305318832397,\"bytes\":[32,116,111,"                          \
    "107,101,110],\"top_logprobs\":[" TOP(" token", "-0.31725305318832397", "32,116,111,107,101,110") "," TOP(             \
        " word", "-1.6922530531883240",                                                                                    \
        "32,119,111,114,100") "," TOP(" piece", "-3.4422531127929688",                                                     \
                                      "32,112,105,101,99,101") "," TOP(" part",                                            \
                                                                       "-4.8172531127929688",                              \
                                                                       "32,112,97,114,116") "," TOP(" item",               \
                                                                                                    "-5.4422531127929688", \
                                                                                                    "32,105,116,101,109") "]}],\"refusal\":null}"
#define STOP                                                                                       \
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n" \
    "data: [DONE]\n\n"

#define ANTHROPIC_START                                                                            \
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\","       \
    "\"model\":\"claude\",\"usage\":{\"input_tokens\":25}}}\n\n"                                   \
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"             \
    "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
#define ANTHROPIC_CHUNK                                                                            \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"   \
    "{\"type\":\"text_delta\",\"text\":\" token number 7\"}}\n\n"
#define ANTHROPIC_STOP                                                                             \
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"          \
    "\"end_turn\"},\"usage\":{\"output_tokens\":256}}\n\n"                                         \
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

/* One way of an answer; of those with the same bytes the first is what the others are compared to.
 */
struct way {
    const char *name;
    enum wire_api api;
    enum wire_dialect server;
    struct slice start, chunk, stop;
    bool signals, muted;
};
#define TEXT(s)                                                                                    \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }
#define PLAIN    TEXT(""), TEXT(HEAD "null" TAIL), TEXT(STOP)
#define WITH     TEXT(""), TEXT(HEAD LOGPROBS TAIL), TEXT(STOP)
#define MESSAGES TEXT(ANTHROPIC_START), TEXT(ANTHROPIC_CHUNK), TEXT(ANTHROPIC_STOP)

static const struct way ways[] = {
    {"openai, passed", WIRE_CHAT, WIRE_OPENAI, PLAIN, false, false},
    {"openai, signals", WIRE_CHAT, WIRE_OPENAI, PLAIN, true, false},
    {"openai, logprobs, passed", WIRE_CHAT, WIRE_OPENAI, WITH, false, false},
    {"openai, logprobs, signals", WIRE_CHAT, WIRE_OPENAI, WITH, true, false},
    {"openai, logprobs, muted", WIRE_CHAT, WIRE_OPENAI, WITH, true, true},
    {"anthropic, passed", WIRE_MESSAGES, WIRE_ANTHROPIC, MESSAGES, false, false},
    {"anthropic, signals", WIRE_MESSAGES, WIRE_ANTHROPIC, MESSAGES, true, false},
    {"openai -> anthropic", WIRE_MESSAGES, WIRE_OPENAI, WITH, false, false},
    {"openai -> anthropic, signals", WIRE_MESSAGES, WIRE_OPENAI, WITH, true, true},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void one_stream(const struct way *w, struct answer_signals *signals, struct buf *out)
{
    struct answer_options opt = {
        .api = w->api,
        .server = w->server,
        .n = 1,
        .include_usage = true,
        .asked_logprobs = w->muted,
        .signals = w->signals ? signals : NULL,
        .request_id = SLICE("r"),
        .max_event_bytes = MAX_BYTES,
        .max_answer_bytes = MAX_BYTES,
    };
    struct answer a = {.mode = ANSWER_CLOSED};

    answer_open(&a, &opt);
    must(answer_feed(&a, w->start, out) == ERR_OK);
    for (int i = 0; i < CHUNKS; i++)
        must(answer_feed(&a, w->chunk, out) == ERR_OK);
    must(answer_feed(&a, w->stop, out) == ERR_OK && answer_end(&a, out) == ERR_OK);
    answer_clear(&a);
}

static double measure(const struct way *w, struct answer_signals *signals, struct buf *out)
{
    int64_t start = clock_mono_us();

    for (int i = 0; i < STREAMS; i++) {
        answer_signals_clear(signals);
        one_stream(w, signals, out);
        buf_reset(out);
    }
    return (double)(clock_mono_us() - start) * 1000.0 / (STREAMS * CHUNKS);
}

static void measure_features(struct answer_signals *signals, struct buf *out)
{
    struct confidence_context none = {0};
    float features[CONFIDENCE_FEATURES];
    double sum = 0;
    int64_t start;

    answer_signals_clear(signals);
    one_stream(&ways[4], signals, out);
    start = clock_mono_us();
    for (int i = 0; i < 10000; i++) {
        confidence_features(signals, &none, features);
        sum += confidence_score(features, NULL);
    }
    printf("features and score: %.2f us per answer (score %.3f)\n",
           (double)(clock_mono_us() - start) / 10000, sum / 10000);
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
    struct answer_signals signals;
    double passed_ns = 0;
    struct buf out;

    buf_init(&out, 16 << 20);
    answer_signals_init(&signals, MAX_BYTES);
    for (int round = 0; round < ROUNDS; round++)
        for (size_t w = 0; w < WAYS; w++)
            ns[w][round] = measure(&ways[w], &signals, &out);
    for (size_t w = 0; w < WAYS; w++) {
        qsort(ns[w], ROUNDS, sizeof(ns[w][0]), compare);
        if (!ways[w].signals)
            passed_ns = ns[w][0];
        printf("%-30s best %6.0f ns  median %6.0f ns per chunk  %5.2f x passed\n", ways[w].name,
               ns[w][0], ns[w][ROUNDS / 2], ns[w][0] / passed_ns);
    }
    measure_features(&signals, &out);
    answer_signals_clear(&signals);
    buf_clear(&out);
    return 0;
}
