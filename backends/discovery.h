/* The list of models that a server says it has: GET /v1/models as OpenAI, vLLM, llama.cpp,
 * Anthropic, OpenRouter, Mistral and TGI shape it. Pure. Sources: OpenAI API reference ("List
 * models"), Anthropic API reference ("List Models": max_input_tokens, lifecycle), vLLM and SGLang
 * (max_model_len), llama.cpp server README (meta.n_ctx, meta.n_ctx_train), OpenRouter
 * (context_length), Mistral (max_context_length). */
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
    bool retired;           /* listed for the record only: requests that name it fail */
};

struct discovery {
    struct discovery_model *models; /* in the arena, in the server's order, each id once */
    size_t count;
    bool has_more; /* paginated (Anthropic): this is not the whole list */
    /* The server does not look at a request's model: llama.cpp answers with the one it loaded. */
    bool any_name;
};

/* ERR_UPSTREAM_PROTOCOL when it is no such list, ERR_UPSTREAM_TOO_LARGE beyond
 * DISCOVERY_MAX_MODELS; *why says what is wrong. Entries without a usable id are left out. */
enum err discovery_parse(struct slice body, struct arena *a, struct discovery *out,
                         struct err_text *why) MUST_CHECK;
/* Appends the models of the next page that d does not have yet; what page points to stays where it
 * is. ERR_UPSTREAM_TOO_LARGE as above, with d unchanged. */
enum err discovery_add_page(struct discovery *d, const struct discovery *page, struct arena *a,
                            struct err_text *why) MUST_CHECK;
/* The entry that answers to a name, NULL: none. Ollama's "llama3" is its "llama3:latest", Gemini's
 * "gemini-2.5-pro" its "models/gemini-2.5-pro". */
const struct discovery_model *discovery_find(const struct discovery *d, struct slice name);

#endif
