/* The stream filter on any bytes. Byte 0: bit 0 include_usage, bit 1 rename, bit 2 n = 2, bits 4 to
 * 7 how the rest is cut. The output must not depend on the cut, must be events of JSON objects (or
 * blank data), and carry no usage that was to be stripped. */
#include <stdint.h>
#include <stdlib.h>
#include "backends/wire/openai_stream.h"
#include "base/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    enum err err;
    struct buf out;
    bool complete, exhausted;
    int64_t deltas, output_bytes;
    struct token_usage usage;
};

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void run(uint8_t options, struct slice in, size_t step, struct result *r)
{
    struct openai_stream s;

    *r = (struct result){0};
    buf_init(&r->out, 1 << 20);
    openai_stream_init(&s, WIRE_CHAT, options & 4 ? 2 : 1, options & 1, true,
                       options & 2 ? SLICE("na\"me") : slice_make(NULL, 0), 4096);
    for (size_t at = 0; at < in.n && !r->err; at += step) {
        size_t n = step < in.n - at ? step : in.n - at;
        char *copy = malloc(n);
        must(copy != NULL);
        memcpy(copy, in.p + at, n);
        r->err = openai_stream_feed(&s, slice_make(copy, n), &r->out);
        free(copy);
    }
    r->complete = openai_stream_complete(&s);
    r->exhausted = openai_stream_exhausted(&s);
    r->deltas = s.deltas;
    r->output_bytes = s.output_bytes;
    r->usage = s.usage;
    must(!r->exhausted || r->complete);
    must(s.relay.first_emitted == (buf_len(&r->out) > 0));
    must(r->deltas >= 0 && r->output_bytes >= 0);
    for (int k = 0; k < TOK_KINDS; k++)
        must(s.usage.n[k] >= 0);
    openai_stream_clear(&s);
}

static bool on_member(const struct json_member *m, void *ctx)
{
    uint8_t options = *(uint8_t *)ctx;

    must((options & 1) || !json_key_is(m, SLICE("usage")));
    must(!(options & 2) || !json_key_is(m, SLICE("model")) ||
         slice_eq(m->value.text, SLICE("\"na\\\"me\"")));
    return true;
}

static bool on_event(const struct sse_event *e, void *ctx)
{
    struct slice data = e->data;

    while (data.n && strchr(" \t\r\n", data.p[0]) && data.p[0])
        data = slice_from(data, 1);
    if (data.n)
        must(json_scan_object(e->data, on_member, ctx, NULL));
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make((const char *)data + 1, size ? size - 1 : 0);
    struct result whole, cut;
    struct sse_parser reader;

    if (size < 2)
        return 0;
    uint8_t options = data[0];
    run(options, in, in.n, &whole);
    run(options, in, (size_t)(options >> 4) + 1, &cut);
    must(whole.err == cut.err && whole.complete == cut.complete &&
         whole.exhausted == cut.exhausted);
    must(whole.deltas == cut.deltas && whole.output_bytes == cut.output_bytes);
    must(memcmp(&whole.usage, &cut.usage, sizeof(whole.usage)) == 0);
    must(slice_eq(buf_slice(&whole.out), buf_slice(&cut.out)));
    sse_init(&reader, 1 << 20);
    must(sse_feed(&reader, buf_slice(&whole.out), on_event, &options) == ERR_OK);
    must(!sse_pending(&reader));
    sse_clear(&reader);
    buf_clear(&whole.out);
    buf_clear(&cut.out);
    return 0;
}
