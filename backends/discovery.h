/* The list of models that a server says it has: GET /v1/models as OpenAI, vLLM, llama.cpp,
 * Anthropic, OpenRouter, Mistral and TGI shape it. Pure. Sources: OpenAI API reference ("List
 * models"), Anthropic API reference ("List Models"), vLLM (max_model_len), llama.cpp server README
 * (meta.n_ctx), OpenRouter (context_length), Mistral (max_context_length). */
#ifndef BACKENDS_DISCOVERY_H
#define BACKENDS_DISCOVERY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"

#define DISCOVERY_MAX_MODELS 4096

struct discovery_model {
    struct slice id;        /* decoded, NUL-terminated behind; in the arena */
    int64_t context_tokens; /* -1: not said */
};

struct discovery {
    struct discovery_model *models; /* in the arena, in the server's order, each id once */
    size_t count;
    bool has_more; /* paginated (Anthropic): this is not the whole list */
};

/* ERR_UPSTREAM_PROTOCOL when it is no such list, ERR_UPSTREAM_TOO_LARGE beyond
 * DISCOVERY_MAX_MODELS; *why says what is wrong. Entries without a usable id are left out. */
enum err discovery_parse(struct slice body, struct arena *a, struct discovery *out,
                         struct err_text *why) MUST_CHECK;

#endif
