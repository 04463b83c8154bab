/* Server-sent events, reading side. Owns the bytes of the one event that is not yet complete;
 * nothing else. Belongs to whoever embeds the parser (a stream on its worker). Called for every
 * read from a streaming upstream, so an event that arrives whole is found with memchr and never
 * copied.
 *
 * Two steps: block_end() looks for the blank line, byte state kept over feeds, each byte seen once;
 * report() then takes the complete block apart line by line. */
#include "backends/wire/sse.h"

#include <string.h>

/* An event larger than this gives its storage back: streams wait far longer than they work. */
#define SSE_KEEP_BYTES 4096

static const char bom[3] = "\xEF\xBB\xBF";

void sse_init(struct sse_parser *p, size_t max_event_bytes)
{
    *p = (struct sse_parser){0};
    buf_init(&p->pending, max_event_bytes);
    buf_init(&p->joined, max_event_bytes);
}

void sse_clear(struct sse_parser *p)
{
    buf_clear(&p->pending);
    buf_clear(&p->joined);
    p->spent = p->line_open = p->after_cr = p->after_event_cr = p->started = false;
}

/* The nearest CR or LF from pos, or in.n. *lf caches the nearest LF at or after pos (in.n when
 * none), so that input with CR line ends only is not searched again and again to its end. Start
 * with *lf == 0. */
static size_t line_end(struct slice in, size_t pos, size_t *lf)
{
    const char *cr;

    if (*lf < pos || pos == 0) {
        const char *p = pos < in.n ? memchr(in.p + pos, '\n', in.n - pos) : NULL;
        *lf = p ? (size_t)(p - in.p) : in.n;
    }
    cr = *lf > pos ? memchr(in.p + pos, '\r', *lf - pos) : NULL;
    return cr ? (size_t)(cr - in.p) : *lf;
}

/* Where in `in`, looking from start, the block under way ends (after its blank line); false when it
 * does not end here. */
static bool block_end(struct sse_parser *p, struct slice in, size_t start, size_t *lf, size_t *end)
{
    size_t pos = start;

    if (p->after_cr && pos < in.n) {
        p->after_cr = false;
        if (in.p[pos] == '\n')
            pos++;
    }
    while (pos < in.n) {
        size_t eol = line_end(in, pos, lf);
        bool blank = eol == pos && !p->line_open;

        if (eol == in.n) {
            p->line_open = true;
            return false;
        }
        p->line_open = false;
        pos = eol + 1;
        if (in.p[eol] == '\r') {
            if (pos < in.n && in.p[pos] == '\n')
                pos++;
            else if (pos == in.n)
                *(blank ? &p->after_event_cr : &p->after_cr) = true;
        }
        if (blank) {
            *end = pos;
            return true;
        }
    }
    return false;
}

/* Splits one line into field and value (9.2.6: the first colon, one space after it dropped). */
static void field_of(struct slice line, struct slice *name, struct slice *value)
{
    const char *colon = memchr(line.p, ':', line.n);

    if (!colon) {
        *name = line;
        *value = slice_make("", 0);
        return;
    }
    *name = slice_make(line.p, (size_t)(colon - line.p));
    *value = slice_from(line, name->n + 1);
    if (value->n && value->p[0] == ' ')
        *value = slice_from(*value, 1);
}

/* A further data line: the lines so far and this one move to joined, with an LF between. */
static enum err join_data(struct sse_parser *p, struct sse_event *e, struct slice value)
{
    enum err err = ERR_OK;

    if (buf_len(&p->joined) == 0)
        err = buf_append_slice(&p->joined, e->data);
    if (!err)
        err = buf_append(&p->joined, "\n", 1);
    if (!err)
        err = buf_append_slice(&p->joined, value);
    e->data = buf_slice(&p->joined);
    e->joined = true;
    return err;
}

static enum err take_line(struct sse_parser *p, struct slice line, struct sse_event *e)
{
    struct slice name, value;

    if (line.n == 0 || line.p[0] == ':')
        return ERR_OK;
    field_of(line, &name, &value);
    if (slice_eq(name, SLICE("data"))) {
        if (e->has_data)
            return join_data(p, e, value);
        e->has_data = true;
        e->data = value;
    } else if (slice_eq(name, SLICE("event"))) {
        e->event = value;
    }
    return ERR_OK;
}

/* Takes a complete block apart and hands it over. *go: what fn said. */
static enum err report(struct sse_parser *p, struct slice raw, sse_event_fn fn, void *ctx, bool *go)
{
    struct sse_event e = {.event = SLICE(""), .data = SLICE("")};
    size_t pos = 0, lf = 0;

    if (!p->started && raw.n >= sizeof(bom) && memcmp(raw.p, bom, sizeof(bom)) == 0)
        raw = slice_from(raw, sizeof(bom));
    p->started = true;
    e.raw = raw;
    buf_reset(&p->joined);
    while (pos < raw.n) {
        size_t eol = line_end(raw, pos, &lf);
        enum err err = take_line(p, slice_make(raw.p + pos, eol - pos), &e);
        if (err)
            return ERR_UPSTREAM_TOO_LARGE;
        pos = eol + 1;
        if (pos < raw.n && raw.p[eol] == '\r' && raw.p[pos] == '\n')
            pos++;
    }
    if (e.has_data || p->report_all)
        *go = fn(&e, ctx);
    return ERR_OK;
}

enum err sse_feed(struct sse_parser *p, struct slice in, sse_event_fn fn, void *ctx)
{
    size_t pos = 0, end = 0, lf = 0;
    bool go = true;

    if (p->spent) {
        buf_reset(&p->pending);
        p->spent = false;
    }
    if (p->after_event_cr && in.n) {
        p->after_event_cr = false;
        if (in.p[0] == '\n') {
            enum err err = report(p, slice_make(in.p, 1), fn, ctx, &go);
            if (err || !go)
                return err;
            pos = 1;
        }
    }
    while (pos < in.n) {
        bool whole = block_end(p, in, pos, &lf, &end);
        struct slice raw = slice_make(in.p + pos, (whole ? end : in.n) - pos);
        bool buffered = buf_len(&p->pending) > 0;
        enum err err;

        if (raw.n > p->pending.max_bytes)
            return ERR_UPSTREAM_TOO_LARGE;
        if ((buffered || !whole) && buf_append_slice(&p->pending, raw))
            return ERR_UPSTREAM_TOO_LARGE;
        if (!whole)
            return ERR_OK;
        err = report(p, buffered ? buf_slice(&p->pending) : raw, fn, ctx, &go);
        p->spent = buffered;
        if (err || !go)
            return err;
        if (buffered) {
            buf_reset(&p->pending);
            buf_shrink(&p->pending, SSE_KEEP_BYTES);
            p->spent = false;
        }
        pos = end;
    }
    return ERR_OK;
}

bool sse_pending(const struct sse_parser *p)
{
    struct slice rest = buf_slice(&p->pending);
    size_t pos = 0, lf = 0;

    if (!p->started && rest.n &&
        memcmp(rest.p, bom, rest.n < sizeof(bom) ? rest.n : sizeof(bom)) == 0)
        pos = rest.n < sizeof(bom) ? rest.n : sizeof(bom);
    while (pos < rest.n) {
        size_t eol = line_end(rest, pos, &lf);
        if (eol > pos && rest.p[pos] != ':')
            return true;
        pos = eol + 1;
    }
    return false;
}
