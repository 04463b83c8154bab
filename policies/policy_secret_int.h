/* Secrets at load: read from where the policy says, never echoed. Inside this room only. */
#ifndef POLICIES_POLICY_SECRET_INT_H
#define POLICIES_POLICY_SECRET_INT_H

#include "policies/policy_bind_int.h"

/* The secret's text in b->scratch, or an empty slice: reported, or not to be read (resolve_secrets
 * off). */
struct slice secret_from_env(struct binder *b, const struct place *at, struct slice name);
struct slice secret_from_file(struct binder *b, const struct place *at, const char *path);
/* path as written -> relative to the policy file's folder; in b->arena. */
const char *secret_path(struct binder *b, struct slice path);
void secret_sha256(struct slice secret, uint8_t out[32]);
void secret_wipe(struct slice secret); /* overwrites what the two above returned */

#endif
