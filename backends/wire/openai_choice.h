/* One element of a reply's or a chunk's choices, read for what weir must know. Pure. Source: OpenAI
 * API reference (chat completion object, chunk object, completion object). */
#ifndef BACKENDS_WIRE_OPENAI_CHOICE_H
#define BACKENDS_WIRE_OPENAI_CHOICE_H

#include <stdbool.h>
#include <stdint.h>
#include "backends/wire/chat_event.h"
#include "base/json_scan.h"

struct openai_choice {
    int64_t index;      /* 0 when absent */
    bool finished;      /* finish_reason is a string, and not "" as some servers write for null */
    bool truncated;     /* "length" */
    bool failed;        /* "error" (OpenRouter), or an error member of its own */
    int64_t text_bytes; /* JSON text of content, reasoning, refusal and tool arguments, without the
                           quotes */
    struct json_value usage; /* Moonshot reports it here; text.n == 0 when absent */
    /* As they stand in the element; text.n == 0 when absent. */
    struct json_value message; /* or delta */
    struct json_value text;    /* completions */
    struct json_value logprobs, finish_reason;
};

/* element: validated JSON; anything but an object reads as an empty choice. */
void openai_choice_read(struct json_value element, struct openai_choice *out);
/* Something that null can stand for in as many bytes. */
static inline bool openai_choice_has_logprobs(struct json_value logprobs)
{
    return logprobs.type == JSON_OBJECT && logprobs.text.n >= 4;
}
/* What a finish_reason (a string) means; false: unknown, *finish is then CHAT_FINISH_STOP. *err:
 * the answer was broken off for want of the server, not of the model. */
bool openai_choice_finish(struct json_value reason, enum chat_finish *finish, enum err *err);

/* One element of tool_calls; text.n == 0 when absent. */
struct openai_choice_call {
    int64_t index; /* -1: none */
    struct json_value id, name;
    struct json_value arguments; /* a string; an object with Ollama's own form and some proxies */
};
/* false: not an object. */
bool openai_choice_call_read(struct json_value element, struct openai_choice_call *out);

#endif
