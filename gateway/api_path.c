/* Which endpoint a request line means. Called once per request head, on a worker; pure. */
#include "gateway/api_path.h"

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
};

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum err percent_decode(struct slice in, struct arena *a, struct slice *out)
{
    char *p = arena_alloc(a, in.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] != '%') {
            p[n++] = in.p[i];
            continue;
        }
        if (i + 2 >= in.n || hex(in.p[i + 1]) < 0 || hex(in.p[i + 2]) < 0)
            return ERR_BAD_REQUEST;
        p[n++] = (char)(hex(in.p[i + 1]) << 4 | hex(in.p[i + 2]));
        i += 2;
    }
    *out = slice_make(p, n);
    return ERR_OK;
}

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
    return percent_decode(slice_from(path, prefix.n), a, &out->model);
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
