/* What is asked of a neutral chat whatever its dialects: estimates, places, names. Owns nothing;
 * called by the parsers and writers and, for the estimate, by the gateway. */
#include "backends/wire/chat.h"

#include <stdio.h>

#include "backends/wire/anthropic_request.h"

#define BYTES_PER_TOKEN     4
#define TOKENS_PER_ITEM     4
#define TOKENS_PER_IMAGE    1600
#define TOKENS_PER_DOCUMENT 2000
#define BYTES_PER_DOCUMENT  50000
#define TOKENS_PER_AUDIO    100
#define BYTES_PER_AUDIO     16000

const char *chat_dialect_name(enum chat_dialect d)
{
    switch (d) {
    case CHAT_OPENAI:
        return "OpenAI Chat Completions";
    case CHAT_ANTHROPIC:
        return "Anthropic Messages";
    case CHAT_RESPONSES:
        return "OpenAI Responses";
    }
    return "?";
}

/* ---- estimate ---- */

struct tally {
    int64_t text_bytes, tokens;
};

/* At least one unit, however little data there is: it may be a URL. */
static int64_t tokens_of_data(struct slice base64, int64_t tokens, int64_t bytes)
{
    return ((int64_t)base64.n * 3 / 4 / bytes + 1) * tokens;
}

static void count_part(const struct chat_part *p, struct tally *t)
{
    switch (p->kind) {
    case CHAT_PART_TEXT:
    case CHAT_PART_REFUSAL:
    case CHAT_PART_THINKING:
        t->text_bytes += (int64_t)p->text.n;
        break;
    case CHAT_PART_REDACTED_THINKING:
        t->text_bytes += (int64_t)p->data.n * 3 / 4;
        break;
    case CHAT_PART_IMAGE:
        t->tokens += TOKENS_PER_IMAGE;
        break;
    case CHAT_PART_AUDIO:
        t->tokens += tokens_of_data(p->data, TOKENS_PER_AUDIO, BYTES_PER_AUDIO);
        break;
    case CHAT_PART_DOCUMENT:
        t->tokens += tokens_of_data(p->data, TOKENS_PER_DOCUMENT, BYTES_PER_DOCUMENT);
        break;
    case CHAT_PART_TOOL_CALL:
        t->text_bytes += (int64_t)(p->name.n + p->text.n);
        t->tokens += TOKENS_PER_ITEM;
        break;
    case CHAT_PART_TOOL_RESULT:
        for (const struct chat_part *q = p->parts; q; q = q->next)
            count_part(q, t);
        t->tokens += TOKENS_PER_ITEM;
        break;
    }
}

int64_t chat_estimate_tokens(const struct chat *c)
{
    struct tally t = {(int64_t)c->schema.n, 0};

    for (const struct chat_message *m = c->messages; m; m = m->next) {
        t.tokens += TOKENS_PER_ITEM;
        for (const struct chat_part *p = m->parts; p; p = p->next)
            count_part(p, &t);
    }
    for (const struct chat_tool *tool = c->tools; tool; tool = tool->next) {
        t.tokens += TOKENS_PER_ITEM;
        t.text_bytes += (int64_t)(tool->name.n + tool->description.n + tool->parameters.n);
    }
    return t.tokens + (t.text_bytes + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN;
}

/* ---- places ---- */

/* Where a part of this kind stands in its message, "" for the message itself. */
static const char *list_of(const struct chat *c, const struct chat_message *m,
                           const struct chat_part *p)
{
    if (c->from == CHAT_ANTHROPIC)
        return m->at < 0 ? "" : "content";
    if (p->kind == CHAT_PART_TOOL_CALL)
        return c->from == CHAT_OPENAI ? "tool_calls" : "";
    if (p->kind == CHAT_PART_TOOL_RESULT)
        return "";
    return "content";
}

static char *put_index(const struct chat *c, char *path, int at, struct arena *a)
{
    return arena_printf(a, c->from == CHAT_ANTHROPIC ? "%s.%d" : "%s[%d]", path, at);
}

static char *put_name(char *path, const char *name, struct arena *a)
{
    return arena_printf(a, "%s%s%s", path, path[0] ? "." : "", name);
}

const char *chat_path(const struct chat *c, const struct chat_message *m,
                      const struct chat_part *part, const struct chat_part *inner,
                      const char *field, struct arena *a)
{
    char *path = arena_strdup(a, SLICE(""));
    const char *list;

    if (m && m->at >= 0) {
        path = put_name(path, c->from == CHAT_RESPONSES ? "input" : "messages", a);
        path = put_index(c, path, m->at, a);
    } else if (m) {
        path = put_name(path,
                        c->from == CHAT_ANTHROPIC   ? "system"
                        : m->role == CHAT_DEVELOPER ? "instructions"
                                                    : "input",
                        a);
    }
    if (part) {
        list = list_of(c, m, part);
        if (list[0])
            path = put_name(path, list, a);
        if (list[0] || c->from == CHAT_ANTHROPIC)
            path = put_index(c, path, part->at, a);
    }
    if (inner)
        path = put_index(c, put_name(path, c->from == CHAT_RESPONSES ? "output" : "content", a),
                         inner->at, a);
    return field ? put_name(path, field, a) : path;
}

const char *chat_tool_path(const struct chat *c, const struct chat_tool *tool, const char *field,
                           struct arena *a)
{
    return arena_printf(a, c->from == CHAT_ANTHROPIC ? "tools.%d.%s%s" : "tools[%d].%s%s", tool->at,
                        c->from == CHAT_OPENAI ? "function." : "", field);
}

/* ---- harmless ---- */

static const struct {
    enum chat_dialect from;
    struct slice key, value; /* value "": any */
} harmless[] = {
#define HARMLESS(dialect, name, json)                                                              \
    {CHAT_##dialect, {name, sizeof(name) - 1}, {json, sizeof(json) - 1}},
#include "backends/wire/chat_harmless.def"
#undef HARMLESS
};

/* Context editing that only takes away old thinking changes nothing for a model that is sent none.
 */
static bool edits_thinking_only(struct slice json)
{
    return json.n && json.p[0] == '{' &&
           anthropic_clears_thinking_only((struct json_value){JSON_OBJECT, json});
}

bool chat_is_harmless(const struct chat *c, const struct chat_unknown *u, enum chat_dialect to)
{
    if (!u->top)
        return false;
    for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
        if (harmless[i].from == c->from && slice_eq(harmless[i].key, u->key) &&
            (harmless[i].value.n == 0 || slice_eq(harmless[i].value, u->value)))
            return true;
    return c->from == CHAT_ANTHROPIC && to != CHAT_ANTHROPIC &&
           slice_eq(u->key, SLICE("context_management")) && edits_thinking_only(u->value);
}
