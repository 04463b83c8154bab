/* See render.h; what Anthropic says instead is in render_messages.c. Text is written, not built as
 * a tree: a stream has hundreds of chunks. Log-probabilities are recorded for the first token where
 * the record has one; every other value is made up, deterministically, from the token's hash.
 * Called by api.c. */
#include "tests/fleet/render.h"

#include <math.h>
#include <openssl/evp.h>
#include "base/rng.h"
#include "tests/fleet/events.h"
#include "tests/fleet/text.h"

#define EMBEDDING_DIMENSIONS 256

/* ---- parts ---- */

static bool is_chat(const struct render *r)
{
    return r->q->api == API_CHAT;
}

static void head(const struct render *r, struct buf *b, bool chunk)
{
    const char *object = !is_chat(r) ? "text_completion"
                         : chunk     ? "chat.completion.chunk"
                                     : "chat.completion";
    TEXT_ADD(b, "{\"id\":\"%s-%024llx\",\"object\":\"%s\",\"created\":%lld,\"model\":",
             is_chat(r) ? "chatcmpl" : "cmpl", (unsigned long long)r->serial, object,
             (long long)r->created_s);
    text_json(b, slice_str(r->model->name));
    TEXT_LIT(b, ",\"choices\":[");
}

static void tail(const struct render *r, struct buf *b)
{
    const struct fault *extra = fault_get(r->faults, FAULT_EXTRA);
    if (is_chat(r))
        TEXT_LIT(b, ",\"service_tier\":\"default\"");
    TEXT_LIT(b, ",\"system_fingerprint\":\"fp_fleet\"");
    if (extra && extra->text.n) {
        TEXT_LIT(b, ",");
        TEXT_SLICE(b, extra->text);
    }
    TEXT_LIT(b, "}");
}

static void usage(const struct render *r, struct buf *b)
{
    const int64_t *t = r->answer->tokens;
    long long prompt = (long long)(t[TOK_INPUT] + t[TOK_CACHED_INPUT] + t[TOK_CACHE_WRITE]);
    long long completion = (long long)(t[TOK_OUTPUT] + t[TOK_REASONING]);
    TEXT_ADD(b,
             ",\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld",
             prompt, completion, prompt + completion);
    TEXT_ADD(b, ",\"prompt_tokens_details\":{\"cached_tokens\":%lld,\"audio_tokens\":0",
             (long long)t[TOK_CACHED_INPUT]);
    if (t[TOK_CACHE_WRITE])
        TEXT_ADD(b, ",\"cache_write_tokens\":%lld", (long long)t[TOK_CACHE_WRITE]);
    TEXT_ADD(b,
             "},\"completion_tokens_details\":{\"reasoning_tokens\":%lld,\"audio_tokens\":0,"
             "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
             (long long)t[TOK_REASONING]);
}

/* ---- log-probabilities ---- */

static double piece_logprob(const struct render *r, struct slice piece, size_t index)
{
    if (index == 0 && r->answer->rec && !isnan(r->answer->rec->logprob))
        return r->answer->rec->logprob;
    return -(double)(text_hash(piece) % 1000) / 2000.0;
}

static void token(struct buf *b, struct slice piece, double logprob)
{
    TEXT_LIT(b, "{\"token\":");
    text_json(b, piece);
    TEXT_ADD(b, ",\"logprob\":%.6f,\"bytes\":[", logprob);
    for (size_t i = 0; i < piece.n; i++)
        TEXT_ADD(b, "%s%u", i ? "," : "", (unsigned char)piece.p[i]);
    TEXT_LIT(b, "]");
}

/* The chat form: {"content":[{token, logprob, bytes, top_logprobs}, ...], "refusal":null} for the
 * pieces of text. */
