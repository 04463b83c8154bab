/* The filter on a streamed OpenAI answer. Owns the SSE parser and the counts of one stream; lives
 * in the request, on its worker; fed by the router with each piece of the upstream's body. A chunk
 * that passes costs one search for its end, one scan of its JSON, a walk over its choices and one
 * append. */
#include "backends/wire/openai_stream.h"

#include <assert.h>
#include <string.h>

#include "backends/wire/member.h"
#include "backends/wire/openai_choice.h"
#include "backends/wire/openai_error.h"
#include "backends/wire/openai_usage.h"

#define FEW_CHOICES 4 /* with log-probabilities in one chunk: one, but for n > 1 */

/* What one chunk holds, the last member of each name. */
struct chunk {
    struct json_value choices, usage, groq, error, object; /* text.n == 0 when absent */
    size_t usage_count, model_count;                       /* occurrences */
    struct slice logprobs[FEW_CHOICES];                    /* of choices that have them */
    size_t logprobs_count;                                 /* may exceed the array */
};

void openai_stream_init(struct openai_stream *s, enum wire_api api, int64_t n, bool include_usage,
                        bool asked_usage, struct slice rename, size_t max_event_bytes)
{
    *s = (struct openai_stream){.api = api,
                                .n = n,
                                .include_usage = include_usage,
                                .asked_usage = asked_usage,
                                .rename = rename};
    sse_relay_init(&s->relay, max_event_bytes);
}

void openai_stream_clear(struct openai_stream *s)
{
    sse_relay_clear(&s->relay);
}

/* ---- reading a chunk ---- */

static bool on_member(const struct json_member *m, void *ctx)
{
    struct chunk *c = ctx;

    if (member_is(m, SLICE("choices"))) {
        c->choices = m->value;
    } else if (member_is(m, SLICE("usage"))) {
        c->usage = m->value;
        c->usage_count++;
    } else if (member_is(m, SLICE("model"))) {
        c->model_count++;
    } else if (member_is(m, SLICE("error"))) {
        c->error = m->value;
    } else if (member_is(m, SLICE("object"))) {
        c->object = m->value;
    } else if (member_is(m, SLICE("x_groq"))) {
        c->groq = m->value;
    }
    return true;
}

/* Some servers send "error": null (or "", or false) with every chunk. Old vLLM:
 * {"object":"error","message":...}. */
static bool is_error(const struct sse_event *e, const struct chunk *c)
{
    bool text = c->error.type == JSON_STRING && c->error.text.n > 2;

    return c->error.type == JSON_OBJECT || text || value_is_text(c->object, SLICE("error")) ||
           slice_eq(e->event, SLICE("error"));
}

static bool note_usage(struct openai_stream *s, struct json_value usage)
{
    struct token_usage u;

    if (!usage.text.n || !openai_usage_read(usage, &u))
        return false;
    s->has_usage = true;
    s->usage = u;
    return true;
}

static void note_finish(struct openai_stream *s, int64_t index)
{
    uint64_t bit = index >= 0 && index < 64 ? UINT64_C(1) << index : 0;

    if (bit && (s->finished_mask & bit))
        return;
    s->finished_mask |= bit;
    s->finished++;
}

/* Reads the choices; false when one of them failed. *count: how many; *usage: usage that stands in
 * a choice. */
static bool note_choices(struct openai_stream *s, struct chunk *c, size_t *count,
                         struct json_value *usage)
{
    struct json_iter it;
    struct json_member m;
    struct openai_choice choice;

    *count = 0;
    if (c->choices.text.n == 0 || c->choices.type != JSON_ARRAY)
        return true;
    json_iter_init(&it, c->choices);
    while (json_iter_next(&it, &m)) {
        openai_choice_read(m.value, &choice);
        if (choice.failed)
            return false;
        ++*count;
        s->choice_seen = true;
        if (choice.index >= 0 && choice.index < 64)
            s->seen_mask |= UINT64_C(1) << choice.index;
        if (choice.finished)
            note_finish(s, choice.index);
        if (openai_choice_has_logprobs(choice.logprobs)) {
            if (c->logprobs_count < FEW_CHOICES)
                c->logprobs[c->logprobs_count] = choice.logprobs.text;
            c->logprobs_count++;
        }
        if (s->signals)
            answer_signals_openai(s->signals, &choice);
        s->deltas += choice.text_bytes > 0;
        s->output_bytes += choice.text_bytes;
        if (choice.usage.text.n)
            *usage = choice.usage;
    }
    return true;
}

/* ---- writing a chunk ---- */

/* Writes into room that was reserved for the longest possible result. */
struct pen {
    char *p;
    size_t n, cap;
    struct slice rename;
    bool strip; /* the usage member */
    bool strip_logprobs;
};

