/* Capabilities asked for and offered. Called once per request, on a worker; pure. */
#include "router/needs.h"

#include <stdio.h>

unsigned needs_of(const struct ask *ask)
{
    static const unsigned by_api[WIRE_APIS] = {
        [WIRE_CHAT] = CAP_CHAT,
        [WIRE_COMPLETIONS] = CAP_COMPLETIONS,
        [WIRE_EMBEDDINGS] = CAP_EMBEDDINGS,
        [WIRE_MESSAGES] = CAP_CHAT,
        [WIRE_RESPONSES] = CAP_CHAT,
    };
    static const struct {
        unsigned feature, capability;
    } by_feature[] = {
        {ASK_TOOLS, CAP_TOOLS},           {ASK_IMAGES, CAP_VISION},     {ASK_AUDIO, CAP_AUDIO},
        {ASK_STRUCTURED, CAP_STRUCTURED}, {ASK_LOGPROBS, CAP_LOGPROBS},
    };
    unsigned needs = by_api[ask->api];

    for (size_t i = 0; i < sizeof by_feature / sizeof by_feature[0]; i++)
        if (ask->features & by_feature[i].feature)
            needs |= by_feature[i].capability;
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