static void chat_logprobs(const struct render *r, struct buf *b, struct slice text, size_t index)
{
    TEXT_LIT(b, ",\"logprobs\":{\"content\":[");
    for (bool first = true; text.n; first = false, index++) {
        struct slice piece = answer_piece(&text);
        double logprob = piece_logprob(r, piece, index);
        TEXT_ADD(b, "%s", first ? "" : ",");
        token(b, piece, logprob);
        TEXT_LIT(b, ",\"top_logprobs\":[");
        for (int64_t k = 0; k < r->q->top_logprobs; k++) {
            char other[32];
            int n = snprintf(other, sizeof other, " alt%lld", (long long)k);
            TEXT_ADD(b, "%s", k ? "," : "");
            token(b, k ? slice_make(other, (size_t)n) : piece, logprob - (double)k);
            TEXT_LIT(b, "}");
        }
        TEXT_LIT(b, "]}");
    }
    TEXT_LIT(b, "],\"refusal\":null}");
}

enum column { COLUMN_TOKENS, COLUMN_LOGPROBS, COLUMN_TOP, COLUMN_OFFSET };

static void completion_column(const struct render *r, struct buf *b, struct slice text,
                              size_t index, enum column c)
{
    size_t offset = 0;
    for (bool first = true; text.n; first = false, index++) {
        struct slice piece = answer_piece(&text);
        TEXT_ADD(b, "%s", first ? "" : ",");
        switch (c) {
        case COLUMN_TOKENS:
            text_json(b, piece);
            break;
        case COLUMN_LOGPROBS:
            TEXT_ADD(b, "%.6f", piece_logprob(r, piece, index));
            break;
        case COLUMN_TOP:
            TEXT_LIT(b, "{");
            text_json(b, piece);
            TEXT_ADD(b, ":%.6f}", piece_logprob(r, piece, index));
            break;
        case COLUMN_OFFSET:
            TEXT_ADD(b, "%zu", offset);
            break;
        }
        offset += piece.n;
    }
}

static void logprobs(const struct render *r, struct buf *b, struct slice text, size_t index)
{
    if (!r->q->logprobs) {
        TEXT_LIT(b, ",\"logprobs\":null");
    } else if (is_chat(r)) {
        chat_logprobs(r, b, text, index);
    } else {
        TEXT_LIT(b, ",\"logprobs\":{\"tokens\":[");
        completion_column(r, b, text, index, COLUMN_TOKENS);
        TEXT_LIT(b, "],\"token_logprobs\":[");
        completion_column(r, b, text, index, COLUMN_LOGPROBS);
        TEXT_LIT(b, "],\"top_logprobs\":[");
        completion_column(r, b, text, index, COLUMN_TOP);
        TEXT_LIT(b, "],\"text_offset\":[");
        completion_column(r, b, text, index, COLUMN_OFFSET);
        TEXT_LIT(b, "]}");
    }
}

/* ---- whole ---- */

static void whole_message(const struct answer_choice *c, struct buf *b)
{
    TEXT_LIT(b, ",\"message\":{\"role\":\"assistant\",\"content\":");
    if (c->call_count)
        TEXT_LIT(b, "null");
    else
        text_json(b, c->text);
    TEXT_LIT(b, ",\"refusal\":null,\"annotations\":[]");
    for (size_t i = 0; i < c->call_count; i++) {
        const struct answer_call *call = &c->calls[i];
        TEXT_ADD(b, "%s{\"id\":\"%.*s\",\"type\":\"function\",\"function\":{\"name\":",
                 i ? "," : ",\"tool_calls\":[", SLICE_ARG(call->id));
        text_json(b, call->name);
        TEXT_LIT(b, ",\"arguments\":");
        text_json(b, call->arguments);
        TEXT_LIT(b, "}}");
    }
    TEXT_ADD(b, "%s}", c->call_count ? "]" : "");
}

