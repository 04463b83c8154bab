/* Decoder -> chat events -> encoder. Both are chosen once, by the server's dialect and the client's
 * API; everything else is the same for all pairs. */
#include "backends/wire/answer_translate.h"

#include <stdlib.h>
#include "backends/wire/anthropic_decode.h"
#include "backends/wire/chat_encoder.h"
#include "backends/wire/openai_decode.h"
#include "base/mem.h"

struct answer_translation {
    struct answer_options opt;
    union {
        struct openai_decode openai;
        struct anthropic_decode anthropic;
    } from;
    struct chat_encoder to;
    struct buf *out; /* of the call under way */
    enum err err;    /* of the encoder */
    bool ended;      /* END has been encoded */
    int64_t deltas;
};

struct chat_encode_options answer_encode_options(const struct answer_options *opt)
{
    return (struct chat_encode_options){
        .model = opt->show_requested ? opt->requested_model : (struct slice){NULL, 0},
        .fallback_id = opt->request_id,
        .created_s = opt->created_s,
        .include_usage = opt->include_usage,
        .input_tokens = opt->prompt_tokens,
        .echo = opt->echo,
        .encrypted_reasoning = opt->encrypted_reasoning,
        .max_answer_bytes = opt->max_answer_bytes,
    };
}

/* What the client gets of an event: without the log-probabilities that it did not ask for; NULL:
 * nothing. */
static const struct chat_event *read_along(const struct answer_options *opt,
                                           const struct chat_event *e, struct chat_event *muted)
{
    if (opt->signals)
        answer_signals_event(opt->signals, e);
    if (!opt->asked_logprobs || e->logprobs.n == 0)
        return e;
    *muted = *e;
    muted->logprobs = SLICE("");
    return muted->text.n ? muted : NULL;
}

/* ---- streams ---- */

static bool on_event(const struct chat_event *e, void *ctx)
{
    struct answer_translation *t = ctx;
    struct chat_event muted;

    t->deltas += e->kind == CHAT_DELTA;
    e = read_along(&t->opt, e, &muted);
    t->err = e ? chat_encoder_on(&t->to, e, t->out) : ERR_OK;
    if (!e)
        return true;
    t->ended |= e->kind == CHAT_END && t->err == ERR_OK;
    return t->err == ERR_OK;
}

struct answer_translation *answer_translation_new(const struct answer_options *opt)
{
    struct answer_translation *t = mem_zalloc(1, sizeof *t);
    struct chat_encode_options enc = answer_encode_options(opt);

    t->opt = *opt;
    if (opt->server == WIRE_ANTHROPIC)
        anthropic_decode_init(&t->from.anthropic, opt->max_event_bytes, on_event, t);
    else
        openai_decode_init(&t->from.openai,
                           &(struct openai_decode_options){.n = opt->n,
                                                           .fallback_id = opt->request_id,
                                                           .max_event_bytes = opt->max_event_bytes,
                                                           .max_held_bytes = opt->max_answer_bytes},
                           on_event, t);
    chat_encoder_init(&t->to, opt->api, &enc);
    return t;
}

void answer_translation_free(struct answer_translation *t)
{
    if (t->opt.server == WIRE_ANTHROPIC)
        anthropic_decode_clear(&t->from.anthropic);
    else
        openai_decode_clear(&t->from.openai);
    chat_encoder_clear(&t->to);
    free(t);
}

enum err answer_translation_feed(struct answer_translation *t, struct slice in, struct buf *out)
{
    enum err err;

    t->out = out;
    err = t->opt.server == WIRE_ANTHROPIC ? anthropic_decode_feed(&t->from.anthropic, in)
                                          : openai_decode_feed(&t->from.openai, in);
    t->out = NULL;
    return t->err != ERR_OK ? t->err : err;
}

bool answer_translation_complete(const struct answer_translation *t)
{
    return t->opt.server == WIRE_ANTHROPIC ? anthropic_decode_complete(&t->from.anthropic)
                                           : openai_decode_complete(&t->from.openai);
}

bool answer_translation_ended(const struct answer_translation *t)
{
    return t->ended || (t->opt.server == WIRE_ANTHROPIC ? t->from.anthropic.stop_seen
                                                        : t->from.openai.done_seen);
}

bool answer_translation_exhausted(const struct answer_translation *t)
{
    return t->opt.server == WIRE_ANTHROPIC ? anthropic_decode_exhausted(&t->from.anthropic)
                                           : openai_decode_exhausted(&t->from.openai);
}

enum err answer_translation_end(struct answer_translation *t, struct buf *out)
{
    enum err err;

    if (t->ended)
        return ERR_OK;
    t->out = out;
    err = t->opt.server == WIRE_ANTHROPIC ? anthropic_decode_end(&t->from.anthropic)
                                          : openai_decode_end(&t->from.openai);
    t->out = NULL;
    return t->err != ERR_OK ? t->err : err;
}

enum err answer_translation_error(struct answer_translation *t, enum err e, const char *message,
                                  struct buf *out)
{
    struct chat_event event = {.kind = CHAT_ERROR, .err = e, .text = slice_str(message)};

    return chat_encoder_on(&t->to, &event, out);
}

/* What the server has told so far: an answer that is cut short never gets to CHAT_USAGE. */
const struct token_usage *answer_translation_usage(const struct answer_translation *t)
{
    bool anthropic = t->opt.server == WIRE_ANTHROPIC;
    bool told = anthropic ? t->from.anthropic.has_usage : t->from.openai.has_usage;

    if (!told)
        return NULL;
    return anthropic ? &t->from.anthropic.usage : &t->from.openai.usage;
}

int64_t answer_translation_deltas(const struct answer_translation *t)
{
    return t->deltas;
}

/* ---- whole answers ---- */

struct gather {
    const struct answer_options *opt;
    struct chat_answer answer;
    enum err err;
};

static bool on_whole(const struct chat_event *e, void *ctx)
{
    struct gather *g = ctx;
    struct chat_event muted;

    e = read_along(g->opt, e, &muted);
    g->err = e ? chat_answer_add(&g->answer, e) : ERR_OK;
    return g->err == ERR_OK;
}

enum err answer_translate_whole(const struct answer_options *opt, struct slice body,
                                struct arena *a, struct answer_whole *out)
{
    struct chat_encode_options enc = answer_encode_options(opt);
    struct gather g = {.opt = opt, .err = ERR_OK};
    struct buf reply;
    enum err err;

    chat_answer_init(&g.answer, opt->max_answer_bytes);
    /* Escapes and framing of the other dialect may take several times the bytes. */
    buf_init(&reply, 8 * opt->max_answer_bytes);
    err = opt->server == WIRE_ANTHROPIC
              ? anthropic_decode_whole(body, on_whole, &g, NULL)
              : openai_decode_whole(body, opt->request_id, on_whole, &g, NULL);
    if (err == ERR_OK)
        err = g.err;
    if (opt->replayed)
        g.answer.id = SLICE(""); /* an id of its own, of request_id */
    if (err == ERR_OK)
        err = chat_encoder_reply(opt->api, &g.answer, &enc, &reply);
    if (err == ERR_OK) {
        *out = (struct answer_whole){.has_usage = g.answer.has_usage,
                                     .usage = g.answer.usage,
                                     .output_bytes = (int64_t)g.answer.bytes,
                                     .pieces = ARENA_NEW(a, struct slice),
                                     .count = 1};
        out->pieces[0] = arena_dup(a, buf_slice(&reply));
    }
    buf_clear(&reply);
    chat_answer_clear(&g.answer);
    return err;
}
