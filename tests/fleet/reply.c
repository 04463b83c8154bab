/* See reply.h. A stream goes through three hands: event_text (SSE and its oddities), squeeze
 * (gzip), chunk (transfer coding); each HTTP chunk holds one event, as real servers do. Called by
 * api.c. */
#include "tests/fleet/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>
#include "base/http1.h"
#include "base/mem.h"
#include "tests/fleet/text.h"

#define AFTER_DEFAULT 3 /* events */

static void add_step(struct reply *r, const struct reply_frame *f, struct slice bytes,
                     int64_t pause_us, int64_t tokens)
{
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 16;
        struct reply_step *steps = ARENA_ARRAY(f->arena, struct reply_step, cap);
        if (r->n)
            memcpy(steps, r->steps, r->n * sizeof *steps);
        r->steps = steps;
        r->cap = cap;
    }
    r->steps[r->n++] = (struct reply_step){pause_us, bytes, tokens};
}

static bool has(const struct reply_frame *f, enum fault_kind kind)
{
    return fault_get(f->faults, kind) != NULL;
}

static int64_t delay_of(const struct reply_frame *f, enum fault_kind kind, int64_t otherwise)
{
    const struct fault *slow = fault_get(f->faults, kind);
    return slow ? slow->delay_ms * 1000 : otherwise;
}

const char *reply_reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Content Too Large";
    case 429:
        return "Too Many Requests";
    case 500:
        return "Internal Server Error";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 529:
        return "Overloaded";
    default:
        return "Unknown";
    }
}

/* ---- gzip ---- */

/* One stream over all pieces of a body, so that each piece can be decoded when it arrives. */
struct squeeze {
    z_stream z;
    bool on;
};

