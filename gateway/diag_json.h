/* Diagnostics of a policy file as JSON, one shape for the admin API and for `weir check --json`:
 *   {"severity":"error", "file":"weir.yaml", "line":12, "column":7, "path":"routes[0]",
 *    "message":"...", "hint":null}
 * Pure. */
#ifndef GATEWAY_DIAG_JSON_H
#define GATEWAY_DIAG_JSON_H

#include <jansson.h>
#include "policies/policy_load.h"

json_t *diag_json(const struct diags *d); /* a new array */

#endif
