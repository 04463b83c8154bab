/* Servers' own lists of models beside the policy: whom to ask and how, and where the two differ.
 * Pure. */
#ifndef GATEWAY_MODEL_LIST_H
#define GATEWAY_MODEL_LIST_H

#include "backends/catalog.h"
#include "router/snapshot.h"

/* How to ask the endpoints of that backend: an array of its endpoint_count, in the arena, pointing
 * into the snapshot. */
struct catalog_spec *model_list_specs(const struct snapshot *s, size_t backend, struct arena *a);

struct model_list_problem {
    const struct policy_model *model;
    enum { MODEL_LIST_ABSENT, MODEL_LIST_RETIRED, MODEL_LIST_CONTEXT } kind;
    int64_t context_tokens; /* CONTEXT: the server's, smaller than the policy's */
};
/* What requests for that backend's models will run into, by the list of one of its endpoints. At
 * most max are written; returns how many there are. */
size_t model_list_problems(const struct policy *p, size_t backend, const struct discovery *list,
                           struct model_list_problem *out, size_t max);
/* "model 'x' (there 'y') is not in the server's list" */
void model_list_problem_text(const struct model_list_problem *problem, char *out, size_t out_bytes);

/* Does a model of the policy stand for that entry of the backend's list? */
bool model_list_declared(const struct policy *p, size_t backend, const struct discovery *list,
                         const struct discovery_model *entry);

#endif