static void put(struct pen *pen, const char *p, size_t n)
{
    assert(n <= pen->cap - pen->n);
    if (n)
        memcpy(pen->p + pen->n, p, n);
    pen->n += n;
}

static void put_name(struct pen *pen)
{
    size_t n = json_string_encode(pen->rename, pen->p + pen->n, pen->cap - pen->n);

    assert(n <= pen->cap - pen->n);
    pen->n += n;
}

/* The choices with null for their log-probabilities; from: where copying from the object stands. */
static size_t put_choices(struct pen *pen, struct slice object, struct json_value choices,
                          size_t from)
{
    struct json_iter it, inside;
    struct json_member choice, m;

    if (choices.type != JSON_ARRAY)
        return from;
    json_iter_init(&it, choices);
    while (json_iter_next(&it, &choice)) {
        if (choice.value.type != JSON_OBJECT)
            continue;
        json_iter_init(&inside, choice.value);
        while (json_iter_next(&inside, &m)) {
            size_t at = (size_t)(m.value.text.p - object.p);

            if (!member_is(&m, SLICE("logprobs")) || !openai_choice_has_logprobs(m.value))
                continue;
            put(pen, object.p + from, at - from);
            put(pen, "null", 4);
            from = at + m.value.text.n;
        }
    }
    return from;
}

/* The chunk's object with usage members cut out, the model's name and log-probabilities replaced;
 * every other byte as it was. A member goes with the comma before it, or, as long as none was kept,
 * with all up to the next member. */
static void put_chunk(struct pen *pen, struct slice object)
{
    struct json_iter it;
    struct json_member m;
    size_t from = 0, last_end = 0; /* copied up to; end of the member before */
    bool kept = false, to_next = false;

    json_iter_init(&it, (struct json_value){JSON_OBJECT, object});
    while (json_iter_next(&it, &m)) {
        if (pen->strip && member_is(&m, SLICE("usage"))) {
            if (kept) {
                put(pen, object.p + from, last_end - from);
                from = m.end;
            } else if (!to_next) {
                put(pen, object.p + from, m.begin - from);
                to_next = true;
            }
        } else {
            if (to_next)
                from = m.begin;
            to_next = false;
            kept = true;
            if (pen->rename.p && member_is(&m, SLICE("model"))) {
                size_t at = (size_t)(m.value.text.p - object.p);
                put(pen, object.p + from, at - from);
                put_name(pen);
                from = m.end;
            } else if (pen->strip_logprobs && member_is(&m, SLICE("choices"))) {
                from = put_choices(pen, object, m.value, from);
            }
        }
        last_end = m.end;
    }
    if (to_next)
        from = last_end;
    put(pen, object.p + from, object.n - from);
}

/* An event whose data came in several lines, framed anew in one: the LFs that joined them are white
 * space to JSON, which has none inside a string. */
static void put_joined(struct pen *pen, const struct sse_event *e, struct slice object)
{
    size_t start;
    char *lf;

    if (e->event.n) {
        put(pen, "event: ", 7);
        put(pen, e->event.p, e->event.n);
        put(pen, "\n", 1);
    }
    put(pen, "data: ", 6);
    start = pen->n;
    put_chunk(pen, object);
    while ((lf = memchr(pen->p + start, '\n', pen->n - start))) {
        *lf = ' ';
        start = (size_t)(lf - pen->p) + 1;
    }
    put(pen, "\n\n", 2);
}

static enum err emit_rewritten(struct openai_stream *s, const struct sse_event *e,
                               const struct chunk *c, bool strip)
{
    struct slice object = json_trim(e->data);
    size_t name_bytes = s->rename.p ? json_string_encode(s->rename, NULL, 0) : 0;
    /* Framing anew adds a space after each colon and the last two LFs. */
    size_t bound = e->raw.n + 4 + c->model_count * name_bytes;
    struct pen pen = {.rename = s->rename, .strip = strip, .strip_logprobs = s->strip_logprobs};

    if (buf_reserve(s->relay.out, bound, &pen.p, &pen.cap))
        return ERR_UPSTREAM_TOO_LARGE;
    if (!e->joined) {
        size_t before = (size_t)(object.p - e->raw.p);
        put(&pen, e->raw.p, before);
        put_chunk(&pen, object);
        put(&pen, object.p + object.n, e->raw.n - before - object.n);
    } else {
        put_joined(&pen, e, object);
    }
    buf_commit(s->relay.out, pen.n);
    sse_relay_rewrote(&s->relay, e);
    return ERR_OK;
}

