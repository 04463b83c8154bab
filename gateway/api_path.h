/* Path and method -> endpoint of OpenAI's and Anthropic's APIs. Pure. The base URL may or may not
 * end in /v1. */
#ifndef GATEWAY_API_PATH_H
#define GATEWAY_API_PATH_H

#include "base/arena.h"
#include "base/err.h"

enum api_endpoint {
    API_CHAT,
    API_COMPLETIONS,
    API_EMBEDDINGS,
    API_MESSAGES,
    API_RESPONSES,
    API_COUNT_TOKENS,
    API_MODELS,
    API_MODEL,
    API_FEEDBACK,
    API_PREFLIGHT
};

struct api_path {
    enum api_endpoint endpoint;
    struct slice model; /* API_MODEL: the id, percent-decoded */
    const char *allow;  /* methods of this path, for Allow */
};

/* ERR_NOT_FOUND, ERR_METHOD_NOT_ALLOWED (allow is set), ERR_BAD_REQUEST (broken percent-encoding).
 */
enum err api_path_parse(struct slice method, struct slice path, struct arena *a,
                        struct api_path *out) MUST_CHECK;

#endif
