/* See answer.h. The order of sources: a tool call or structured output when the request wants one,
 * else the recorded text, the recorded short answer, a sentence made from the row's score, a
 * synthetic answer. */
#include "tests/fleet/answer.h"

#include <ctype.h>
#include "base/utf8.h"
#include "tests/fleet/schema.h"
#include "tests/fleet/text.h"

#define PIECE_BYTES  4
#define QUOTE_BYTES  200 /* of the question, in a synthetic answer */
#define TOOLS_MAX    16
#define FIRST_US     200000 /* pace where no latency was recorded: modelled, not measured */
#define PER_TOKEN_US 12000

struct slice answer_piece(struct slice *rest)
{
    size_t n = 0;
    while (n < rest->n) {
        size_t step = utf8_char_bytes(rest->p + n, rest->n - n);
        step = step ? step : 1;
        if (n && n + step > PIECE_BYTES)
            break;
        n += step;
        if (n >= PIECE_BYTES)
            break;
    }
    struct slice piece = slice_make(rest->p, n);
    *rest = slice_from(*rest, n);
    return piece;
}

static size_t count_pieces(struct slice s)
{
    size_t n = 0;
    for (; s.n; n++)
        answer_piece(&s);
    return n;
}

/* At most max bytes, cut between characters. */
static struct slice head_of(struct slice s, size_t max)
{
    struct slice rest = s;
    size_t n = 0;
    while (rest.n && n + PIECE_BYTES <= max)
        n += answer_piece(&rest).n;
    return slice_make(s.p, n);
}

/* ---- prose ---- */

static struct slice synthetic(const struct question *q, const struct model *m, struct arena *a)
{
    struct slice quote = head_of(text_strip(q->text), QUOTE_BYTES);
    return slice_str(arena_printf(a, "This is %s of the replay fleet. You asked: %.*s", m->name,
                                  SLICE_ARG(quote)));
}

static struct slice recorded_text(const struct answer *out, const struct model *m, struct arena *a)
{
    const struct recorded *rec = out->rec;
    if (rec->text)
        return slice_str(rec->text);
    if (rec->brief)
        return slice_str(rec->brief);
    return slice_str(arena_printf(a, "The recorded answer of %s to %s was %s.", m->name,
                                  out->row->id, rec->score >= 0.5 ? "right" : "wrong"));
}

static struct slice huge(int64_t bytes, struct arena *a)
{
    static const char pattern[] = "the quick brown fox jumps over the lazy dog. ";
    char *p = arena_alloc(a, (size_t)bytes + 1);
    for (size_t i = 0; i < (size_t)bytes; i++)
        p[i] = pattern[i % (sizeof pattern - 1)];
    return slice_make(p, (size_t)bytes);
}

static struct slice prose(const struct answer *out, const struct question *q, const struct model *m,
                          const struct fault_set *faults, struct arena *a)
{
    const struct fault *big = fault_get(faults, FAULT_HUGE);
    if (big)
        return huge(big->bytes, a);
    struct slice text = out->rec ? recorded_text(out, m, a) : synthetic(q, m, a);
    if (q->format == FORMAT_TEXT)
        return text;
    struct buf b;
    buf_init(&b, MAX_TEXT_BYTES);
    if (q->format == FORMAT_JSON_SCHEMA) {
        schema_instance(q->schema, text, &b);
    } else {
        TEXT_LIT(&b, "{\"answer\":");
        text_json(&b, text);
        TEXT_LIT(&b, "}");
    }
    text = text_take(&b, a);
    buf_clear(&b);
    return text;
}

