/* Gives answers again. Called by the router for each hit; pure.
 *
 * A long text goes out in several deltas: readers of lines have limits (64 KiB in some clients),
 * and whoever shows text as it comes expects to be fed. */
#include "backends/wire/answer_replay.h"

#include "backends/wire/anthropic_decode.h"
#include "backends/wire/answer_translate.h"
#include "backends/wire/chat_encoder.h"
#include "backends/wire/chat_id.h"
#include "backends/wire/member.h"
#include "backends/wire/openai_decode.h"
#include "backends/wire/openai_reply.h"
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
    const struct slice parts[] = {SLICE("\""), slice_str(id_prefix(s->opt->api)), slice_str(id),
                                  SLICE("\"")};
    return slice_str(arena_join(s->a, parts, sizeof parts / sizeof *parts));
}

/* In the order of the text. */
static void splice(struct splices *s, struct slice old, struct slice text)
{
    size_t i = s->count++;

    for (; i > 0 && s->list[i - 1].old.p > old.p; i--)
        s->list[i] = s->list[i - 1];
    s->list[i] = (struct splice){old, text};
}

/* Absent ones have no text. */
static void splice_members(struct splices *s, const struct json_member *id,
                           const struct json_member *created, const struct json_member *model)
{
    if (member_present(id) && id->value.type == JSON_STRING)
        splice(s, id->value.text, fresh_id(s));
    if (member_present(created) && created->value.type == JSON_NUMBER)
        splice(s, created->value.text, arena_decimal(s->a, s->opt->created_s));
    if (member_present(model) && s->opt->show_requested)
        splice(s, model->value.text, quoted(s->opt->requested_model, s->a));
}

static void put_pieces(const struct splices *s, struct slice body, struct answer_whole *out)
{
    const char *at = body.p;

    out->pieces = ARENA_ARRAY(s->a, struct slice, 2 * MAX_SPLICES + 1);
    out->count = 0;
    for (size_t i = 0; i < s->count; i++) {
        out->pieces[out->count++] = slice_make(at, (size_t)(s->list[i].old.p - at));
        out->pieces[out->count++] = s->list[i].text;
        at = s->list[i].old.p + s->list[i].old.n;
    }
    out->pieces[out->count++] = slice_make(at, (size_t)(body.p + body.n - at));
}

/* Read once: the members that are replaced are found on the way. */
static enum err replay_openai(struct splices *s, struct slice body, struct answer_whole *out)
{
    struct openai_reply reply;

    if (openai_reply_scan(s->opt->api, body, NULL, &reply) != ERR_OK || reply.is_error)
        return ERR_BAD_CACHE_ENTRY;
    *out = (struct answer_whole){
        .has_usage = reply.has_usage, .usage = reply.usage, .output_bytes = reply.output_bytes};
    splice_members(s, &reply.id, &reply.created, &reply.model);
    put_pieces(s, body, out);
    return ERR_OK;
}

static enum err replay_anthropic(struct splices *s, struct slice body, struct answer_whole *out)
{
    struct answer_options plain = *s->opt;
    struct json_value root = {JSON_OBJECT, json_trim(body)};
    struct json_member id = {0}, model = {0}, none = {0};

    plain.show_requested = false; /* spliced here, with the rest */
    if (answer_read_whole(&plain, body, s->a, out) != ERR_OK)
        return ERR_BAD_CACHE_ENTRY;
    (void)json_get(root, SLICE("id"), &id);
    (void)json_get(root, SLICE("model"), &model);
    splice_members(s, &id, &none, &model);
    put_pieces(s, body, out);
    return ERR_OK;
}

enum err answer_replay_whole(const struct answer_options *opt, struct slice body, struct arena *a,
                             struct answer_whole *out)
{
    struct splices s = {.opt = opt, .a = a};
    struct answer_options again = *opt;
    enum wire_api asked;

    if (wire_upstream_api(opt->api, opt->server, &asked) && asked == opt->api)
        return opt->server == WIRE_ANTHROPIC ? replay_anthropic(&s, body, out)
                                             : replay_openai(&s, body, out);
    again.replayed = true;
    return answer_read_whole(&again, body, a, out) == ERR_OK ? ERR_OK : ERR_BAD_CACHE_ENTRY;
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
