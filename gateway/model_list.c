/* Compares what servers list with what the policy says of them. Called by control_policy (log),
 * api_admin (/admin/backends) and the command line (weir models --discover). */
#include "gateway/model_list.h"

#include <stdio.h>

/* Most of its pages fit into one: the largest that the Anthropic API gives. */
#define ANTHROPIC_QUERY "?limit=1000"

static bool has_version(const struct snapshot_backend *sb)
{
    for (size_t i = 0; i < sb->header_count; i++)
        if (slice_ieq(sb->headers[i].name, SLICE("anthropic-version")))
            return true;
    return false;
}

struct catalog_spec *model_list_specs(const struct snapshot *s, size_t backend, struct arena *a)
{
    const struct policy_backend *b = &s->policy->backends[backend];
    const struct snapshot_backend *sb = &s->backends[backend];
    bool anthropic = sb->dialect == WIRE_ANTHROPIC;
    struct http1_header *h = ARENA_ARRAY(a, struct http1_header, sb->header_count + 1);
    size_t n = 0;
    struct catalog_spec *specs = ARENA_ARRAY(a, struct catalog_spec, b->endpoint_count);

    while (n < sb->header_count) {
        h[n] = sb->headers[n];
        n++;
    }
    if (anthropic && !has_version(sb))
        h[n++] = (struct http1_header){
            SLICE("anthropic-version"),
            slice_str(b->anthropic_version ? b->anthropic_version : SNAPSHOT_ANTHROPIC_VERSION)};
    for (size_t i = 0; i < b->endpoint_count; i++)
        specs[i] = (struct catalog_spec){
            .target = sb->targets[i],
            .path = arena_printf(a, "%s/models%s", b->endpoints[i].path,
                                 anthropic ? ANTHROPIC_QUERY : ""),
            .headers = h,
            .header_count = n,
            .interval_ms = b->discover_ms,
            .shared = sb->shared[i],
        };
    return specs;
}

static bool compare(const struct policy_model *m, const struct discovery *list,
                    struct model_list_problem *out)
{
    const struct discovery_model *entry = discovery_find(list, slice_str(m->upstream_name));

    *out = (struct model_list_problem){.model = m};
    if (!entry)
        out->kind = MODEL_LIST_ABSENT;
    else if (entry->retired)
        out->kind = MODEL_LIST_RETIRED;
    else if (entry->context_tokens >= 0 && m->context_tokens > entry->context_tokens)
        out->kind = MODEL_LIST_CONTEXT;
    else
        return false;
    out->context_tokens = entry ? entry->context_tokens : -1;
    return true;
}

size_t model_list_problems(const struct policy *p, size_t backend, const struct discovery *list,
                           struct model_list_problem *out, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < p->model_count; i++) {
        struct model_list_problem problem;

        if (p->models[i].backend != backend || !compare(&p->models[i], list, &problem))
            continue;
        if (n < max)
            out[n] = problem;
        n++;
    }
    return n;
}

void model_list_problem_text(const struct model_list_problem *problem, char *out, size_t out_bytes)
{
    const struct policy_model *m = problem->model;
    char name[300];

    if (strcmp(m->name, m->upstream_name) == 0)
        snprintf(name, sizeof name, "model '%s'", m->name);
    else
        snprintf(name, sizeof name, "model '%s' (there '%s')", m->name, m->upstream_name);
    switch (problem->kind) {
    case MODEL_LIST_ABSENT:
        snprintf(out, out_bytes, "%s is not in the server's list of models", name);
        return;
    case MODEL_LIST_RETIRED:
        snprintf(out, out_bytes, "%s is retired there: requests for it fail", name);
        return;
    case MODEL_LIST_CONTEXT:
        snprintf(out, out_bytes,
                 "%s has a context of %lld tokens in the policy, and of %lld by the server's list",
                 name, (long long)m->context_tokens, (long long)problem->context_tokens);
        return;
    }
}

bool model_list_declared(const struct policy *p, size_t backend, const struct discovery *list,
                         const struct discovery_model *entry)
{
    for (size_t i = 0; i < p->model_count; i++)
        if (p->models[i].backend == backend &&
            discovery_find(list, slice_str(p->models[i].upstream_name)) == entry)
            return true;
    return false;
}
