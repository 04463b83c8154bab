/* The SSE parser on any bytes: the first byte says how the rest is cut; events and bytes must be
 * the same as uncut. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include "backends/wire/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct trace {
    uint64_t events; /* hash of event names and data, in order */
    size_t count, raw_bytes;
    uint64_t raw; /* hash of all raw bytes in order */
};

static void mix(uint64_t *h, struct slice s) /* FNV-1a */
{
    for (size_t i = 0; i < s.n; i++)
        *h = (*h ^ (unsigned char)s.p[i]) * UINT64_C(1099511628211);
}

static bool on_event(const struct sse_event *e, void *ctx)
{
    struct trace *t = ctx;

    mix(&t->raw, e->raw);
    t->raw_bytes += e->raw.n;
    if (!e->has_data)
        return true;
    mix(&t->events, e->event);
    mix(&t->events, SLICE("\1"));
    mix(&t->events, e->data);
    mix(&t->events, SLICE("\2"));
    t->count++;
    return true;
}

static enum err run(struct slice in, size_t step, struct trace *t, bool *pending)
{
    struct sse_parser p;
    enum err err = ERR_OK;

    *t = (struct trace){0};
    sse_init(&p, 4096);
    p.report_all = true;
    for (size_t at = 0; at < in.n && !err; at += step) {
        size_t n = step < in.n - at ? step : in.n - at;
        char *copy = malloc(n);
        assert(copy);
        memcpy(copy, in.p + at, n);
        err = sse_feed(&p, slice_make(copy, n), on_event, t);
        free(copy);
    }
    *pending = sse_pending(&p);
    if (!err)
        assert(in.n - t->raw_bytes - buf_len(&p.pending) <= 3); /* a BOM at most is lost */
    sse_clear(&p);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make((const char *)data + 1, size ? size - 1 : 0);
    struct trace whole, cut;
    bool pending_whole, pending_cut;

    if (size < 2)
        return 0;
    enum err a = run(in, in.n, &whole, &pending_whole);
    enum err b = run(in, data[0] % 16 + 1, &cut, &pending_cut);
    if (a != b || whole.events != cut.events || whole.count != cut.count)
        abort();
    if (!a &&
        (pending_whole != pending_cut || whole.raw != cut.raw || whole.raw_bytes != cut.raw_bytes))
        abort();
    return 0;
}
