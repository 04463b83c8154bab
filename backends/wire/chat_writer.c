/* Writing a request's JSON. Owns nothing; called by openai_chat_write and anthropic_chat_write. */
#include "backends/wire/chat_writer.h"

#include <assert.h>

#include "base/json_scan.h"
#include "base/utf8.h"

void chat_writer_init(struct chat_writer *w, const struct chat *c, const char *target,
                      struct arena *a, struct buf *out, const char **param, struct err_text *t)
{
    *w = (struct chat_writer){.chat = c, .target = target, .arena = a, .param = param, .text = t};
    *param = NULL;
    json_pen_begin(&w->pen, out);
}

enum err chat_writer_end(struct chat_writer *w)
{
    enum err full = w->pen.err;

    if (w->err) /* ends the pen, too: what was written is taken back */
        w->pen.err = w->err;
    if (json_pen_end(&w->pen) == ERR_OK)
        return ERR_OK;
    if (w->err)
        return w->err;
    err_say(w->text, "The request is too large in the upstream's dialect.");
    return full;
}

/* ---- values ---- */

static void separate(struct chat_writer *w)
{
    if (w->comma)
        JSON_PEN(&w->pen, ",");
    w->comma = true;
}

void put_open(struct chat_writer *w, char bracket)
{
    separate(w);
    json_pen_raw(&w->pen, slice_make(&bracket, 1));
    w->comma = false;
}

void put_close(struct chat_writer *w, char bracket)
{
    json_pen_raw(&w->pen, slice_make(&bracket, 1));
    w->comma = true;
}

void put_key(struct chat_writer *w, const char *name)
{
    separate(w);
    json_pen_string(&w->pen, slice_str(name));
    JSON_PEN(&w->pen, ":");
    w->comma = false;
}

void put_string(struct chat_writer *w, struct slice text)
{
    separate(w);
    json_pen_string(&w->pen, text);
}

static void put_raw(struct chat_writer *w, struct slice json)
{
    separate(w);
    json_pen_raw(&w->pen, json);
}

void put_string_member(struct chat_writer *w, const char *name, struct slice text)
{
    if (!chat_given(text))
        return;
    put_key(w, name);
    put_string(w, text);
}

void put_raw_member(struct chat_writer *w, const char *name, struct slice json)
{
    if (!chat_given(json))
        return;
    put_key(w, name);
    put_raw(w, json);
}

void put_flag_member(struct chat_writer *w, const char *name, enum chat_flag flag)
{
    if (flag != CHAT_UNSET)
        put_raw_member(w, name, flag == CHAT_YES ? SLICE("true") : SLICE("false"));
}

void put_words_member(struct chat_writer *w, const char *name, const char *words)
{
    put_string_member(w, name, slice_str(words));
}

void put_int_member(struct chat_writer *w, const char *name, int64_t n)
{
    put_key(w, name);
    separate(w);
    json_pen_int(&w->pen, n);
}

/* ---- refusals ---- */

void chat_refuse(struct chat_writer *w, const char *path, const char *why)
{
    if (w->err)
        return;
    w->err = ERR_UNTRANSLATABLE;
    *w->param = path;
    err_say(w->text, "'%.160s' cannot be passed on to %s.%s%s", path, w->target, why ? " " : "",
            why ? why : "");
}

bool chat_refuse_unknown(struct chat_writer *w, enum chat_dialect to)
{
    for (const struct chat_unknown *u = w->chat->unknown; u && !w->err; u = u->next)
        if (!(u->top && w->chat->from == to) && !chat_is_harmless(w->chat, u, to))
            chat_refuse(w, u->path, NULL);
    return w->err != ERR_OK;
}

static void refuse_name(struct chat_writer *w, const char *path, const struct tool_id_rule *rule)
{
    chat_refuse(w, path,
                arena_printf(w->arena,
                             "Names of tools there are 1 to %zu letters, digits, _ and -.",
                             rule->max_bytes));
}

