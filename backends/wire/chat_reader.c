/* Reading members by a list of known names. Owns nothing; everything it makes lies in the arena.
 * Called by openai_chat, anthropic_chat and responses_chat. */
#include "backends/wire/chat_reader.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "backends/wire/member.h"

/* ---- places and errors ---- */

void chat_enter(struct chat_reader *r, const char *name)
{
    assert(r->depth < CHAT_PATH_DEPTH);
    r->path[r->depth].name = name;
    r->path[r->depth++].index = 0;
}

static void chat_enter_at(struct chat_reader *r, int index)
{
    assert(r->depth < CHAT_PATH_DEPTH);
    r->path[r->depth].name = NULL;
    r->path[r->depth++].index = index;
}

void chat_leave(struct chat_reader *r)
{
    assert(r->depth > 0);
    r->depth--;
}

/* The current place, and field there when it is not NULL; in the arena. */
static const char *chat_here(struct chat_reader *r, const char *field)
{
    bool dots = r->chat->from == CHAT_ANTHROPIC;
    char *path = arena_strdup(r->arena, SLICE(""));

    for (int i = 0; i < r->depth; i++)
        if (r->path[i].name)
            path = arena_printf(r->arena, "%s%s%s", path, i ? "." : "", r->path[i].name);
        else
            path = arena_printf(r->arena, dots ? "%s.%d" : "%s[%d]", path, r->path[i].index);
    return field ? arena_printf(r->arena, "%s%s%s", path, r->depth ? "." : "", field) : path;
}

bool chat_fail(struct chat_reader *r, const char *field, const char *fmt, ...)
{
    char why[256];
    va_list ap;

    if (r->err)
        return false;
    r->err = ERR_BAD_REQUEST;
    *r->param = chat_here(r, field);
    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    err_say(r->text, "%s", why);
    return false;
}

bool chat_missing(struct chat_reader *r, const char *field)
{
    return chat_fail(r, field, "Missing required parameter: '%.160s'.", chat_here(r, field));
}

bool chat_wrong_type(struct chat_reader *r, const char *field, const char *expected,
                     struct json_value got)
{
    return chat_fail(r, field, "Invalid type for '%.140s': expected %s, but got %s instead.",
                     chat_here(r, field), expected, value_type_words(got));
}

static const char *types_words(unsigned types)
{
    switch (types) {
    case CHAT_STRING:
        return "a string";
    case CHAT_NUMBER:
        return "a number";
    case CHAT_BOOL:
        return "a boolean";
    case CHAT_ARRAY:
        return "an array";
    case CHAT_OBJECT:
        return "an object";
    case CHAT_STRING | CHAT_ARRAY:
        return "one of a string or an array";
    case CHAT_STRING | CHAT_OBJECT:
        return "one of a string or an object";
    default:
        return "another type";
    }
}

/* ---- the walk ---- */

/* Counts towards CHAT_MAX_ITEMS. */
static bool chat_count_item(struct chat_reader *r)
{
    if (r->err)
        return false;
    if (r->chat->item_count++ < CHAT_MAX_ITEMS)
        return true;
    return chat_fail(r, NULL, "The request has more than %d messages, parts, tools and members.",
                     CHAT_MAX_ITEMS);
}

static bool add_unknown(struct chat_reader *r, const char *field, struct slice key,
                        struct json_value v)
{
    struct chat_unknown *u;

    if (!chat_count_item(r))
        return false;
    u = ARENA_NEW(r->arena, struct chat_unknown);
    u->path = chat_here(r, field);
    u->top = r->depth == 0 && key.n > 0;
    u->key = key;
    u->value = v.text;
    *r->unknown_end = u;
    r->unknown_end = &u->next;
    return true;
}

bool chat_unknown_at(struct chat_reader *r, const char *field, struct json_value v)
{
    return add_unknown(r, field, SLICE(""), v);
}

/* A name a client made up may be long: its place shows the beginning. */
static bool unknown_member(struct chat_reader *r, const struct json_member *m)
{
    if (m->value.type == JSON_NULL)
        return true;
    return add_unknown(
        r, arena_printf(r->arena, "%.*s", (int)(m->key.n < 64 ? m->key.n : 64), m->key.p), m->key,
        m->value);
}

bool chat_read_object(struct chat_reader *r, struct json_value object,
                      const struct chat_field *fields, size_t count)
{
    struct json_iter it;
    struct json_member m;

    json_iter_init(&it, object);
    while (!r->err && json_iter_next(&it, &m)) {
        size_t i = 0;
        while (i < count && !member_is(&m, slice_str(fields[i].name)))
            i++;
        if (i == count) {
            if (!unknown_member(r, &m))
                return false;
            continue;
        }
        if (m.value.type != JSON_NULL && !(fields[i].types & 1u << m.value.type))
            return chat_wrong_type(r, fields[i].name, types_words(fields[i].types), m.value);
        if (!fields[i].out)
            continue;
        *fields[i].out = m.value;
        if (m.value.type == JSON_NULL)
            fields[i].out->text.n = 0;
    }
    return !r->err;
}

