/* Keeps answers. Owns the decoder and the collected answer of one stream; lives beside the attempt,
 * on its worker; made only for requests whose answers may be stored. */
#include "backends/wire/answer_record.h"

#include <assert.h>
#include <stdlib.h>
#include "backends/wire/anthropic_decode.h"
#include "backends/wire/chat_encoder.h"
#include "backends/wire/openai_decode.h"
#include "backends/wire/openai_reply.h"
#include "backends/wire/text_completion.h"
#include "base/mem.h"

/* Answers without an id of their own: whoever replays one gives it another anyway. */
#define NO_ID SLICE("stored")

struct answer_record {
    struct answer_record_options opt;
    enum wire_api asked; /* CHAT, COMPLETIONS, MESSAGES: what the server speaks */
    union {
        struct openai_decode openai;
        struct anthropic_decode anthropic;
        struct text_completion completion;
    } from;
    struct chat_answer answer;
    enum err err; /* sticks */
};

const char *answer_worth_name(enum answer_worth w)
{
    static const char *const names[] = {
        [ANSWER_GOOD] = "good",       [ANSWER_UNFINISHED] = "unfinished",
        [ANSWER_REFUSED] = "refused", [ANSWER_CALLS_TOOLS] = "calls_tools",
        [ANSWER_EMPTY] = "empty",     [ANSWER_LOSSY] = "lossy",
        [ANSWER_LARGE] = "large",     [ANSWER_MALFORMED] = "malformed",
    };

    assert((unsigned)w < ANSWER_WORTHS);
    return names[w];
}

/* ---- judging ---- */

/* tool_calls: they may be kept. */
static enum answer_worth judge_choices(const struct chat_answer *a, int64_t n, bool tool_calls)
{
    int64_t finished = 0;

    for (size_t i = 0; i < a->choice_count; i++) {
        const struct chat_answer_choice *c = &a->choices[i];

        if (!c->finished)
            continue;
        finished++;
        if (c->refused || c->finish == CHAT_FINISH_FILTER)
            return ANSWER_REFUSED;
        if (chat_finish_is_cut(c->finish))
            return ANSWER_UNFINISHED;
        if (c->finish == CHAT_FINISH_TOOL_CALLS && !tool_calls)
            return ANSWER_CALLS_TOOLS;
    }
    return finished >= n ? ANSWER_GOOD : ANSWER_UNFINISHED;
}

/* Some text that is not thinking, or a call. */
static bool says_something(const struct chat_answer *a)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->blocks[i].kind == CHAT_BLOCK_TOOL_CALL ||
            (a->blocks[i].kind == CHAT_BLOCK_TEXT && buf_len(&a->blocks[i].text) > 0))
            return true;
    return false;
}

static enum answer_worth judge(const struct chat_answer *a, const struct answer_record_options *opt)
{
    enum answer_worth worth;

    if (!a->complete)
        return ANSWER_UNFINISHED;
    worth = judge_choices(a, opt->n, opt->tool_calls);
    if (worth != ANSWER_GOOD)
        return worth;
    for (size_t i = 0; i < a->count && !opt->tool_calls; i++)
        if (a->blocks[i].kind == CHAT_BLOCK_TOOL_CALL)
            return ANSWER_CALLS_TOOLS;
    return !says_something(a) ? ANSWER_EMPTY : a->lossy ? ANSWER_LOSSY : ANSWER_GOOD;
}

static enum answer_worth worth_of_error(enum err err)
{
    return err == ERR_UPSTREAM_TOO_LARGE ? ANSWER_LARGE
           : err == ERR_UPSTREAM_CUT     ? ANSWER_UNFINISHED
                                         : ANSWER_MALFORMED;
}

/* ---- whole replies ---- */

struct gather {
    struct chat_answer *answer;
    enum err err;
};

static bool on_event(const struct chat_event *e, void *ctx)
{
    struct gather *g = ctx;

    g->err = chat_answer_add(g->answer, e);
    return g->err == ERR_OK;
}

static enum answer_worth judge_chat(const struct answer_record_options *opt, struct slice body)
{
    struct chat_answer answer;
    struct gather g = {.answer = &answer, .err = ERR_OK};
    enum answer_worth worth;
    enum err err;

    chat_answer_init(&answer, opt->max_bytes);
    err = opt->server == WIRE_ANTHROPIC ? anthropic_decode_whole(body, on_event, &g, NULL)
                                        : openai_decode_whole(body, NO_ID, on_event, &g, NULL);
    if (err == ERR_OK)
        err = g.err;
    worth = err == ERR_OK ? judge(&answer, opt) : worth_of_error(err);
    chat_answer_clear(&answer);
    return worth;
}

static enum answer_worth judge_embeddings(struct slice body)
{
    struct openai_reply reply;

    return openai_reply_scan(WIRE_EMBEDDINGS, body, NULL, &reply) == ERR_OK && !reply.is_error
               ? ANSWER_GOOD
               : ANSWER_MALFORMED;
}

