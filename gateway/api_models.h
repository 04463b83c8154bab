/* GET /v1/models and /v1/models/{id}: every name that a tenant's routes let it ask for, in the
 * shape of the dialect that the client speaks. Pure. Sources: OpenAI API reference "Models";
 * Anthropic API reference "Models". */
#ifndef GATEWAY_API_MODELS_H
#define GATEWAY_API_MODELS_H

#include "backends/wire/wire.h"
#include "base/buf.h"
#include "policies/policy.h"

/* tenant NULL: the policy has none. */
enum err api_models_list(const struct policy *p, const struct policy_tenant *tenant,
                         enum wire_dialect d, struct buf *out) MUST_CHECK;
/* ERR_MODEL_NOT_FOUND when the list has no such name. */
enum err api_models_one(const struct policy *p, const struct policy_tenant *tenant,
                        enum wire_dialect d, struct slice name, struct buf *out) MUST_CHECK;

#endif