static void squeeze_init(struct squeeze *s, bool on)
{
    *s = (struct squeeze){.on = on};
    if (on && deflateInit2(&s->z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
}

static struct slice squeeze(struct squeeze *s, struct slice in, bool last, struct arena *a)
{
    if (!s->on)
        return in;
    size_t cap = deflateBound(&s->z, (uLong)in.n) + 64;
    char *out = arena_alloc(a, cap), *copy = arena_alloc(a, in.n + 1);
    if (in.n)
        memcpy(copy, in.p, in.n);
    s->z.next_in = (Bytef *)copy; /* zlib's input is not const */
    s->z.avail_in = (uInt)in.n;
    s->z.next_out = (Bytef *)out;
    s->z.avail_out = (uInt)cap;
    deflate(&s->z, last ? Z_FINISH : Z_SYNC_FLUSH);
    return slice_make(out, cap - s->z.avail_out);
}

static void squeeze_clear(struct squeeze *s)
{
    if (s->on)
        deflateEnd(&s->z);
}

/* ---- heads ---- */

static struct slice make_head(const struct reply_frame *f, int status, const char *type,
                              const char *framing)
{
    bool http10 = has(f, FAULT_HTTP10);
    bool close = http10 || f->close_delimited || f->close;
    return slice_str(arena_printf(f->arena, "HTTP/1.%d %d %s\r\nContent-Type: %s\r\n%s%s%s%.*s\r\n",
                                  http10 ? 0 : 1, status, reply_reason(status), type, framing,
                                  has(f, FAULT_GZIP) ? "Content-Encoding: gzip\r\n" : "",
                                  close ? "Connection: close\r\n" : "", SLICE_ARG(f->headers)));
}

bool reply_refuse_to_speak(struct reply *r, const struct reply_frame *f)
{
    int64_t pause = delay_of(f, FAULT_SLOW_FIRST, 0);
    r->broken = true;
    if (has(f, FAULT_MALFORMED_HTTP)) {
        add_step(r, f, SLICE("HTTP/1.1 2OO OK\r\nContent-Length: +-12\r\nno colon here\r\n\r\n{}"),
                 pause, 0);
        r->end = REPLY_FIN;
        return true;
    }
    add_step(r, f, SLICE(""), pause, 0);
    if (has(f, FAULT_RESET_BEFORE_HEAD))
        r->end = REPLY_RESET;
    else if (has(f, FAULT_CLOSE_BEFORE_HEAD))
        r->end = REPLY_FIN;
    else if (has(f, FAULT_SILENCE))
        r->end = REPLY_HANG;
    else
        r->broken = false;
    if (!r->broken)
        r->n = 0;
    return r->broken;
}

/* ---- whole bodies ---- */

/* Keeps half of a body (or its first `after` bytes) when a fault says so. */
static bool break_whole(struct reply *r, const struct reply_frame *f, struct slice *body)
{
    static const struct {
        enum fault_kind kind;
        enum reply_end end;
    } breaks[] = {{FAULT_TRUNCATED_BODY, REPLY_FIN},
                  {FAULT_CUT, REPLY_FIN},
                  {FAULT_RESET_MID_BODY, REPLY_RESET},
                  {FAULT_STALL, REPLY_HANG}};
    for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
        const struct fault *fault = fault_get(f->faults, breaks[i].kind);
        if (!fault)
            continue;
        size_t keep = fault->after >= 0 ? (size_t)fault->after : body->n / 2;
        body->n = keep < body->n ? keep : body->n;
        r->end = breaks[i].end;
        r->broken = true;
        return true;
    }
    return false;
}

void reply_whole(struct reply *r, const struct reply_frame *f, int status, struct slice body,
                 int64_t tokens)
{
    char length[64] = "";
    struct squeeze z;
    if (has(f, FAULT_WRONG_JSON))
        body = slice_str(arena_printf(f->arena, "%.*s<html>not json", (int)(body.n / 2), body.p));
    squeeze_init(&z, has(f, FAULT_GZIP));
    body = squeeze(&z, body, true, f->arena);
    squeeze_clear(&z);
    bool delimited = !has(f, FAULT_HTTP10);
    if (delimited)
        snprintf(length, sizeof length, "Content-Length: %zu\r\n", body.n);
    r->status = status;
    r->byte_wise = has(f, FAULT_ONE_BYTE);
    r->end = delimited && !f->close && !f->close_delimited ? REPLY_KEEP : REPLY_FIN;
    struct slice head = make_head(f, status, "application/json", length);
    bool broken = break_whole(r, f, &body);
    add_step(r, f, head, delay_of(f, FAULT_SLOW_FIRST, f->total_us),
             broken         ? 0
             : f->head_only ? tokens
                            : 0);
    if (!f->head_only)
        add_step(r, f, body, 0, broken ? 0 : tokens);
}

/* ---- streams ---- */

struct stream {
    struct reply *r;
    const struct reply_frame *f;
    struct squeeze z;
    bool chunked;
    int64_t gap_us; /* between events */
};

static void send_part(struct stream *s, struct slice text, bool last, int64_t pause_us,
                      int64_t tokens)
{
    char size[24];
    struct slice bytes = squeeze(&s->z, text, last, s->f->arena);
    if (s->chunked) {
        size_t n = http1_chunk_header(bytes.n, size);
        char *out = arena_alloc(s->f->arena, n + bytes.n + 2);
        memcpy(out, size, n);
        memcpy(out + n, bytes.p, bytes.n);
        memcpy(out + n + bytes.n, "\r\n", 2);
        bytes = slice_make(out, n + bytes.n + 2);
    }
    add_step(s->r, s->f, bytes, pause_us, tokens);
}

static void send_bytes(struct stream *s, struct slice text, int64_t pause_us, int64_t tokens)
{
    send_part(s, text, false, pause_us, tokens);
}

/* What ends a complete body: the trailer of gzip, the last chunk. */
static void send_end(struct stream *s, int64_t tokens)
{
    if (s->z.on)
        send_part(s, SLICE(""), true, 0, tokens);
    if (s->chunked)
        add_step(s->r, s->f, SLICE("0\r\n\r\n"), 0, tokens);
}

/* The event as text: perhaps "event: name", "data: {json}" and an empty line, in the spelling that
 * the faults ask for. */
static struct slice event_text(const struct reply_frame *f, const char *name, struct slice json)
{
    bool crlf = has(f, FAULT_CRLF);
    const char *eol = crlf ? "\r\n" : "\n", *blank = has(f, FAULT_NO_SPACE) ? "" : " ";
    struct slice head = json, tail = {0};
    if (has(f, FAULT_SPLIT_DATA)) { /* a named event's first member is its type, a plain word */
        size_t at = text_find(json, name ? SLICE(",\"") : SLICE(",\"choices\""));
        if (at < json.n) { /* white space between JSON tokens is free: the joining line feed does no
                              harm */
            head = slice_make(json.p, at);
            tail = slice_from(json, at);
        }
    }
    struct buf b;
    buf_init(&b, MAX_TEXT_BYTES);
    TEXT_ADD(&b, "%s", crlf ? ": comment\r\nretry: 1000\r\n" : "");
    if (name || crlf)
        TEXT_ADD(&b, "event:%s%s%s", blank, name ? name : "message", eol);
    TEXT_ADD(&b, "data:%s", blank);
    TEXT_SLICE(&b, head);
    TEXT_ADD(&b, "%s", eol);
    if (tail.n) {
        TEXT_ADD(&b, "data:%s", blank);
        TEXT_SLICE(&b, tail);
        TEXT_ADD(&b, "%s", eol);
    }
    TEXT_ADD(&b, "%s", eol);
    struct slice text = text_take(&b, f->arena);
    buf_clear(&b);
    return text;
}

/* Is the fault due before event number i? */
static const struct fault *due(const struct reply_frame *f, enum fault_kind kind, size_t i)
{
    const struct fault *fault = fault_get(f->faults, kind);
    int64_t after = fault && fault->after >= 0 ? fault->after : AFTER_DEFAULT;
    return fault && after == (int64_t)i ? fault : NULL;
}

static void send_error(struct stream *s, const struct fault *fault, int64_t tokens)
{
    const char *otherwise = "The server had an error while processing your request.";
    const char *name = s->f->dialect == DIALECT_ANTHROPIC ? "error" : NULL;
    struct slice words = fault->text.n ? fault->text : slice_str(otherwise);
    struct refusal why;
    struct buf b;
    buf_init(&b, MAX_TEXT_BYTES);
    refusal_say(&why, fault->status ? (int)fault->status : 500, NULL, NULL, "%.*s",
                SLICE_ARG(words));
    refusal_print(&why, s->f->dialect, s->f->serial, &b);
    send_bytes(s, event_text(s->f, name, text_take(&b, s->f->arena)), s->gap_us, tokens);
    buf_clear(&b);
}

/* Ends the stream before event i when a fault says so. */
static bool broken_off(struct stream *s, size_t i, int64_t tokens)
{
    const struct fault *fault;
    struct reply *r = s->r;
    if (due(s->f, FAULT_CUT, i))
        r->end = REPLY_FIN;
    else if (due(s->f, FAULT_RESET_MID_BODY, i))
        r->end = REPLY_RESET;
    else if (due(s->f, FAULT_STALL, i))
        r->end = REPLY_HANG;
    else if (due(s->f, FAULT_BAD_CHUNK_SIZE, i)) {
        add_step(r, s->f, SLICE("0x7g\r\n"), s->gap_us, tokens);
        r->end = REPLY_FIN;
    } else if ((fault = due(s->f, FAULT_ERROR_EVENT, i)) != NULL) {
        send_error(s, fault, tokens);
        send_end(s, tokens);
    } else {
        return false;
    }
    r->broken = true;
    return true;
}

static void finish_stream(struct stream *s, int64_t tokens)
{
    const struct reply_frame *f = s->f;
    bool open = has(f, FAULT_NO_DONE_OPEN);
    if (!open && !has(f, FAULT_NO_DONE) && f->dialect == DIALECT_OPENAI)
        send_bytes(s, event_text(f, NULL, SLICE("[DONE]")), 0, tokens);
    if (open) {
        s->r->end = REPLY_HANG;
        return;
    }
    send_end(s, tokens);
    if (has(f, FAULT_NO_DONE))
        s->r->end = REPLY_FIN;
}

void reply_stream(struct reply *r, const struct reply_frame *f, const struct reply_event *events,
                  size_t n)
{
    struct stream s = {.r = r, .f = f, .chunked = !has(f, FAULT_HTTP10) && !f->close_delimited};
    int64_t tokens = 0, first_us = delay_of(f, FAULT_SLOW_FIRST, f->first_us);
    int64_t spread_us = n > 1 ? (f->total_us - f->first_us) / (int64_t)(n - 1) : 0;
    s.gap_us = delay_of(f, FAULT_SLOW_CHUNKS, spread_us);
    squeeze_init(&s.z, has(f, FAULT_GZIP));
    r->status = 200;
    r->byte_wise = has(f, FAULT_ONE_BYTE);
    r->end = s.chunked && !f->close ? REPLY_KEEP : REPLY_FIN;
    add_step(r, f,
             make_head(f, 200, "text/event-stream; charset=utf-8",
                       s.chunked ? "Transfer-Encoding: chunked\r\n" : ""),
             first_us, 0);
    if (f->dialect == DIALECT_ANTHROPIC && (has(f, FAULT_NO_DONE) || has(f, FAULT_NO_DONE_OPEN)))
        n--; /* message_stop is what [DONE] is elsewhere */
    size_t i = 0;
    for (; i < n && !broken_off(&s, i, tokens); i++) {
        struct slice json = events[i].json;
        if (due(f, FAULT_MALFORMED_CHUNK, i))
            json.n /= 2;
        tokens = events[i].tokens;
        send_bytes(&s, event_text(f, events[i].name, json),
                   i || has(f, FAULT_SLOW_CHUNKS) ? s.gap_us : 0, tokens);
    }
    if (!r->broken && !broken_off(&s, n, tokens))
        finish_stream(&s, tokens);
    squeeze_clear(&s.z);
}
