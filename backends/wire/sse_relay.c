/* Events that pass. Owns the parser of one stream; called by openai_stream and anthropic_stream. */
#include "backends/wire/sse_relay.h"

void sse_relay_init(struct sse_relay *r, size_t max_event_bytes)
{
    *r = (struct sse_relay){.err = ERR_OK};
    sse_init(&r->sse, max_event_bytes);
    r->sse.report_all = true;
}

void sse_relay_clear(struct sse_relay *r)
{
    sse_clear(&r->sse);
}

enum err sse_relay_feed(struct sse_relay *r, struct slice in, struct buf *out, sse_event_fn fn,
                        void *ctx)
{
    enum err err;

    r->out = out;
    err = sse_feed(&r->sse, in, fn, ctx);
    r->out = NULL;
    if (err && !r->err)
        r->err = err;
    return r->err;
}

enum err sse_relay_raw(struct sse_relay *r, const struct sse_event *e)
{
    if (buf_append_slice(r->out, e->raw))
        return ERR_UPSTREAM_TOO_LARGE;
    r->first_emitted = r->last_emitted = true;
    return ERR_OK;
}

void sse_relay_rewrote(struct sse_relay *r, const struct sse_event *e)
{
    r->first_emitted = true;
    r->last_emitted = !e->joined; /* framed anew it has a line end of its own */
}

/* A block that begins with a line end is nothing else: it goes with the block before it, whose last
 * LF it may be. */
enum err sse_relay_keepalive(struct sse_relay *r, const struct sse_event *e)
{
    bool line_end = e->raw.n && (e->raw.p[0] == '\r' || e->raw.p[0] == '\n');
    bool pass = r->first_emitted && (r->last_emitted || !line_end);

    r->last_emitted = pass;
    return pass ? sse_relay_raw(r, e) : ERR_OK;
}
