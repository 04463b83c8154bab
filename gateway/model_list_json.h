/* Servers' lists of models as JSON, for /admin/backends and `weir models --discover --json`. */
#ifndef GATEWAY_MODEL_LIST_JSON_H
#define GATEWAY_MODEL_LIST_JSON_H

#include <jansson.h>
#include "backends/discovery.h"
#include "policies/policy.h"

/* [{"id", "context": tokens or null, "declared": the policy has a model for it}, ...] */
json_t *model_list_entries_json(const struct policy *p, size_t backend,
                                const struct discovery *list);
/* What differs from the policy, in sentences. */
json_t *model_list_problems_json(const struct policy *p, size_t backend,
                                 const struct discovery *list);

#endif
