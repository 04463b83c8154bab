/* Which scanner and which writer serve a request. Called by the router on its worker; pure. */
#include "backends/wire/ask.h"

static bool has_tools(const struct openai_request *q)
{
    struct json_iter it;
    struct json_member m;

    if (q->tools.value.text.n == 0 || q->tools.value.type != JSON_ARRAY)
        return false;
    json_iter_init(&it, q->tools.value);
    return json_iter_next(&it, &m); /* an empty list asks for nothing */
}

static bool wants_structure(const struct openai_request *q)
{
    struct json_member type;

    return q->response_format.value.text.n &&
           json_get(q->response_format.value, SLICE("type"), &type) &&
           type.value.type == JSON_STRING && !slice_eq(type.value.text, SLICE("\"text\""));
}

static void take_openai(struct ask *ask)
{
    const struct openai_request *q = &ask->openai;

    ask->model_name = q->model_name;
    ask->stream = q->stream;
    ask->include_usage = q->include_usage;
    ask->n = q->n;
    ask->prompt_tokens = q->prompt_tokens;
    ask->last_user_text = q->last_user_text;
    ask->features = (has_tools(q) ? ASK_TOOLS : 0) | (q->has_image ? ASK_IMAGES : 0) |
                    (q->has_audio ? ASK_AUDIO : 0) | (wants_structure(q) ? ASK_STRUCTURED : 0) |
                    (q->logprobs ? ASK_LOGPROBS : 0);
}

enum err ask_scan(enum wire_api api, struct slice body, struct arena *a, struct ask *out,
                  const char **param, struct err_text *t)
{
    enum err err;

    *out = (struct ask){.api = api, .body = body};
    err = openai_request_scan(api, body, a, &out->openai, param, t);
    take_openai(out);
    return err;
}

enum err ask_write(const struct ask *ask, const struct ask_target *to, struct arena *a,
                   struct ask_body *out, const char **param, struct err_text *t)
{
    (void)param, (void)t;
    out->count = openai_request_splice(&ask->openai, to->model, to->ask_usage && ask->stream, a,
                                       &out->pieces, &out->total_bytes);
    return ERR_OK;
}