enum answer_worth answer_record_whole(const struct answer_record_options *opt, struct slice body)
{
    if (body.n > opt->max_bytes)
        return ANSWER_LARGE;
    if (opt->api == WIRE_EMBEDDINGS)
        return judge_embeddings(body);
    if (opt->api == WIRE_COMPLETIONS)
        return text_completion_judge(body, opt->n);
    return judge_chat(opt, body);
}

bool answer_record_keep(const struct answer_record_options *opt, struct slice body, struct buf *out)
{
    struct json_value none = {0};
    struct openai_reply reply;
    struct slice *pieces;
    struct arena a;
    size_t count;
    enum err err = ERR_OK;

    if (!opt->mute_logprobs || opt->server != WIRE_OPENAI ||
        openai_reply_scan(opt->api == WIRE_COMPLETIONS ? WIRE_COMPLETIONS : WIRE_CHAT, body, NULL,
                          &reply) != ERR_OK)
        return buf_append_slice(out, body) == ERR_OK;
    arena_init(&a, 1024);
    count = openai_reply_splice(body, &reply.model, none.text, reply.choices, &a, &pieces);
    for (size_t i = 0; i < count && !err; i++)
        err = buf_append_slice(out, pieces[i]);
    arena_clear(&a);
    return err == ERR_OK;
}

/* ---- streams ---- */

static bool on_stream_event(const struct chat_event *e, void *ctx)
{
    struct answer_record *r = ctx;
    struct chat_event kept = *e;

    if (r->opt.mute_logprobs)
        kept.logprobs = SLICE("");
    r->err = chat_answer_add(&r->answer, &kept);
    return r->err == ERR_OK;
}

struct answer_record *answer_record_new(const struct answer_record_options *opt)
{
    struct answer_record *r = mem_zalloc(1, sizeof *r);
    struct openai_decode_options openai = {
        .n = opt->n,
        .fallback_id = NO_ID,
        .max_event_bytes = opt->max_event_bytes,
        .max_held_bytes = opt->max_bytes,
    };

    r->opt = *opt;
    if (!wire_upstream_api(opt->api, opt->server, &r->asked))
        r->err = ERR_INTERNAL;
    chat_answer_init(&r->answer, opt->max_bytes);
    if (r->asked == WIRE_COMPLETIONS)
        text_completion_init(&r->from.completion, opt->mute_logprobs, opt->max_bytes,
                             opt->max_event_bytes);
    else if (r->asked == WIRE_MESSAGES)
        anthropic_decode_init(&r->from.anthropic, opt->max_event_bytes, on_stream_event, r);
    else
        openai_decode_init(&r->from.openai, &openai, on_stream_event, r);
    return r;
}

void answer_record_free(struct answer_record *r)
{
    if (!r)
        return;
    if (r->asked == WIRE_COMPLETIONS)
        text_completion_clear(&r->from.completion);
    else if (r->asked == WIRE_MESSAGES)
        anthropic_decode_clear(&r->from.anthropic);
    else
        openai_decode_clear(&r->from.openai);
    chat_answer_clear(&r->answer);
    free(r);
}

void answer_record_feed(struct answer_record *r, struct slice in)
{
    enum err err;

    if (r->err)
        return;
    if (r->asked == WIRE_COMPLETIONS)
        err = text_completion_feed(&r->from.completion, in);
    else if (r->asked == WIRE_MESSAGES)
        err = anthropic_decode_feed(&r->from.anthropic, in);
    else
        err = openai_decode_feed(&r->from.openai, in);
    if (!r->err) /* on_stream_event's comes first */
        r->err = err;
    if (r->err) { /* nothing will come of it: its memory need not wait */
        size_t max_bytes = r->answer.max_bytes;

        chat_answer_clear(&r->answer);
        chat_answer_init(&r->answer, max_bytes);
    }
}

static enum answer_worth write_reply(const struct answer_record *r, struct buf *out)
{
    struct chat_encode_options enc = {
        .fallback_id = NO_ID, .created_s = r->opt.created_s, .max_answer_bytes = r->opt.max_bytes};

    return chat_encoder_reply(r->asked, &r->answer, &enc, out) == ERR_OK ? ANSWER_GOOD
                                                                         : ANSWER_LARGE;
}

enum answer_worth answer_record_end(struct answer_record *r, struct buf *out)
{
    enum answer_worth worth;
    enum err err = r->err;

    if (err == ERR_OK && r->asked == WIRE_COMPLETIONS)
        return text_completion_end(&r->from.completion, r->opt.n, r->opt.created_s, out);
    if (err == ERR_OK)
        err = r->asked == WIRE_MESSAGES ? anthropic_decode_end(&r->from.anthropic)
                                        : openai_decode_end(&r->from.openai);
    if (r->err)
        err = r->err;
    if (err != ERR_OK)
        return worth_of_error(err);
    worth = judge(&r->answer, &r->opt);
    return worth == ANSWER_GOOD ? write_reply(r, out) : worth;
}