struct slice render_whole(const struct render *r)
{
    struct buf b;
    buf_init(&b, MAX_TEXT_BYTES);
    head(r, &b, false);
    for (size_t i = 0; i < r->answer->choice_count; i++) {
        const struct answer_choice *c = &r->answer->choices[i];
        TEXT_ADD(&b, "%s{\"index\":%zu", i ? "," : "", i);
        if (is_chat(r)) {
            whole_message(c, &b);
        } else {
            TEXT_LIT(&b, ",\"text\":");
            text_json(&b, c->text);
        }
        logprobs(r, &b, c->text, 0);
        TEXT_ADD(&b, ",\"finish_reason\":\"%s\"}", c->finish);
    }
    TEXT_LIT(&b, "]");
    if (!fault_get(r->faults, FAULT_NO_USAGE))
        usage(r, &b);
    tail(r, &b);
    struct slice body = text_take(&b, r->arena);
    buf_clear(&b);
    return body;
}

/* ---- streams ---- */

static void choice_begin(struct events *e, size_t index)
{
    head(e->r, &e->b, true);
    TEXT_ADD(&e->b, "{\"index\":%zu", index);
}

/* closes the choice and the chunk; last: the finish chunk of the last choice, where usage_in_last
 * puts the usage. */
static void choice_end(struct events *e, const char *finish, bool last)
{
    const struct render *r = e->r;
    if (finish && !fault_get(r->faults, FAULT_NO_FINISH))
        TEXT_ADD(&e->b, ",\"finish_reason\":\"%s\"}]", finish);
    else
        TEXT_LIT(&e->b, ",\"finish_reason\":null}]");
    bool wanted = r->q->include_usage && !fault_get(r->faults, FAULT_NO_USAGE);
    if (wanted && last && fault_get(r->faults, FAULT_USAGE_IN_LAST))
        usage(r, &e->b);
    else if (wanted)
        TEXT_LIT(&e->b, ",\"usage\":null");
    tail(r, &e->b);
    events_end(e, NULL);
}

static void role_chunk(struct events *e, size_t index, bool calls)
{
    choice_begin(e, index);
    TEXT_ADD(
        &e->b,
        ",\"delta\":{\"role\":\"assistant\",\"content\":%s,\"refusal\":null},\"logprobs\":null",
        calls ? "null" : "\"\"");
    choice_end(e, NULL, false);
}

static void text_chunks(struct events *e, const struct answer_choice *c, size_t index)
{
    struct slice rest = c->text;
    size_t before = e->pieces;
    while (rest.n) {
        size_t first = e->pieces - before;
        struct slice text = events_pieces(e, &rest, c->pieces);
        choice_begin(e, index);
        TEXT_ADD(&e->b, "%s", is_chat(e->r) ? ",\"delta\":{\"content\":" : ",\"text\":");
        text_json(&e->b, text);
        TEXT_ADD(&e->b, "%s", is_chat(e->r) ? "}" : "");
        logprobs(e->r, &e->b, text, first);
        choice_end(e, NULL, false);
    }
}

/* id and name once, then the arguments in fragments. */
static void call_chunks(struct events *e, const struct answer_call *call, size_t index,
                        size_t number)
{
    struct slice name = call->name, rest = call->arguments;
    for (; name.n; e->pieces++)
        answer_piece(&name);
    choice_begin(e, index);
    TEXT_ADD(&e->b,
             ",\"delta\":{\"tool_calls\":[{\"index\":%zu,\"id\":\"%.*s\",\"type\":\"function\","
             "\"function\":{\"name\":",
             number, SLICE_ARG(call->id));
    text_json(&e->b, call->name);
    TEXT_LIT(&e->b, ",\"arguments\":\"\"}}]},\"logprobs\":null");
    choice_end(e, NULL, false);
    while (rest.n) {
        struct slice text = events_pieces(e, &rest, 0);
        choice_begin(e, index);
        TEXT_ADD(&e->b,
                 ",\"delta\":{\"tool_calls\":[{\"index\":%zu,\"function\":{\"arguments\":", number);
        text_json(&e->b, text);
        TEXT_LIT(&e->b, "}}]},\"logprobs\":null");
        choice_end(e, NULL, false);
    }
}

