/* Capabilities asked for and offered. Called once per request, on a worker; pure. */
#include "router/needs.h"

#include <stdio.h>

static bool wants_structure(const struct openai_request *ask)
{
    struct json_member type;

    return ask->response_format.value.text.n &&
           json_get(ask->response_format.value, SLICE("type"), &type) &&
           type.value.type == JSON_STRING && !slice_eq(type.value.text, SLICE("\"text\""));
}

static bool has_tools(const struct openai_request *ask)
{
    struct json_iter it;
    struct json_member m;

    if (ask->tools.value.text.n == 0 || ask->tools.value.type != JSON_ARRAY)
        return false;
    json_iter_init(&it, ask->tools.value);
    return json_iter_next(&it, &m); /* an empty list asks for nothing */
}

unsigned needs_of(const struct openai_request *ask)
{
    static const unsigned by_api[WIRE_APIS] = {[WIRE_CHAT] = CAP_CHAT,
                                               [WIRE_COMPLETIONS] = CAP_COMPLETIONS,
                                               [WIRE_EMBEDDINGS] = CAP_EMBEDDINGS};
    unsigned needs = by_api[ask->api];

    if (has_tools(ask))
        needs |= CAP_TOOLS;
    if (ask->has_image)
        needs |= CAP_VISION;
    if (ask->has_audio)
        needs |= CAP_AUDIO;
    if (wants_structure(ask))
        needs |= CAP_STRUCTURED;
    if (ask->logprobs)
        needs |= CAP_LOGPROBS;
    return needs;
}

int needs_filter(const struct policy *p, const struct policy_route *route, unsigned needs,
                 int *steps, int max)
{
    int n = 0;

    for (size_t i = 0; i < route->step_count && n < max; i++)
        if ((p->models[route->steps[i].model].capabilities & needs) == needs)
            steps[n++] = (int)i;
    return n;
}

const char *needs_missing(const struct policy *p, const struct policy_route *route, unsigned needs,
                          char *out, size_t out_bytes)
{
    static const struct {
        unsigned cap;
        const char *text;
    } names[] = {
        {CAP_CHAT, "chat completions"},        {CAP_COMPLETIONS, "completions"},
        {CAP_EMBEDDINGS, "embeddings"},        {CAP_TOOLS, "tools"},
        {CAP_VISION, "image input"},           {CAP_AUDIO, "audio input"},
        {CAP_STRUCTURED, "structured output"}, {CAP_LOGPROBS, "logprobs"},
    };
    unsigned offered = 0, missing;
    size_t n = 0;

    for (size_t i = 0; i < route->step_count; i++)
        offered |= p->models[route->steps[i].model].capabilities;
    missing = needs & ~offered;
    if (!missing)
        missing = needs; /* each is offered by some model, but no model has them all */
    out[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int got;

        if (!(missing & names[i].cap))
            continue;
        got = snprintf(out + n, out_bytes - n, "%s%s", n ? " and " : "", names[i].text);
        if (got < 0 || (size_t)got >= out_bytes - n)
            break;
        n += (size_t)got;
    }
    return out;
}
