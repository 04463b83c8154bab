/* A chat request without a dialect: what a client asked for, in the order it asked, before anybody
 * decides which API's words it goes upstream in. Parsers (openai_chat, anthropic_chat,
 * responses_chat) make it, writers (openai_chat, anthropic_chat) put it into a dialect. Pure data:
 * everything lies in the request's arena or in the client's body, which must both outlive it.
 *
 * Texts are decoded UTF-8 (a lone surrogate has become U+FFFD). Numbers, schemas and the members a
 * parser does not know are the client's own bytes, so that nothing is re-formatted.
 * A slice whose p is NULL was not given; one with n == 0 and a pointer was given and is empty.
 *
 * Nothing is lost on the way: what a parser finds and this model has no place for is listed in
 * `unknown`, and a writer refuses the request with the name of the first one that its dialect could
 * not honour. What may be left out, and why, is written down in chat_harmless.def. */
#ifndef BACKENDS_WIRE_CHAT_H
#define BACKENDS_WIRE_CHAT_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"

enum chat_dialect { CHAT_OPENAI, CHAT_ANTHROPIC, CHAT_RESPONSES };

const char *chat_dialect_name(enum chat_dialect d); /* "OpenAI Chat Completions", for messages */

/* Messages, parts, tools, stop texts and unknown members of one request, together: more is refused,
 * so that what the model takes in memory is bounded (Anthropic's own limit is 100,000 messages). */
#define CHAT_MAX_ITEMS 100000

enum chat_part_kind {
    CHAT_PART_TEXT,
    CHAT_PART_REFUSAL,           /* text: the assistant declined */
    CHAT_PART_THINKING,          /* text, signature */
    CHAT_PART_REDACTED_THINKING, /* data: only its vendor can read it */
    CHAT_PART_IMAGE,             /* media_type and data, or url, or file_id; detail */
    CHAT_PART_AUDIO,             /* data; media_type is the bare format: "wav", "mp3" */
    CHAT_PART_DOCUMENT,          /* media_type and data, or url, or file_id; name */
    CHAT_PART_TOOL_CALL,         /* id, name, text: the arguments as JSON text */
    CHAT_PART_TOOL_RESULT,       /* id, parts (text, image, document), is_error */
};

struct chat_part {
    enum chat_part_kind kind;
    bool is_error;
    int at;                 /* its index in the array it was read from; 0 for a plain string */
    struct slice text;      /* decoded */
    struct slice signature; /* of thinking: for the vendor that made it, and nobody else */
    struct slice media_type, data, url, file_id; /* data is base64 */
    struct slice name;                           /* of a tool, or of a file */
    struct slice detail;                         /* of an image: "low", "high", "auto" */
    struct slice id;                             /* of a tool call */
    struct slice cache_control;                  /* raw JSON */
    struct chat_part *parts;                     /* of a tool result; in order */
    struct chat_part *next;
};

/* TOOL is OpenAI's message with one tool result; Anthropic's results are parts of a USER message.
 */
enum chat_role { CHAT_SYSTEM, CHAT_DEVELOPER, CHAT_USER, CHAT_ASSISTANT, CHAT_TOOL };

struct chat_message {
    enum chat_role role;
    int at;            /* its index in the client's list; -1 for Anthropic's system, Responses'
                          instructions and a plain string as input */
    struct slice name; /* of the participant */
    struct chat_part *parts;
    struct chat_message *next;
};

/* Not given, false, true. */
enum chat_flag { CHAT_UNSET, CHAT_NO, CHAT_YES };

struct chat_tool {
    struct slice name, description, parameters; /* parameters: raw JSON schema */
    enum chat_flag strict;
    struct slice cache_control; /* raw JSON */
    int at;
    struct chat_tool *next;
};

enum chat_choice {
    CHAT_CHOICE_UNSET,
    CHAT_CHOICE_AUTO,
    CHAT_CHOICE_NONE,
    CHAT_CHOICE_REQUIRED,
    CHAT_CHOICE_NAMED
};

