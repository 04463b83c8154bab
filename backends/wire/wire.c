/* The names of the APIs. Pure; any thread. */
#include "backends/wire/wire.h"

#include <assert.h>

static const struct {
    const char *name, *path;
} apis[WIRE_APIS] = {
    [WIRE_CHAT] = {"chat", "/chat/completions"},
    [WIRE_COMPLETIONS] = {"completions", "/completions"},
    [WIRE_EMBEDDINGS] = {"embeddings", "/embeddings"},
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
