/* OpenAI Responses requests to the neutral chat. Pure. Nothing is written in this dialect:
 * upstreams are asked in OpenAI's chat dialect or in Anthropic's. Source: OpenAI API reference,
 * "Create a model response"; guides "Conversation state", "Reasoning".
 *
 * - instructions become a first developer message; a plain string as input a user message.
 * - A function_call joins the assistant's turn before it, so that parallel calls stay one turn;
 *   function_call_output becomes a tool message.
 * - A reasoning item becomes thinking whose signature is its encrypted_content: only its vendor
 * gets that back.
 * - previous_response_id and store are the caller's to honour: see struct chat. A writer refuses a
 *   chat whose previous_response_id is still set. */
#ifndef BACKENDS_WIRE_RESPONSES_CHAT_H
#define BACKENDS_WIRE_RESPONSES_CHAT_H

#include "backends/wire/chat.h"

/* ERR_BAD_JSON, or ERR_BAD_REQUEST with the member's name in *param (static or in the arena). */
enum err responses_chat_parse(struct slice body, struct arena *a, struct chat *out,
                              const char **param, struct err_text *t) MUST_CHECK;

#endif
