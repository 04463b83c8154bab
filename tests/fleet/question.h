/* What a request asks: the few members of a body in OpenAI's or Anthropic's dialect that matter to
 * the fleet, checked as the API of that dialect checks them. Unknown members are accepted. Pure:
 * bytes in, struct out. Views point into the body or the arena. */
#ifndef FLEET_QUESTION_H
#define FLEET_QUESTION_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/json_scan.h"
#include "tests/fleet/refusal.h"

enum question_api { API_CHAT, API_COMPLETION, API_EMBEDDING, API_MESSAGES, API_COUNT_TOKENS };
enum question_format { FORMAT_TEXT, FORMAT_JSON_OBJECT, FORMAT_JSON_SCHEMA };
enum question_choice { CHOICE_AUTO, CHOICE_NONE, CHOICE_REQUIRED, CHOICE_NAMED };

struct question_tool {
    struct slice name;
    struct json_value schema; /* of its arguments: an object, or JSON_NULL */
};

struct question {
    enum question_api api;
    struct slice model;
    bool stream, include_usage, logprobs, base64, echo;
    bool parallel;          /* may several tools be called at once: true unless said otherwise */
    bool after_tool;        /* the last message is a tool's result */
    bool thinking;          /* the answer shows its thinking */
    const char *since_2026; /* a member that Anthropic's version 2026-10-21 refuses; NULL = none */
    bool plain; /* one message by the user, nothing else: recorded prompt tokens apply */
    int64_t n, max_tokens, top_logprobs, dimensions; /* max_tokens and dimensions -1 = not given */
    enum question_format format;
    struct json_value schema; /* FORMAT_JSON_SCHEMA: the schema, an object */
    struct question_tool *tools;
    size_t tool_count;
    enum question_choice choice;
    struct slice forced; /* CHOICE_NAMED: the tool */
    struct slice stops[8];
    size_t stop_count;
    struct slice text;    /* the last user text, or the first prompt or input */
    struct slice *inputs; /* every prompt or input; one for chat */
    size_t input_count;
    int64_t prompt_tokens; /* by rule: see question_tokens */
};

bool question_parse(struct question *q, enum question_api api, struct slice body, struct arena *a,
                    struct refusal *no);
/* The rule of thumb for text whose tokens were not recorded: a token for every 4 bytes begun, at
 * least one. */
int64_t question_tokens(size_t bytes);

#endif