/* Ends the text at the first stop string and at the token limit. */
static void limit(struct answer_choice *c, const struct question *q, int64_t recorded_tokens)
{
    for (size_t i = 0; i < q->stop_count; i++) {
        size_t at = text_find(c->text, q->stops[i]);
        if (at < c->text.n)
            c->stop = q->stops[i];
        c->text.n = at;
    }
    c->finish = "stop";
    c->pieces = count_pieces(c->text);
    int64_t tokens = recorded_tokens >= 0 ? recorded_tokens : (int64_t)c->pieces;
    if (q->max_tokens < 0 || tokens <= q->max_tokens || tokens == 0)
        return;
    size_t keep = (size_t)(q->max_tokens * (int64_t)c->pieces / tokens), n = 0;
    struct slice rest = c->text;
    for (size_t i = 0; i < keep; i++)
        n += answer_piece(&rest).n;
    c->text.n = n;
    c->pieces = keep;
    c->finish = "length";
    c->stop.n = 0;
}

/* ---- tools ---- */

/* Does the text name the tool: a word of four letters or more of the tool's name, in any case? */
static bool text_names(struct slice text, struct slice name)
{
    size_t at = 0;
    while (at < name.n) {
        size_t n = 0;
        while (at + n < name.n && isalnum((unsigned char)name.p[at + n]))
            n++;
        for (size_t i = 0; n >= 4 && i + n <= text.n; i++)
            if (strncasecmp(text.p + i, name.p + at, n) == 0)
                return true;
        at += n + 1;
    }
    return false;
}

static void add_call(struct answer_choice *c, const struct question *q,
                     const struct question_tool *tool, uint64_t serial, struct arena *a)
{
    struct buf b;
    struct answer_call *call = &c->calls[c->call_count];
    buf_init(&b, MAX_TEXT_BYTES);
    if (tool->schema.type == JSON_OBJECT)
        schema_instance(tool->schema, q->text, &b);
    else
        TEXT_LIT(&b, "{}");
    call->id = slice_str(arena_printf(a, "%s_%020llx%zu", q->api == API_MESSAGES ? "toolu" : "call",
                                      (unsigned long long)serial, c->call_count));
    call->name = tool->name;
    call->arguments = text_take(&b, a);
    buf_clear(&b);
    c->pieces += count_pieces(call->name) + count_pieces(call->arguments);
    c->call_count++;
}

/* Fills in calls when the request offers tools and forces one or names one in its last user text.
 */
static bool call_tools(struct answer_choice *c, const struct question *q, uint64_t serial,
                       struct arena *a)
{
    bool named = q->choice == CHOICE_NAMED, must = named || q->choice == CHOICE_REQUIRED;
    if (!q->tool_count || q->choice == CHOICE_NONE || (q->after_tool && !must))
        return false;
    c->calls = ARENA_ARRAY(a, struct answer_call, TOOLS_MAX);
    for (size_t i = 0; i < q->tool_count && c->call_count < TOOLS_MAX; i++) {
        const struct question_tool *tool = &q->tools[i];
        bool wanted = named ? slice_eq(tool->name, q->forced) : text_names(q->text, tool->name);
        if (wanted && (q->parallel || !c->call_count))
            add_call(c, q, tool, serial, a);
    }
    if (!c->call_count && q->choice == CHOICE_REQUIRED)
        add_call(c, q, &q->tools[0], serial, a);
    c->finish = "tool_calls";
    return c->call_count > 0;
}

/* ---- thinking ---- */

struct slice answer_signature(struct slice model, struct slice thinking, struct arena *a)
{
    struct slice both =
        slice_str(arena_printf(a, "%.*s|%.*s", SLICE_ARG(model), SLICE_ARG(thinking)));
    return slice_str(arena_printf(a, "EqQB+/%016llx==", (unsigned long long)text_hash(both)));
}

static void think(struct answer_choice *c, const struct question *q, const struct model *m,
                  struct arena *a)
{
    struct slice quote = head_of(text_strip(q->text), QUOTE_BYTES);
    c->thinking = slice_str(
        arena_printf(a, "The user asks: %.*s\nI answer from the record.", SLICE_ARG(quote)));
    c->signature = answer_signature(slice_str(m->name), c->thinking, a);
}

