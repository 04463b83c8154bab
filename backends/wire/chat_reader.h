/* How the parsers of requests read JSON: member by member against a list of the names they know.
 * Wrong types are refused with the member's place, in OpenAI's own words; null is absence; the last
 * of equal names wins; names that are not on the list go to the chat's `unknown`. Pure; lives on
 * the stack of one parse. */
#ifndef BACKENDS_WIRE_CHAT_READER_H
#define BACKENDS_WIRE_CHAT_READER_H

#include "backends/wire/chat.h"
#include "base/json_scan.h"

#define CHAT_PATH_DEPTH 8

struct chat_reader {
    struct chat *chat;
    struct arena *arena;
    const char **param;
    struct err_text *text;
    enum err err; /* the first */
    /* Where the reader is; a name of NULL is an element's index. */
    struct {
        const char *name;
        int index;
    } path[CHAT_PATH_DEPTH];
    int depth;
    struct chat_unknown **unknown_end;
};

/* Types a member may have, besides null. */
#define CHAT_STRING (1u << JSON_STRING)
#define CHAT_NUMBER (1u << JSON_NUMBER)
#define CHAT_BOOL   (1u << JSON_TRUE | 1u << JSON_FALSE)
#define CHAT_ARRAY  (1u << JSON_ARRAY)
#define CHAT_OBJECT (1u << JSON_OBJECT)
#define CHAT_ANY    (CHAT_STRING | CHAT_NUMBER | CHAT_BOOL | CHAT_ARRAY | CHAT_OBJECT)

struct chat_field {
    const char *name;
    unsigned types;
    struct json_value *out; /* text.n stays 0 when absent; NULL: known, and rightly not looked at */
};

/* Validates body as one JSON object (ERR_BAD_JSON) and prepares chat and reader. */
bool chat_reader_init(struct chat_reader *r, enum chat_dialect from, struct slice body,
                      struct chat *chat, struct arena *a, const char **param, struct err_text *t,
                      struct json_value *top);
/* ERR_OK, or the first error with *param and the text filled in. */
enum err chat_reader_end(struct chat_reader *r);

/* All readers: false once an error was recorded; then the caller returns at once. */
bool chat_read_object(struct chat_reader *r, struct json_value object,
                      const struct chat_field *fields, size_t count);
#define CHAT_READ(r, object, fields)                                                               \
    chat_read_object((r), (object), (fields), sizeof(fields) / sizeof((fields)[0]))

/* A list's elements one after the other, each an object, at its place. to is the reader's own. */
typedef bool (*chat_element_fn)(struct chat_reader *r, struct json_value element, int at, void *to);
/* The list that is member name of the current place; absent, it has none. */
bool chat_read_list(struct chat_reader *r, const char *name, struct json_value list,
                    chat_element_fn element, void *to);
/* Content: a string, or a list of parts; absent, it adds nothing. to is end. */
bool chat_read_content(struct chat_reader *r, const char *name, struct json_value content,
                       chat_element_fn part, struct chat_part ***end);

void chat_enter(struct chat_reader *r, const char *name); /* a member */
void chat_leave(struct chat_reader *r);

/* Record an error at field of the current place; return false. */
bool chat_fail(struct chat_reader *r, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool chat_missing(struct chat_reader *r, const char *field);
bool chat_wrong_type(struct chat_reader *r, const char *field, const char *expected,
                     struct json_value got);
/* Lists something that has no place in the model; false only when there are too many. */
bool chat_unknown_at(struct chat_reader *r, const char *field, struct json_value v);

/* Decoded text of a string value; not given when v is absent. In the body or the arena. */
struct slice chat_text(struct chat_reader *r, struct json_value v);
struct slice chat_raw(struct json_value v); /* the value as written, or not given */
enum chat_flag chat_flag(struct json_value v);
/* An integer of at least min, within int64. */
bool chat_int(struct chat_reader *r, const char *field, struct json_value v, int64_t min,
              int64_t *out);
/* Is it this string? Escapes are decoded. */
bool chat_is(struct chat_reader *r, struct json_value v, const char *text);

/* New items in the arena, counted, appended at **end, which moves on. NULL on error. */
struct chat_message *chat_add_message(struct chat_reader *r, struct chat_message ***end,
                                      enum chat_role role, int at);
struct chat_part *chat_add_part(struct chat_reader *r, struct chat_part ***end,
                                enum chat_part_kind kind, int at);
bool chat_add_text(struct chat_reader *r, struct chat_part ***end, struct json_value string,
                   int at);
/* A call whose arguments are JSON in a string. */
bool chat_add_call(struct chat_reader *r, struct chat_part ***end, int at, struct json_value id,
                   struct json_value name, struct json_value arguments);
struct chat_tool_members {
    struct json_value name, description, parameters, strict, cache;
};
bool chat_add_tool(struct chat_reader *r, struct chat_tool ***end, int at,
                   const struct chat_tool_members *v);

/* Members that dialects have in common. */
bool chat_read_model(struct chat_reader *r, struct json_value model);
bool chat_read_effort(struct chat_reader *r, const char *field, struct json_value effort);
bool chat_read_audio(struct chat_reader *r, struct json_value v, struct chat_part *p);
/* "auto", "none" or "required"; false, and nothing, for another. */
bool chat_set_choice(struct chat_reader *r, struct json_value word);
struct chat_schema_members {
    struct json_value name, description, schema, strict;
};
void chat_set_schema(struct chat_reader *r, const struct chat_schema_members *v);
/* An array of strings, or where one_too one string alone, as stop texts. */
bool chat_read_stops(struct chat_reader *r, const char *field, struct json_value v, bool one_too);
/* "data:image/png;base64,..." becomes media_type and data; anything else is a url. */
void chat_set_url(struct chat_part *p, struct slice url);
#endif
