/* What the writers of requests share: JSON with its commas, and refusals that name the member and
 * the dialect or server that cannot honour it. Pure; lives on the stack of one write. */
#ifndef BACKENDS_WIRE_CHAT_WRITER_H
#define BACKENDS_WIRE_CHAT_WRITER_H

#include "backends/wire/chat.h"
#include "backends/wire/json_pen.h"
#include "backends/wire/tool_id.h"
#include "backends/wire/tool_pairs.h"

struct chat_writer {
    const struct chat *chat;
    const char *target; /* for messages: "Anthropic Messages", "OpenAI Chat Completions (groq)" */
    struct arena *arena;
    struct json_pen pen;
    bool comma; /* a value stands before: the next one is separated */
    const char **param;
    struct err_text *text;
    enum err err; /* the first refusal */
};

void chat_writer_init(struct chat_writer *w, const struct chat *c, const char *target,
                      struct arena *a, struct buf *out, const char **param, struct err_text *t);
/* ERR_OK, or the first error; then what was written is taken back. */
enum err chat_writer_end(struct chat_writer *w);

void put_open(struct chat_writer *w, char bracket);
void put_close(struct chat_writer *w, char bracket);
void put_key(struct chat_writer *w, const char *name);
void put_string(struct chat_writer *w, struct slice text);
/* Members; nothing when the value is not given. */
void put_string_member(struct chat_writer *w, const char *name, struct slice text);
void put_raw_member(struct chat_writer *w, const char *name, struct slice json);
void put_flag_member(struct chat_writer *w, const char *name, enum chat_flag flag);
void put_words_member(struct chat_writer *w, const char *name, const char *words);
void put_int_member(struct chat_writer *w, const char *name, int64_t n);

/* Records that the member at path is refused. why (may be NULL) is a sentence after the usual one.
 */
void chat_refuse(struct chat_writer *w, const char *path, const char *why);
/* Refuses the first member that the model has no place for, unless it is harmless or of the
 * request's top in the client's own dialect. true: refused, and the writer may stop. */
bool chat_refuse_unknown(struct chat_writer *w, enum chat_dialect to);
/* Refuses the first tool, or call of one, whose name the rule does not admit. Names are not mapped:
 * the model is told by them what a tool does. */
void chat_refuse_tool_names(struct chat_writer *w, const struct tool_id_rule *rule);
/* Refuses the first tool call without its result, or result without its call. */
void chat_refuse_unpaired(struct chat_writer *w, enum tool_pairs_by by);
/* Those of the request's top, in the client's own dialect. */
void put_unknown(struct chat_writer *w, enum chat_dialect to);

/* The client's name for a member of the model that dialects name differently. */
enum chat_term { TERM_STOP, TERM_EFFORT, TERM_FORMAT, TERM_VERBOSITY, TERM_PARALLEL, TERM_TERMS };
const char *chat_term(const struct chat *c, enum chat_term term);

bool chat_is_number(struct slice json, double value); /* a JSON number of that value */
bool chat_is_blank(struct slice text);                /* white space only, or nothing */

#endif