/* ---- the whole ---- */

static void count_tokens(struct answer *out, const struct question *q,
                         const struct fault_set *faults, bool as_recorded)
{
    const struct fault *usage = fault_get(faults, FAULT_USAGE);
    int64_t prompt = q->prompt_tokens, visible = (int64_t)out->pieces;
    if (as_recorded && out->rec->tokens_in >= 0) {
        prompt = out->rec->tokens_in;
        visible = out->rec->tokens_out * (int64_t)out->choice_count;
        if (q->max_tokens >= 0 && visible > q->max_tokens * (int64_t)out->choice_count)
            visible = q->max_tokens * (int64_t)out->choice_count;
    }
    int64_t cached = usage ? usage->cached : 0, fresh_write = usage ? usage->cache_write : 0;
    cached = cached < prompt ? cached : prompt;
    fresh_write = fresh_write < prompt - cached ? fresh_write : prompt - cached;
    out->tokens[TOK_CACHED_INPUT] = cached;
    out->tokens[TOK_CACHE_WRITE] = fresh_write;
    out->tokens[TOK_INPUT] = prompt - cached - fresh_write;
    out->tokens[TOK_OUTPUT] = q->api == API_EMBEDDING ? 0 : visible;
    out->tokens[TOK_REASONING] = usage && q->api != API_EMBEDDING ? usage->reasoning : 0;
    if (q->thinking)
        out->tokens[TOK_REASONING] += (int64_t)count_pieces(out->choices[0].thinking);
}

static void set_pace(struct answer *out)
{
    if (out->rec &&
        out->rec->latency_ms >= 0) { /* a quarter of the recorded time to the first byte */
        out->total_us = out->rec->latency_ms * 1000;
        out->first_us = out->total_us / 4;
        return;
    }
    out->first_us = FIRST_US;
    out->total_us =
        FIRST_US + PER_TOKEN_US * (out->tokens[TOK_OUTPUT] + out->tokens[TOK_REASONING]);
}

void answer_make(struct answer *out, const struct question *q, const struct model *m,
                 const struct rows *rows, const struct fault_set *faults, uint64_t serial,
                 struct arena *a)
{
    *out = (struct answer){0};
    if (q->api == API_EMBEDDING) {
        count_tokens(out, q, faults, false);
        set_pace(out);
        return;
    }
    bool as_recorded = false;
    out->choice_count = (size_t)q->n * q->input_count;
    out->choices = ARENA_ARRAY(a, struct answer_choice, out->choice_count);
    for (size_t i = 0; i < out->choice_count; i++) {
        struct answer_choice *c = &out->choices[i];
        struct question one = *q;
        one.text = q->inputs[i / (size_t)q->n];
        out->row = rows_find(rows, one.text, m, &out->rec);
        if (q->thinking)
            think(c, &one, m, a);
        if (!call_tools(c, q, serial + i, a)) {
            as_recorded = q->plain && out->rec && q->format == FORMAT_TEXT && !q->stop_count &&
                          !fault_get(faults, FAULT_HUGE);
            c->text = prose(out, &one, m, faults, a);
            limit(c, q, as_recorded ? out->rec->tokens_out : -1);
            if (q->echo) {
                c->text =
                    slice_str(arena_printf(a, "%.*s%.*s", SLICE_ARG(one.text), SLICE_ARG(c->text)));
                c->pieces = count_pieces(c->text);
            }
        }
        out->pieces += c->pieces;
    }
    count_tokens(out, q, faults, as_recorded && !q->echo);
    set_pace(out);
}

int64_t answer_tokens_after(const struct answer *a, size_t pieces)
{
    int64_t all = a->tokens[TOK_OUTPUT];
    if (pieces >= a->pieces)
        return all;
    return (all * (int64_t)pieces + (int64_t)a->pieces - 1) / (int64_t)a->pieces;
}
