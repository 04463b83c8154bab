/* Which endpoint a request line means. Called once per request head, on a worker; pure. */
#include "gateway/api_path.h"

#include "gateway/http_target.h"

static const struct {
    struct slice path;
    enum api_endpoint endpoint;
    const char *allow;
} fixed[] = {
    {{"/chat/completions", 17}, API_CHAT, "POST, OPTIONS"},
    {{"/completions", 12}, API_COMPLETIONS, "POST, OPTIONS"},
    {{"/embeddings", 11}, API_EMBEDDINGS, "POST, OPTIONS"},
    {{"/messages", 9}, API_MESSAGES, "POST, OPTIONS"},
    {{"/messages/count_tokens", 22}, API_COUNT_TOKENS, "POST, OPTIONS"},
    {{"/responses", 10}, API_RESPONSES, "POST, OPTIONS"},
    {{"/models", 7}, API_MODELS, "GET, HEAD, OPTIONS"},
    {{"/feedback", 9}, API_FEEDBACK, "POST, OPTIONS"},
};

static enum err find(struct slice path, struct arena *a, struct api_path *out)
{
    struct slice prefix = SLICE("/models/");

    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        if (slice_eq(path, fixed[i].path)) {
            out->endpoint = fixed[i].endpoint;
            out->allow = fixed[i].allow;
            return ERR_OK;
        }
    }
    if (!slice_starts(path, prefix) || path.n == prefix.n)
        return ERR_NOT_FOUND;
    out->endpoint = API_MODEL;
    out->allow = "GET, HEAD, OPTIONS";
    return http_target_decode(slice_from(path, prefix.n), a, &out->model) ? ERR_OK
                                                                          : ERR_BAD_REQUEST;
}

enum err api_path_parse(struct slice method, struct slice path, struct arena *a,
                        struct api_path *out)
{
    bool read_only;
    enum err err;

    *out = (struct api_path){.allow = NULL};
    if (slice_starts(path, SLICE("/v1/")))
        path = slice_from(path, 3);
    if (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    err = find(path, a, out);
    if (err != ERR_OK)
        return err;
    if (slice_eq(method, SLICE("OPTIONS"))) {
        out->endpoint = API_PREFLIGHT;
        return ERR_OK;
    }
    read_only = out->endpoint == API_MODELS || out->endpoint == API_MODEL;
    if (read_only ? slice_eq(method, SLICE("GET")) || slice_eq(method, SLICE("HEAD"))
                  : slice_eq(method, SLICE("POST")))
        return ERR_OK;
    return ERR_METHOD_NOT_ALLOWED;
}