/* Nothing else is to be changed, and where they stand is known: no second walk. */
static enum err emit_muted(struct openai_stream *s, const struct sse_event *e,
                           const struct chunk *c)
{
    const char *from = e->raw.p, *end = e->raw.p + e->raw.n;
    struct pen pen = {.rename = {NULL, 0}};

    if (buf_reserve(s->relay.out, e->raw.n, &pen.p, &pen.cap))
        return ERR_UPSTREAM_TOO_LARGE;
    for (size_t i = 0; i < c->logprobs_count; i++) {
        put(&pen, from, (size_t)(c->logprobs[i].p - from));
        put(&pen, "null", 4);
        from = c->logprobs[i].p + c->logprobs[i].n;
    }
    put(&pen, from, (size_t)(end - from));
    buf_commit(s->relay.out, pen.n);
    sse_relay_rewrote(&s->relay, e);
    return ERR_OK;
}

static enum err emit(struct openai_stream *s, const struct sse_event *e, const struct chunk *c)
{
    bool strip = !s->include_usage && c->usage_count > 0;
    bool rename = s->rename.p && c->model_count > 0;
    bool mute = s->strip_logprobs && c->logprobs_count > 0;

    if (mute && !strip && !rename && !e->joined && c->logprobs_count <= FEW_CHOICES)
        return emit_muted(s, e, c);
    return strip || rename || mute ? emit_rewritten(s, e, c, strip) : sse_relay_raw(&s->relay, e);
}

/* ---- one event ---- */

static enum err fail(struct openai_stream *s, const struct sse_event *e)
{
    s->failed = true;
    s->error_data = e->data;
    return openai_error_classify(0, e->data);
}

static enum err take_chunk(struct openai_stream *s, const struct sse_event *e)
{
    struct chunk c = {0};
    struct json_value in_choice = {0}, in_groq = {0};
    struct json_member groq;
    size_t choices = 0;
    bool usage;

    if (!json_scan_object(e->data, on_member, &c, NULL))
        return slice_eq(e->event, SLICE("error")) ? fail(s, e) : ERR_UPSTREAM_PROTOCOL;
    if (is_error(e, &c) || !note_choices(s, &c, &choices, &in_choice))
        return fail(s, e);
    if (c.groq.text.n && json_get(c.groq, SLICE("usage"), &groq))
        in_groq = groq.value;
    usage = note_usage(s, c.usage) || note_usage(s, in_choice) || note_usage(s, in_groq);
    if (usage && openai_stream_complete(s) && (choices == 0 || !s->include_usage))
        s->usage_final = true;
    if (choices == 0 && c.usage.type == JSON_OBJECT && !s->include_usage) {
        s->relay.last_emitted = false;
        return ERR_OK;
    }
    return emit(s, e, &c);
}

static bool on_event(const struct sse_event *e, void *ctx)
{
    struct openai_stream *s = ctx;
    struct slice data = json_trim(e->data);

    if (data.n == 0) {
        s->relay.err = slice_eq(e->event, SLICE("error")) && e->has_data
                           ? fail(s, e)
                           : sse_relay_keepalive(&s->relay, e);
    } else if (slice_eq(data, SLICE("[DONE]"))) {
        s->done_seen = true;
        return false;
    } else {
        s->relay.err = take_chunk(s, e);
    }
    return s->relay.err == ERR_OK;
}

enum err openai_stream_feed(struct openai_stream *s, struct slice in, struct buf *out)
{
    if (s->relay.err || s->done_seen)
        return s->relay.err;
    return sse_relay_feed(&s->relay, in, out, on_event, s);
}

bool openai_stream_complete(const struct openai_stream *s)
{
    bool all = s->finished >= s->n && !(s->seen_mask & ~s->finished_mask);

    return !s->relay.err && !s->failed && s->choice_seen && (all || s->done_seen);
}

bool openai_stream_exhausted(const struct openai_stream *s)
{
    bool waits = s->asked_usage || s->include_usage;

    return openai_stream_complete(s) && (s->done_seen || !waits || s->usage_final);
}

/* ---- what weir itself says ---- */

enum err openai_stream_end(struct openai_stream *s, struct buf *out)
{
    if (!openai_stream_complete(s))
        return ERR_INTERNAL;
    return buf_append_slice(out, SLICE("data: [DONE]\n\n"));
}

enum err openai_stream_error(enum err e, const char *message, struct buf *out)
{
    struct buf event;
    enum err err;

    buf_init(&event, out->max_bytes);
    err = buf_append_slice(&event, SLICE("data: "));
    if (!err)
        err = openai_error_body(e, message, NULL, &event);
    if (!err)
        err = buf_append_slice(&event, SLICE("\n\n"));
    if (!err)
        err = buf_append_slice(out, buf_slice(&event));
    buf_clear(&event);
    return err;
}
