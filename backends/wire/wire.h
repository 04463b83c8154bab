/* What the rooms above may know of wire formats: the names of the APIs that clients speak and of
 * the dialects that servers speak, and which of them go together. Everything else is behind ask.h
 * (requests) and answer.h (answers). Pure. */
#ifndef BACKENDS_WIRE_WIRE_H
#define BACKENDS_WIRE_WIRE_H

#include <stdbool.h>
#include "base/err.h"
#include "base/slice.h"
#include "base/tokens.h"

enum wire_api {
    WIRE_CHAT,
    WIRE_COMPLETIONS,
    WIRE_EMBEDDINGS,
    WIRE_MESSAGES,
    WIRE_RESPONSES,
    WIRE_APIS
};
enum wire_dialect { WIRE_OPENAI, WIRE_ANTHROPIC, WIRE_DIALECTS };

/* "chat", "completions", "embeddings", "messages", "responses": metrics, policy match, ledger */
const char *wire_api_name(enum wire_api a);
/* "/chat/completions" ...: appended to a backend's URL path */
const char *wire_api_path(enum wire_api a);
/* The dialect an API belongs to: its errors, its models list. */
enum wire_dialect wire_api_dialect(enum wire_api a);

/* The API by which a server of that dialect is asked for what a client asked through `client`:
 * itself where the dialect has it, else the one it is translated to. false: there is none
 * (embeddings and completions exist in one dialect only). */
bool wire_upstream_api(enum wire_api client, enum wire_dialect server, enum wire_api *out);

#endif
