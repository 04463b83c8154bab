/* The filter on a streamed Anthropic answer. Owns the SSE parser and the counts of one stream;
 * lives in the request, on its worker; fed by the router with each piece of the upstream's body. An
 * event that passes costs one search for its end, one scan of its JSON and one append. */
#include "backends/wire/anthropic_stream.h"

#include "backends/wire/anthropic_error.h"
#include "backends/wire/anthropic_event.h"
#include "backends/wire/anthropic_usage.h"
#include "backends/wire/json_pen.h"
#include "backends/wire/member.h"

void anthropic_stream_init(struct anthropic_stream *s, struct slice rename, size_t max_event_bytes)
{
    *s = (struct anthropic_stream){.rename = rename};
    sse_relay_init(&s->relay, max_event_bytes);
    buf_init(&s->stop, max_event_bytes);
}

void anthropic_stream_clear(struct anthropic_stream *s)
{
    sse_relay_clear(&s->relay);
    buf_clear(&s->stop);
}

/* ---- reading ---- */

static void note_usage(struct anthropic_stream *s, struct json_value usage)
{
    if (usage.text.n && anthropic_usage_read(usage, &s->usage))
        s->has_usage = true;
}

static void note_start(struct anthropic_stream *s, const struct anthropic_event *event)
{
    struct json_member usage;

    s->started = true;
    if (!json_get(event->message, SLICE("usage"), &usage))
        return;
    note_usage(s, usage.value);
    if (s->has_usage)
        s->has_usage = anthropic_usage_begin(&s->usage);
}

/* Any string of the delta but its type is what the model wrote. */
static void note_delta(struct anthropic_stream *s, const struct anthropic_event *event)
{
    struct json_iter it;
    struct json_member m;
    int64_t bytes = 0;

    if (event->delta.text.n == 0 || event->delta.type != JSON_OBJECT)
        return;
    json_iter_init(&it, event->delta);
    while (json_iter_next(&it, &m))
        if (m.value.type == JSON_STRING && !member_is(&m, SLICE("type")) &&
            !member_is(&m, SLICE("signature")))
            bytes += (int64_t)m.value.text.n - 2;
    s->deltas += bytes > 0;
    s->output_bytes += bytes;
    anthropic_usage_pieces(&s->usage, s->deltas);
}

static void note_message_delta(struct anthropic_stream *s, const struct anthropic_event *event)
{
    struct json_member reason;

    note_usage(s, event->usage);
    if (event->delta.text.n == 0 || !json_get(event->delta, SLICE("stop_reason"), &reason) ||
        reason.value.type != JSON_STRING)
        return;
    anthropic_usage_settle(&s->usage);
    s->reason_seen = true;
    s->truncated = value_is_text(reason.value, SLICE("max_tokens"));
}

/* ---- writing ---- */

/* message_start with another model in its message; an event whose data came in several lines is
 * framed anew. */
static enum err emit_renamed(struct anthropic_stream *s, const struct sse_event *e,
                             struct slice model)
{
    struct slice whole = e->joined ? e->data : e->raw;
    size_t at = (size_t)(model.p - whole.p);
    struct json_pen pen;
    enum err err;

    json_pen_begin(&pen, s->relay.out);
    if (e->joined) {
        JSON_PEN(&pen, "event: message_start\ndata: ");
        json_pen_line(&pen, slice_make(whole.p, at));
    } else {
        json_pen_raw(&pen, slice_make(whole.p, at));
    }
    json_pen_string(&pen, s->rename);
    if (e->joined) {
        json_pen_line(&pen, slice_from(whole, at + model.n));
        JSON_PEN(&pen, "\n\n");
    } else {
        json_pen_raw(&pen, slice_from(whole, at + model.n));
    }
    err = json_pen_end(&pen);
    if (!err)
        sse_relay_rewrote(&s->relay, e);
    return err;
}

static enum err emit_start(struct anthropic_stream *s, const struct sse_event *e,
                           const struct anthropic_event *event)
{
    struct json_member model;
    bool rename = s->rename.p && json_get(event->message, SLICE("model"), &model);

    return rename ? emit_renamed(s, e, model.value.text) : sse_relay_raw(&s->relay, e);
}

/* ---- one event ---- */

static enum err fail(struct anthropic_stream *s, const struct sse_event *e)
{
    s->failed = true;
    s->error_data = e->data;
    return anthropic_error_classify(0, e->data);
}

static enum err take_event(struct anthropic_stream *s, const struct sse_event *e,
                           const struct anthropic_event *event)
{
    if (s->signals)
        answer_signals_anthropic(s->signals, event);
    switch (event->kind) {
    case ANTHROPIC_MESSAGE_START:
        note_start(s, event);
        return emit_start(s, e, event);
    case ANTHROPIC_BLOCK_DELTA:
        note_delta(s, event);
        return sse_relay_raw(&s->relay, e);
    case ANTHROPIC_MESSAGE_DELTA:
        note_message_delta(s, event);
        return sse_relay_raw(&s->relay, e);
    case ANTHROPIC_MESSAGE_STOP:
        s->stop_seen = true;
        return buf_append_slice(&s->stop, e->raw) ? ERR_UPSTREAM_TOO_LARGE : ERR_OK;
    case ANTHROPIC_PING:
        return sse_relay_keepalive(&s->relay, e);
    case ANTHROPIC_ERROR:
        return fail(s, e);
    case ANTHROPIC_BLOCK_START:
    case ANTHROPIC_BLOCK_STOP:
    case ANTHROPIC_UNKNOWN:
        return sse_relay_raw(&s->relay, e);
    }
    return ERR_OK;
}

static bool on_event(const struct sse_event *e, void *ctx)
{
    struct anthropic_stream *s = ctx;
    struct anthropic_event event;

    if (json_trim(e->data).n == 0 && !slice_eq(e->event, SLICE("error")))
        s->relay.err = sse_relay_keepalive(&s->relay, e);
    else if (anthropic_event_read(e, &event))
        s->relay.err = take_event(s, e, &event);
    else
        s->relay.err = slice_eq(e->event, SLICE("error")) ? fail(s, e) : ERR_UPSTREAM_PROTOCOL;
    return s->relay.err == ERR_OK && !s->stop_seen;
}

enum err anthropic_stream_feed(struct anthropic_stream *s, struct slice in, struct buf *out)
{
    if (s->relay.err || s->stop_seen)
        return s->relay.err;
    return sse_relay_feed(&s->relay, in, out, on_event, s);
}

bool anthropic_stream_complete(const struct anthropic_stream *s)
{
    return !s->relay.err && !s->failed && s->started && (s->reason_seen || s->stop_seen);
}

bool anthropic_stream_exhausted(const struct anthropic_stream *s)
{
    return anthropic_stream_complete(s) && s->stop_seen;
}

/* ---- what weir itself says ---- */

enum err anthropic_stream_end(struct anthropic_stream *s, struct buf *out)
{
    struct slice standard = SLICE("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");

    if (!anthropic_stream_complete(s))
        return ERR_INTERNAL;
    return buf_append_slice(out, s->stop_seen ? buf_slice(&s->stop) : standard);
}

enum err anthropic_stream_error(enum err e, const char *message, struct slice request_id,
                                struct buf *out)
{
    struct json_pen pen;

    json_pen_begin(&pen, out);
    JSON_PEN(&pen, "event: error\ndata: ");
    if (!pen.err)
        pen.err = anthropic_error_body(e, message, NULL, request_id, out);
    JSON_PEN(&pen, "\n\n");
    return json_pen_end(&pen);
}