bool chat_read_list(struct chat_reader *r, const char *name, struct json_value list,
                    chat_element_fn element, void *to)
{
    struct json_iter it;
    struct json_member m;
    int at = 0;

    if (list.text.n == 0)
        return true;
    chat_enter(r, name);
    json_iter_init(&it, list);
    while (json_iter_next(&it, &m)) {
        chat_enter_at(r, at);
        if (m.value.type != JSON_OBJECT)
            return chat_wrong_type(r, NULL, "an object", m.value);
        if (!element(r, m.value, at++, to))
            return false;
        chat_leave(r);
    }
    chat_leave(r);
    return true;
}

bool chat_read_content(struct chat_reader *r, const char *name, struct json_value content,
                       chat_element_fn part, struct chat_part ***end)
{
    return content.text.n && content.type == JSON_STRING
               ? chat_add_text(r, end, content, 0)
               : chat_read_list(r, name, content, part, end);
}

bool chat_reader_init(struct chat_reader *r, enum chat_dialect from, struct slice body,
                      struct chat *chat, struct arena *a, const char **param, struct err_text *t,
                      struct json_value *top)
{
    struct slice text = json_trim(body);
    size_t at = 0;

    *chat = (struct chat){.from = from};
    *r = (struct chat_reader){.chat = chat, .arena = a, .param = param, .text = t};
    r->unknown_end = &chat->unknown;
    *param = NULL;
    if (!json_validate(body, &at) || text.p[0] != '{') {
        r->err = ERR_BAD_JSON;
        err_say(t,
                "We could not parse the JSON body of your request: "
                "it is not a JSON object, or not valid at byte %zu.",
                at);
        return false;
    }
    *top = (struct json_value){JSON_OBJECT, text};
    return true;
}

enum err chat_reader_end(struct chat_reader *r)
{
    return r->err;
}

/* ---- values ---- */

struct slice chat_text(struct chat_reader *r, struct json_value v)
{
    return v.text.n ? json_string_text(v.text, r->arena) : (struct slice){NULL, 0};
}

struct slice chat_raw(struct json_value v)
{
    return v.text.n ? v.text : (struct slice){NULL, 0};
}

enum chat_flag chat_flag(struct json_value v)
{
    if (v.text.n == 0)
        return CHAT_UNSET;
    return v.type == JSON_TRUE ? CHAT_YES : CHAT_NO;
}

bool chat_int(struct chat_reader *r, const char *field, struct json_value v, int64_t min,
              int64_t *out)
{
    if (v.type != JSON_NUMBER || !json_int(v, out))
        return chat_wrong_type(r, field, "an integer", v);
    if (*out < min)
        return chat_fail(r, field,
                         "Invalid '%.100s': integer below minimum value. "
                         "Expected a value >= %lld, but got %lld instead.",
                         chat_here(r, field), (long long)min, (long long)*out);
    return true;
}

bool chat_is(struct chat_reader *r, struct json_value v, const char *text)
{
    return v.type == JSON_STRING && v.text.n && slice_eq(chat_text(r, v), slice_str(text));
}

/* ---- items ---- */

struct chat_message *chat_add_message(struct chat_reader *r, struct chat_message ***end,
                                      enum chat_role role, int at)
{
    struct chat_message *m;

    if (!chat_count_item(r))
        return NULL;
    m = ARENA_NEW(r->arena, struct chat_message);
    m->role = role;
    m->at = at;
    **end = m;
    *end = &m->next;
    return m;
}

struct chat_part *chat_add_part(struct chat_reader *r, struct chat_part ***end,
                                enum chat_part_kind kind, int at)
{
    struct chat_part *p;

    if (!chat_count_item(r))
        return NULL;
    p = ARENA_NEW(r->arena, struct chat_part);
    p->kind = kind;
    p->at = at;
    **end = p;
    *end = &p->next;
    return p;
}

bool chat_add_text(struct chat_reader *r, struct chat_part ***end, struct json_value string, int at)
{
    struct chat_part *p = chat_add_part(r, end, CHAT_PART_TEXT, at);

    if (p)
        p->text = chat_text(r, string);
    return p != NULL;
}

bool chat_add_call(struct chat_reader *r, struct chat_part ***end, int at, struct json_value id,
                   struct json_value name, struct json_value arguments)
{
    struct chat_part *p = chat_add_part(r, end, CHAT_PART_TOOL_CALL, at);

    if (!p)
        return false;
    p->id = chat_text(r, id);
    p->name = chat_text(r, name);
    p->text = arguments.text.n ? chat_text(r, arguments) : SLICE("");
    return true;
}

bool chat_add_tool(struct chat_reader *r, struct chat_tool ***end, int at,
                   const struct chat_tool_members *v)
{
    struct chat_tool *tool;

    if (!chat_count_item(r))
        return false;
    tool = ARENA_NEW(r->arena, struct chat_tool);
    *tool = (struct chat_tool){
        .name = chat_text(r, v->name),
        .description = chat_text(r, v->description),
        .parameters = chat_raw(v->parameters),
        .strict = chat_flag(v->strict),
        .cache_control = chat_raw(v->cache),
        .at = at,
    };
    **end = tool;
    *end = &tool->next;
    return true;
}

