/* The names of the APIs, and the table of what goes to whom. Pure; any thread. */
#include "backends/wire/wire.h"

#include <assert.h>

#define NONE WIRE_APIS

static const struct {
    const char *name, *path;
    enum wire_dialect dialect;
    enum wire_api upstream[WIRE_DIALECTS]; /* as which API a server of that dialect is asked */
} apis[WIRE_APIS] = {
    [WIRE_CHAT] = {"chat", "/chat/completions", WIRE_OPENAI, {WIRE_CHAT, WIRE_MESSAGES}},
    [WIRE_COMPLETIONS] = {"completions", "/completions", WIRE_OPENAI, {WIRE_COMPLETIONS, NONE}},
    [WIRE_EMBEDDINGS] = {"embeddings", "/embeddings", WIRE_OPENAI, {WIRE_EMBEDDINGS, NONE}},
    [WIRE_MESSAGES] = {"messages", "/messages", WIRE_ANTHROPIC, {WIRE_CHAT, WIRE_MESSAGES}},
    [WIRE_RESPONSES] = {"responses", "/responses", WIRE_OPENAI, {WIRE_CHAT, WIRE_MESSAGES}},
};

const char *wire_api_name(enum wire_api a)
{
    assert((unsigned)a < WIRE_APIS);
    return apis[a].name;
}

const char *wire_api_path(enum wire_api a)
{
    assert((unsigned)a < WIRE_APIS);
    return apis[a].path;
}

enum wire_dialect wire_api_dialect(enum wire_api a)
{
    assert((unsigned)a < WIRE_APIS);
    return apis[a].dialect;
}

bool wire_upstream_api(enum wire_api client, enum wire_dialect server, enum wire_api *out)
{
    assert((unsigned)client < WIRE_APIS && (unsigned)server < WIRE_DIALECTS);
    *out = apis[client].upstream[server];
    return *out != NONE;
}
