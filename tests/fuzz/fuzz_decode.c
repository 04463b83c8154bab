/* Any bytes as an answer, read by a decoder and written by every encoder. Byte 0: bit 0 Anthropic,
 * bit 1 a whole reply, bit 2 n = 2, bits 4 to 7 how a stream is cut. What must hold: the cut
 * changes nothing; events come in order; what clients read is well-formed, and ends properly just
 * when the answer did. */
#include <stdint.h>
#include <stdlib.h>
#include "base/json_scan.h"
#include "tests/unit/wire/answer_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* ---- order of events ---- */

struct order {
    bool started, finished[CHAT_MAX_CHOICES], ended, usage;
    int open[CHAT_MAX_CHOICES], next[CHAT_MAX_CHOICES]; /* block index; -1: none is open */
    enum chat_block kind[CHAT_MAX_CHOICES];
    bool call[CHAT_MAX_CHOICES];
};

static void check_block(struct order *o, const struct chat_event *e)
{
    int c = e->choice;

    must(!o->finished[c]);
    if (e->kind == CHAT_BLOCK_START) {
        must(o->open[c] < 0 && e->block_index == o->next[c]);
        o->open[c] = o->next[c]++;
        o->kind[c] = e->block;
        o->call[c] |= e->block == CHAT_BLOCK_TOOL_CALL;
        must(e->block != CHAT_BLOCK_TOOL_CALL || e->id.n || e->name.n || !e->text.n);
    }
    must(o->open[c] == e->block_index && o->kind[c] == e->block);
    must(e->kind != CHAT_SIGNATURE || e->block == CHAT_BLOCK_THINKING);
    if (e->kind == CHAT_BLOCK_STOP)
        o->open[c] = -1;
}

static bool on_event(const struct chat_event *e, void *ctx)
{
    struct order *o = ctx;

    must(!o->ended && e->choice >= 0 && e->choice < CHAT_MAX_CHOICES);
    must((e->kind == CHAT_START) != o->started);
    switch (e->kind) {
    case CHAT_START:
        o->started = true;
        break;
    case CHAT_BLOCK_START:
    case CHAT_DELTA:
    case CHAT_SIGNATURE:
    case CHAT_BLOCK_STOP:
        check_block(o, e);
        break;
    case CHAT_FINISH:
        must(o->open[e->choice] < 0 && !o->finished[e->choice]);
        must(e->finish != CHAT_FINISH_STOP || !o->call[e->choice]);
        o->finished[e->choice] = true;
        break;
    case CHAT_USAGE:
        must(!o->usage);
        o->usage = true;
        break;
    case CHAT_END:
        o->ended = true;
        break;
    case CHAT_PING:
        break;
    case CHAT_ERROR:
        must(false);
    }
    return true;
}

static void check_order(enum answer_dialect from, bool whole, int64_t n, struct slice in)
{
    struct openai_decode_options options = {
        .n = n, .fallback_id = SLICE("f"), .max_event_bytes = 65536, .max_held_bytes = 65536};
    struct order o = {.started = false};
    struct openai_decode openai;
    struct anthropic_decode anthropic;
    enum err err;

    for (int i = 0; i < CHAT_MAX_CHOICES; i++)
        o.open[i] = -1;
    openai_decode_init(&openai, &options, on_event, &o);
    anthropic_decode_init(&anthropic, 65536, on_event, &o);
    if (whole)
        err = from == RUN_OPENAI ? openai_decode_whole(in, SLICE("f"), on_event, &o, NULL)
                                 : anthropic_decode_whole(in, on_event, &o, NULL);
    else
        err = from == RUN_OPENAI ? openai_decode_feed(&openai, in)
                                 : anthropic_decode_feed(&anthropic, in);
    if (!err && !whole)
        err = from == RUN_OPENAI ? openai_decode_end(&openai) : anthropic_decode_end(&anthropic);
    must(o.ended == (err == ERR_OK));
    openai_decode_clear(&openai);
    anthropic_decode_clear(&anthropic);
}

/* ---- what clients read ---- */

static bool on_sse(const struct sse_event *e, void *ctx)
{
    struct slice *last = ctx;

    *last = e->event;
    if (slice_eq(e->data, SLICE("[DONE]")))
        *last = e->data;
    else
        must(json_validate(e->data, NULL));
    return true;
}

static void check_stream(struct buf *stream, struct slice end_a, struct slice end_b, bool ended)
{
    struct sse_parser p;
    struct slice last = SLICE("");

    sse_init(&p, 64 << 20);
    must(sse_feed(&p, buf_slice(stream), on_sse, &last) == ERR_OK);
    must(!sse_pending(&p));
    must((slice_eq(last, end_a) || slice_eq(last, end_b)) == ended);
    sse_clear(&p);
}

static void check_output(struct answer_run *r)
{
    bool ended = r->err == ERR_OK;

    check_stream(&r->streams[RUN_OPENAI], SLICE("[DONE]"), SLICE("[DONE]"), ended);
    check_stream(&r->streams[RUN_ANTHROPIC], SLICE("message_stop"), SLICE("message_stop"), ended);
    check_stream(&r->streams[RUN_RESPONSES], SLICE("response.completed"),
                 SLICE("response.incomplete"), ended);
    for (int i = 0; i < RUN_DIALECTS && ended; i++)
        must(r->replied[i] ? buf_len(&r->replies[i]) == 0
                           : json_validate(buf_slice(&r->replies[i]), NULL));
}

static void check_same(struct answer_run *a, struct answer_run *b)
{
    must(a->err == b->err);
    must(slice_eq(buf_slice(&a->trace), buf_slice(&b->trace)));
    for (int i = 0; i < RUN_DIALECTS; i++)
        must(slice_eq(buf_slice(&a->streams[i]), buf_slice(&b->streams[i])));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make((const char *)data + 1, size ? size - 1 : 0);
    struct answer_run whole, cut;

    if (size < 2 || size > 60000)
        return 0;
    enum answer_dialect from = data[0] & 1 ? RUN_ANTHROPIC : RUN_OPENAI;
    int64_t n = data[0] & 4 ? 2 : 1;
    check_order(from, data[0] & 2, n, in);
    if (data[0] & 2) {
        answer_run_whole(&whole, from, in);
    } else {
        answer_run_stream(&whole, from, in, in.n, 0, n);
        answer_run_stream(&cut, from, in, 0, (size_t)(data[0] >> 4) + 1, n);
        check_same(&whole, &cut);
        answer_run_clear(&cut);
    }
    check_output(&whole);
    answer_run_clear(&whole);
    return 0;
}