enum chat_format {
    CHAT_FORMAT_UNSET,
    CHAT_FORMAT_TEXT,
    CHAT_FORMAT_JSON_OBJECT,
    CHAT_FORMAT_JSON_SCHEMA
};

/* From none to most. Servers name a part of these; quirks.def says which. */
enum chat_effort {
    CHAT_EFFORT_UNSET,
    CHAT_EFFORT_NONE,
    CHAT_EFFORT_MINIMAL,
    CHAT_EFFORT_LOW,
    CHAT_EFFORT_MEDIUM,
    CHAT_EFFORT_HIGH,
    CHAT_EFFORT_XHIGH,
    CHAT_EFFORT_MAX,
    CHAT_EFFORTS
};

/* Anthropic's `thinking`: a budget in tokens, or the model's own judgement. */
enum chat_thinking {
    CHAT_THINKING_UNSET,
    CHAT_THINKING_OFF,
    CHAT_THINKING_BUDGET,
    CHAT_THINKING_ADAPTIVE
};

struct chat_stop {
    struct slice text;
    struct chat_stop *next;
};

/* A member that the model has no place for. */
struct chat_unknown {
    const char *path;   /* "messages[1].content[0].type": as the client's dialect writes it */
    bool top;           /* a member of the request itself */
    struct slice key;   /* without quotes, as written */
    struct slice value; /* raw JSON */
    struct chat_unknown *next;
};

struct chat {
    enum chat_dialect from;
    struct slice model; /* as the client named it */

    struct chat_message *messages; /* system texts included, where they stood */
    struct chat_tool *tools;
    enum chat_choice tool_choice;
    struct slice tool_choice_name; /* NAMED */
    enum chat_flag parallel;       /* tool calls */

    enum chat_format format;
    struct slice schema, schema_name, schema_description; /* JSON_SCHEMA; schema is raw */
    enum chat_flag schema_strict;

    struct slice max_tokens, temperature, top_p, top_k, seed, frequency_penalty, presence_penalty,
        n, top_logprobs, logit_bias; /* raw JSON */
    const char *max_tokens_name;     /* the client's name for it; NULL when not given */
    enum chat_flag logprobs;
    struct chat_stop *stops;
    struct slice verbosity;

    enum chat_effort effort;
    enum chat_thinking thinking;
    int64_t thinking_budget_tokens; /* BUDGET */

    bool stream, include_usage;
    bool usage_throughout; /* beside include_usage: in each chunk (some servers of OpenAI's dialect)
                            */
    struct slice previous_response_id; /* Responses: whoever keeps a store must resolve it */
    enum chat_flag store;              /* Responses */
    struct slice cache_control;        /* Anthropic: of the whole request; raw JSON */

    struct chat_unknown *unknown; /* in the order of the text */
    size_t item_count;            /* against CHAT_MAX_ITEMS */
};

static inline bool chat_given(struct slice s)
{
    return s.p != NULL;
}

/* Tokens of the prompt, for count_tokens and for limits, when no model that could count is asked:
 * four bytes of text (arguments, tool schemas) to a token, four more per message, tool and tool
 * call, 1,600 per image (the largest an Anthropic model is shown, "Vision" guide), 2,000 per
 * document and 50,000 bytes of it (a page of PDF, "PDF support" guide), 100 per audio of 16,000
 * bytes (some ten tokens a second). An estimate: real tokenizers differ by a third and more. */
int64_t chat_estimate_tokens(const struct chat *c);

/* Where a message or a part stood: "messages[2].content[0]", "messages.2.content.0", "input[3]". In
 * the arena. part, inner (a part of a tool result) and field may be NULL. */
const char *chat_path(const struct chat *c, const struct chat_message *m,
                      const struct chat_part *part, const struct chat_part *inner,
                      const char *field, struct arena *a);

/* "tools[0].function.name", "tools.0.name", "tools[0].name": where a member of a tool stood. */
const char *chat_tool_path(const struct chat *c, const struct chat_tool *tool, const char *field,
                           struct arena *a);

/* May a member that dialect `to` lacks be left out? Asks chat_harmless.def. */
bool chat_is_harmless(const struct chat *c, const struct chat_unknown *u, enum chat_dialect to);

#endif