static void finish_chunk(struct events *e, const struct answer_choice *c, size_t index)
{
    choice_begin(e, index);
    TEXT_ADD(&e->b, "%s,\"logprobs\":null", is_chat(e->r) ? ",\"delta\":{}" : ",\"text\":\"\"");
    choice_end(e, c->finish, index + 1 == e->r->answer->choice_count);
}

struct reply_event *render_stream(const struct render *r, size_t *n)
{
    struct events e;
    events_init(&e, r);
    for (size_t i = 0; i < r->answer->choice_count; i++) {
        const struct answer_choice *c = &r->answer->choices[i];
        if (is_chat(r))
            role_chunk(&e, i, c->call_count > 0);
        text_chunks(&e, c, i);
        for (size_t k = 0; k < c->call_count; k++)
            call_chunks(&e, &c->calls[k], i, k);
        finish_chunk(&e, c, i);
    }
    if (r->q->include_usage && !fault_get(r->faults, FAULT_NO_USAGE) &&
        !fault_get(r->faults, FAULT_USAGE_IN_LAST)) {
        head(r, &e.b, true);
        TEXT_LIT(&e.b, "]");
        usage(r, &e.b);
        tail(r, &e.b);
        events_end(&e, NULL);
    }
    return events_done(&e, n);
}

/* ---- embeddings and models ---- */

/* A unit vector from the text alone: the same text has the same vector in every model. */
static void unit_vector(struct slice text, float *v, size_t n)
{
    struct rng rng;
    double norm = 0;
    rng_seed(&rng, text_hash(text));
    for (size_t i = 0; i < n; i++) {
        v[i] = (float)(rng_unit(&rng) + rng_unit(&rng) + rng_unit(&rng) - 1.5);
        norm += (double)v[i] * (double)v[i];
    }
    for (size_t i = 0; i < n; i++)
        v[i] = (float)((double)v[i] / sqrt(norm));
}

static void vector_text(const struct render *r, struct buf *b, const float *v, size_t n)
{
    if (!r->q->base64) {
        for (size_t i = 0; i < n; i++)
            TEXT_ADD(b, "%s%.8g", i ? "," : "[", (double)v[i]);
        TEXT_LIT(b, "]");
        return;
    }
    unsigned char *out = arena_alloc(r->arena, n * sizeof *v / 3 * 4 + 8);
    int length = EVP_EncodeBlock(out, (const unsigned char *)v,
                                 (int)(n * sizeof *v)); /* little-endian float32 */
    TEXT_ADD(b, "\"%.*s\"", length, (const char *)out);
}

struct slice render_embeddings(const struct render *r)
{
    struct buf b;
    size_t n = r->q->dimensions > 0 ? (size_t)r->q->dimensions : EMBEDDING_DIMENSIONS;
    long long tokens =
        (long long)(r->answer->tokens[TOK_INPUT] + r->answer->tokens[TOK_CACHED_INPUT] +
                    r->answer->tokens[TOK_CACHE_WRITE]);
    float *v = ARENA_ARRAY(r->arena, float, n);
    buf_init(&b, MAX_TEXT_BYTES);
    TEXT_LIT(&b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < r->q->input_count; i++) {
        unit_vector(r->q->inputs[i], v, n);
        TEXT_ADD(&b, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
        vector_text(r, &b, v, n);
        TEXT_LIT(&b, "}");
    }
    TEXT_LIT(&b, "],\"model\":");
    text_json(&b, slice_str(r->model->name));
    if (!fault_get(r->faults, FAULT_NO_USAGE))
        TEXT_ADD(&b, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}", tokens, tokens);
    TEXT_LIT(&b, "}");
    struct slice body = text_take(&b, r->arena);
    buf_clear(&b);
    return body;
}

void render_model(const struct model *m, struct buf *out)
{
    TEXT_LIT(out, "{\"id\":");
    text_json(out, slice_str(m->name));
    TEXT_LIT(out, ",\"object\":\"model\",\"created\":1735689600,\"owned_by\":\"weir-fleet\"}");
}
