/* Any bytes as an answer that is to be kept. Byte 0: bits 0 and 1 the client's API, bit 2 a server
 * of Anthropic's dialect, bit 3 a whole reply, bits 4 to 7 how a stream is cut. What must hold: the
 * cut changes nothing; what is kept can be given again, whole and as a stream; and is worth keeping
 * still. */
#include <stdint.h>
#include <stdlib.h>
#include "backends/wire/answer_record.h"
#include "backends/wire/answer_replay.h"

#define MAX_BYTES (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static enum answer_worth record(const struct answer_record_options *opt, struct slice in,
                                size_t step, struct buf *out)
{
    struct answer_record *r = answer_record_new(opt);
    enum answer_worth worth;

    for (size_t at = 0; at < in.n; at += step)
        answer_record_feed(r, slice_make(in.p + at, step < in.n - at ? step : in.n - at));
    worth = answer_record_end(r, out);
    must((worth == ANSWER_GOOD) == (buf_len(out) > 0));
    answer_record_free(r);
    return worth;
}

static void replay(const struct answer_record_options *opt, struct slice kept)
{
    struct answer_options to = {
        .api = opt->api,
        .server = opt->server,
        .n = 1,
        .include_usage = true,
        .show_requested = true,
        .requested_model = SLICE("auto"),
        .request_id = SLICE("req-7"),
        .created_s = 1763700000,
        .max_event_bytes = MAX_BYTES,
        .max_answer_bytes = MAX_BYTES,
    };
    struct answer_whole whole;
    struct arena a;
    struct buf out;

    arena_init(&a, 1024);
    buf_init(&out, 16 * MAX_BYTES);
    must(answer_replay_whole(&to, kept, &a, &whole) == ERR_OK);
    must(answer_replay_stream(&to, kept, &out) == ERR_OK);
    must(answer_record_whole(opt, kept) == ANSWER_GOOD);
    buf_clear(&out);
    arena_clear(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum wire_api apis[] = {WIRE_CHAT, WIRE_COMPLETIONS, WIRE_MESSAGES,
                                         WIRE_RESPONSES};
    struct answer_record_options opt = {
        .n = 1, .created_s = 1763700000, .max_bytes = MAX_BYTES, .max_event_bytes = 65536};
    enum wire_api asked;
    struct slice in;
    struct buf kept, again;

    if (size < 1 || size > 65536)
        return 0;
    opt.api = apis[data[0] & 3];
    opt.server = data[0] & 4 ? WIRE_ANTHROPIC : WIRE_OPENAI;
    if (!wire_upstream_api(opt.api, opt.server, &asked))
        return 0;
    in = slice_make((const char *)data + 1, size - 1);
    buf_init(&kept, MAX_BYTES);
    buf_init(&again, MAX_BYTES);
    if (data[0] & 8) {
        if (answer_record_whole(&opt, in) == ANSWER_GOOD)
            replay(&opt, in);
    } else {
        enum answer_worth worth = record(&opt, in, in.n + 1, &kept);

        must(record(&opt, in, 1 + (data[0] >> 4), &again) == worth);
        must(slice_eq(buf_slice(&kept), buf_slice(&again)));
        if (worth == ANSWER_GOOD)
            replay(&opt, buf_slice(&kept));
    }
    buf_clear(&kept);
    buf_clear(&again);
    return 0;
}
