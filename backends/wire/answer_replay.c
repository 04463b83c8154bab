/* Gives answers again. Called by the router for each hit; pure.
 *
 * A long text goes out in several deltas: readers of lines have limits (64 KiB in some clients),
 * and whoever shows text as it comes expects to be fed. */
#include "backends/wire/answer_replay.h"

#include <stdio.h>
#include "backends/wire/anthropic_decode.h"
#include "backends/wire/answer_translate.h"
#include "backends/wire/chat_encoder.h"
#include "backends/wire/chat_id.h"
#include "backends/wire/member.h"
#include "backends/wire/openai_decode.h"
#include "backends/wire/text_completion.h"

#define MAX_DELTA_BYTES 2048
#define MAX_SPLICES     3

/* ---- whole ---- */

/* What stands in the place of a value of the kept body. */
struct splice {
    struct slice old; /* in the body */
    struct slice text;
};

struct splices {
    const struct answer_options *opt;
    struct arena *a;
    struct splice list[MAX_SPLICES];
    size_t count;
};

static struct slice quoted(struct slice text, struct arena *a)
{
    size_t n = json_string_encode(text, NULL, 0);
    char *out = arena_alloc(a, n);

    json_string_encode(text, out, n);
    return slice_make(out, n);
}

static const char *id_prefix(enum wire_api api)
{
    return api == WIRE_MESSAGES ? "msg_" : api == WIRE_COMPLETIONS ? "cmpl-" : "chatcmpl-";
}

static struct slice fresh_id(const struct splices *s)
{
    char id[CHAT_ID_BYTES];

    chat_id_body(SLICE(""), s->opt->request_id, id);
    return slice_str(arena_printf(s->a, "\"%s%s\"", id_prefix(s->opt->api), id));
}

static bool on_member(const struct json_member *m, void *ctx)
{
    struct splices *s = ctx;
    struct slice text = {NULL, 0};

    if (s->count == MAX_SPLICES)
        return false;
    if (member_is(m, SLICE("id")) && m->value.type == JSON_STRING)
        text = fresh_id(s);
    else if (member_is(m, SLICE("created")) && m->value.type == JSON_NUMBER)
        text = slice_str(arena_printf(s->a, "%lld", (long long)s->opt->created_s));
    else if (member_is(m, SLICE("model")) && s->opt->show_requested)
        text = quoted(s->opt->requested_model, s->a);
    if (text.n)
        s->list[s->count++] = (struct splice){m->value.text, text};
    return true;
}

static void put_pieces(const struct splices *s, struct slice body, struct answer_whole *out)
{
    const char *at = body.p;

    out->pieces = ARENA_ARRAY(s->a, struct slice, 2 * MAX_SPLICES + 1);
    out->count = 0;
    for (size_t i = 0; i < s->count; i++) { /* in the order of the text */
        out->pieces[out->count++] = slice_make(at, (size_t)(s->list[i].old.p - at));
        out->pieces[out->count++] = s->list[i].text;
        at = s->list[i].old.p + s->list[i].old.n;
    }
    out->pieces[out->count++] = slice_make(at, (size_t)(body.p + body.n - at));
}

enum err answer_replay_whole(const struct answer_options *opt, struct slice body, struct arena *a,
                             struct answer_whole *out)
{
    struct answer_options plain = *opt;
    struct splices s = {.opt = opt, .a = a};
    enum wire_api asked;
    bool same = wire_upstream_api(opt->api, opt->server, &asked) && asked == opt->api;

    plain.replayed = true;
    if (same)
        plain.show_requested = false; /* spliced below, with the rest */
    if (answer_read_whole(&plain, body, a, out) != ERR_OK)
        return ERR_BAD_CACHE_ENTRY;
    if (!same)
        return ERR_OK;
    if (!json_scan_object(body, on_member, &s, NULL))
        return ERR_BAD_CACHE_ENTRY;
    put_pieces(&s, body, out);
    return ERR_OK;
}

/* ---- streams ---- */

struct replay {
    struct chat_encoder to;
    struct buf *out;
    enum err err;
    bool ended;
};

static bool put(struct replay *r, const struct chat_event *e)
{
    r->err = chat_encoder_on(&r->to, e, r->out);
    return r->err == ERR_OK;
}

/* The longest beginning of text of at most max bytes that ends between characters. */
static size_t cut_at(struct slice text, size_t max)
{
    size_t n = text.n < max ? text.n : max;

    while (n < text.n && n > 1 && ((unsigned char)text.p[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static bool put_delta(struct replay *r, const struct chat_event *e)
{
    struct chat_event piece = *e;
    struct slice rest = e->text;

    if (e->logprobs.n) /* they belong to these very tokens */
        return put(r, e);
    do {
        piece.text = slice_make(rest.p, cut_at(rest, MAX_DELTA_BYTES));
        rest = slice_from(rest, piece.text.n);
        if (!put(r, &piece))
            return false;
    } while (rest.n);
    return true;
}

static bool on_event(const struct chat_event *e, void *ctx)
{
    struct replay *r = ctx;
    struct chat_event start;

    r->ended |= e->kind == CHAT_END;
    if (e->kind == CHAT_DELTA)
        return put_delta(r, e);
    if (e->kind != CHAT_START)
        return put(r, e);
    start = *e;
    start.id = SLICE(""); /* of request_id */
    /* A live stream begins when nothing has been written yet. */
    start.usage.n[TOK_OUTPUT] = start.usage.n[TOK_REASONING] = 0;
    return put(r, &start);
}

static enum err replay_events(const struct answer_options *opt, struct slice body, struct buf *out)
{
    struct chat_encode_options enc = answer_encode_options(opt);
    struct replay r = {.out = out, .err = ERR_OK};
    enum err err;

    chat_encoder_init(&r.to, opt->api, &enc);
    err = opt->server == WIRE_ANTHROPIC
              ? anthropic_decode_whole(body, on_event, &r, NULL)
              : openai_decode_whole(body, opt->request_id, on_event, &r, NULL);
    chat_encoder_clear(&r.to);
    return err != ERR_OK ? err : r.err != ERR_OK ? r.err : r.ended ? ERR_OK : ERR_UPSTREAM_CUT;
}

enum err answer_replay_stream(const struct answer_options *opt, struct slice body, struct buf *out)
{
    size_t before = out->tail - out->head;
    struct chat_encode_options enc = answer_encode_options(opt);
    enum wire_api asked;
    enum err err;

    if (opt->api == WIRE_EMBEDDINGS || !wire_upstream_api(opt->api, opt->server, &asked))
        return ERR_BAD_CACHE_ENTRY;
    err = opt->api == WIRE_COMPLETIONS ? text_completion_stream(body, &enc, out)
                                       : replay_events(opt, body, out);
    if (err == ERR_OK)
        return ERR_OK;
    out->tail = out->head + before;
    return ERR_BAD_CACHE_ENTRY;
}
