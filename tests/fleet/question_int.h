/* What the readers of the two dialects share (question.c, question_messages.c). Pure. */
#ifndef FLEET_QUESTION_INT_H
#define FLEET_QUESTION_INT_H

#include "tests/fleet/question.h"

struct question_parse {
    struct question *q;
    struct json_value body;
    struct arena *arena;
    struct refusal *no;
    size_t text_bytes; /* of the prompt */
    int64_t images;
};

/* The member, unless it is absent or null. */
bool question_given(struct json_value object, struct slice name, struct json_value *out);
struct slice question_decode(struct question_parse *p, struct json_value string);
/* Members of the body that may be absent: *out stays then. false: refused. */
bool question_bool(struct question_parse *p, const char *name, bool *out);
bool question_int(struct question_parse *p, const char *name, int64_t min, int64_t max,
                  int64_t *out);
bool question_number(struct question_parse *p, const char *name, double min, double max);
/* Room for all members of an array of tools. */
struct question_tool *question_tool_list(struct question_parse *p, struct json_value tools);

/* The members of Anthropic's dialect but for the model. */
bool question_messages(struct question_parse *p);

#endif
