/* What the rooms above may know of wire formats: names only. Everything else is in the dialect's
 * own file. Pure. */
#ifndef BACKENDS_WIRE_WIRE_H
#define BACKENDS_WIRE_WIRE_H

#include "base/err.h"
#include "base/slice.h"
#include "base/tokens.h"

enum wire_api { WIRE_CHAT, WIRE_COMPLETIONS, WIRE_EMBEDDINGS, WIRE_APIS };

/* "chat", "completions", "embeddings": for metrics, policy match, ledger. */
const char *wire_api_name(enum wire_api a);
/* "/chat/completions" ...: appended to a backend's URL path. */
const char *wire_api_path(enum wire_api a);

#endif
