/* One element of a reply's or a chunk's choices, read for what weir must know. Pure. Source: OpenAI
 * API reference (chat completion object, chunk object, completion object). */
#ifndef BACKENDS_WIRE_OPENAI_CHOICE_H
#define BACKENDS_WIRE_OPENAI_CHOICE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/json_scan.h"

struct openai_choice {
    int64_t index;      /* 0 when absent */
    bool finished;      /* finish_reason is a string, and not "" as some servers write for null */
    bool truncated;     /* "length" */
    bool failed;        /* "error" (OpenRouter), or an error member of its own */
    int64_t text_bytes; /* JSON text of content, reasoning, refusal and tool arguments, without the
                           quotes */
    struct json_value usage; /* Moonshot reports it here; text.n == 0 when absent */
};

/* element: validated JSON; anything but an object reads as an empty choice. */
void openai_choice_read(struct json_value element, struct openai_choice *out);

#endif