/* ---- members that dialects have in common ---- */

bool chat_read_model(struct chat_reader *r, struct json_value model)
{
    if (model.text.n == 0)
        return chat_missing(r, "model");
    r->chat->model = chat_text(r, model);
    return r->chat->model.n > 0 ||
           chat_fail(r, "model",
                     r->chat->from == CHAT_ANTHROPIC ? "model: the name is empty"
                                                     : "Invalid 'model': the name is empty.");
}

static bool effort_by_name(struct slice name, enum chat_effort *out)
{
    static const char *const names[CHAT_EFFORTS] = {
        [CHAT_EFFORT_NONE] = "none", [CHAT_EFFORT_MINIMAL] = "minimal",
        [CHAT_EFFORT_LOW] = "low",   [CHAT_EFFORT_MEDIUM] = "medium",
        [CHAT_EFFORT_HIGH] = "high", [CHAT_EFFORT_XHIGH] = "xhigh",
        [CHAT_EFFORT_MAX] = "max",
    };

    for (int i = 0; i < CHAT_EFFORTS; i++)
        if (names[i] && slice_eq(name, slice_str(names[i]))) {
            *out = (enum chat_effort)i;
            return true;
        }
    return false;
}

bool chat_read_effort(struct chat_reader *r, const char *field, struct json_value effort)
{
    return effort.text.n == 0 || effort_by_name(chat_text(r, effort), &r->chat->effort) ||
           chat_unknown_at(r, field, effort);
}

bool chat_read_audio(struct chat_reader *r, struct json_value v, struct chat_part *p)
{
    struct json_value data = {0}, format = {0};
    const struct chat_field fields[] = {{"data", CHAT_STRING, &data},
                                        {"format", CHAT_STRING, &format}};

    if (v.text.n == 0)
        return chat_missing(r, "input_audio");
    chat_enter(r, "input_audio");
    if (!CHAT_READ(r, v, fields))
        return false;
    if (data.text.n == 0 || format.text.n == 0)
        return chat_missing(r, data.text.n == 0 ? "data" : "format");
    chat_leave(r);
    p->data = chat_text(r, data);
    p->media_type = chat_text(r, format);
    return true;
}

bool chat_set_choice(struct chat_reader *r, struct json_value word)
{
    static const struct {
        const char *word;
        enum chat_choice choice;
    } words[] = {
        {"auto", CHAT_CHOICE_AUTO},
        {"none", CHAT_CHOICE_NONE},
        {"required", CHAT_CHOICE_REQUIRED},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (chat_is(r, word, words[i].word)) {
            r->chat->tool_choice = words[i].choice;
            return true;
        }
    return false;
}

void chat_set_schema(struct chat_reader *r, const struct chat_schema_members *v)
{
    struct chat *c = r->chat;

    c->format = CHAT_FORMAT_JSON_SCHEMA;
    c->schema = chat_raw(v->schema);
    c->schema_name = chat_text(r, v->name);
    c->schema_description = chat_text(r, v->description);
    c->schema_strict = chat_flag(v->strict);
}

/* ---- stop texts, URLs ---- */

static bool add_stop(struct chat_reader *r, struct chat_stop ***end, struct json_value string)
{
    struct chat_stop *stop;

    if (!chat_count_item(r))
        return false;
    stop = ARENA_NEW(r->arena, struct chat_stop);
    stop->text = chat_text(r, string);
    **end = stop;
    *end = &stop->next;
    return true;
}

bool chat_read_stops(struct chat_reader *r, const char *field, struct json_value v, bool one_too)
{
    struct chat_stop **end = &r->chat->stops;
    struct json_iter it;
    struct json_member m;

    if (v.text.n == 0)
        return true;
    if (v.type == JSON_STRING && one_too)
        return add_stop(r, &end, v);
    json_iter_init(&it, v);
    while (json_iter_next(&it, &m)) {
        if (m.value.type != JSON_STRING)
            return chat_wrong_type(r, field, "an array of strings", m.value);
        if (!add_stop(r, &end, m.value))
            return false;
    }
    return true;
}

/* RFC 2397; parameters of the media type other than base64 are not kept. */
void chat_set_url(struct chat_part *p, struct slice url)
{
    struct slice scheme = SLICE("data:"), rest, head;
    const char *comma, *semicolon;

    p->url = url;
    if (url.n < scheme.n || strncasecmp(url.p, scheme.p, scheme.n) != 0)
        return;
    rest = slice_from(url, scheme.n);
    comma = memchr(rest.p, ',', rest.n);
    if (!comma)
        return;
    head = slice_make(rest.p, (size_t)(comma - rest.p));
    if (head.n < 7 || strncasecmp(head.p + head.n - 7, ";base64", 7) != 0)
        return;
    semicolon = memchr(head.p, ';', head.n);
    p->media_type = slice_make(head.p, (size_t)(semicolon - head.p));
    p->data = slice_from(rest, head.n + 1);
    p->url = (struct slice){NULL, 0};
}