void chat_refuse_tool_names(struct chat_writer *w, const struct tool_id_rule *rule)
{
    const struct chat *c = w->chat;

    for (const struct chat_tool *tool = c->tools; tool; tool = tool->next)
        if (!tool_id_fits(rule, tool->name))
            refuse_name(w, chat_tool_path(c, tool, "name", w->arena), rule);
    for (const struct chat_message *m = c->messages; m; m = m->next)
        for (const struct chat_part *p = m->parts; p; p = p->next)
            if (p->kind == CHAT_PART_TOOL_CALL && !tool_id_fits(rule, p->name))
                refuse_name(w,
                            chat_path(c, m, p, NULL,
                                      c->from == CHAT_OPENAI ? "function.name" : "name", w->arena),
                            rule);
}

void chat_refuse_unpaired(struct chat_writer *w, enum tool_pairs_by by)
{
    static const char *const ids[][2] = {
        [CHAT_OPENAI] = {"id", "tool_call_id"},
        [CHAT_ANTHROPIC] = {"id", "tool_use_id"},
        [CHAT_RESPONSES] = {"call_id", "call_id"},
    };
    struct tool_pairs_fault at;

    if (!tool_pairs_match(w->chat, by, w->arena, &at))
        chat_refuse(w,
                    chat_path(w->chat, at.message, at.part, NULL,
                              ids[w->chat->from][at.part->kind == CHAT_PART_TOOL_RESULT], w->arena),
                    at.why);
}

void put_unknown(struct chat_writer *w, enum chat_dialect to)
{
    for (const struct chat_unknown *u = w->chat->unknown; u; u = u->next) {
        if (!u->top || w->chat->from != to)
            continue;
        separate(w);
        JSON_PEN(&w->pen, "\"");
        json_pen_raw(&w->pen, u->key);
        JSON_PEN(&w->pen, "\":");
        json_pen_raw(&w->pen, u->value);
    }
}

const char *chat_term(const struct chat *c, enum chat_term term)
{
    static const char *const terms[TERM_TERMS][3] = {
        [TERM_STOP] = {"stop", "stop_sequences", "stop"},
        [TERM_EFFORT] = {"reasoning_effort", "output_config.effort", "reasoning.effort"},
        [TERM_FORMAT] = {"response_format", "output_config.format", "text.format"},
        [TERM_VERBOSITY] = {"verbosity", "verbosity", "text.verbosity"},
        [TERM_PARALLEL] = {"parallel_tool_calls", "tool_choice.disable_parallel_tool_use",
                           "parallel_tool_calls"},
    };

    assert((unsigned)term < TERM_TERMS);
    return terms[term][c->from];
}

/* ---- values ---- */

bool chat_is_number(struct slice json, double value)
{
    double number;

    return chat_given(json) && json_number((struct json_value){JSON_NUMBER, json}, &number) &&
           number >= value && number <= value;
}

/* White space as Unicode has it: what a model server strips before it looks for text. */
static bool is_space(const char *p, size_t n)
{
    static const struct slice wide[] = {
        {"\xC2\x85", 2},     {"\xC2\xA0", 2},     {"\xE2\x80\xA8", 3}, {"\xE2\x80\xA9", 3},
        {"\xE2\x80\xAF", 3}, {"\xE2\x81\x9F", 3}, {"\xE3\x80\x80", 3}, {"\xE1\x9A\x80", 3},
    };

    if (n == 1)
        return *p == ' ' || (*p >= '\t' && *p <= '\r') || (*p >= 0x1C && *p <= 0x1F);
    if (n == 3 && memcmp(p, "\xE2\x80", 2) == 0 && (unsigned char)p[2] <= 0x8A)
        return true; /* U+2000 to U+200A */
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++)
        if (slice_eq(slice_make(p, n), wide[i]))
            return true;
    return false;
}

bool chat_is_blank(struct slice text)
{
    for (size_t i = 0; i < text.n;) {
        size_t n = utf8_char_bytes(text.p + i, text.n - i);
        if (n == 0 || !is_space(text.p + i, n))
            return false;
        i += n;
    }
    return true;
}
