/* API key -> tenant. Pure apart from OpenSSL's SHA-256. Constant-time: every key of every tenant is
 * compared (CRYPTO_memcmp on digests). The key is taken from `Authorization: Bearer`, or
 * `x-api-key` (Anthropic clients), or `api-key` (Azure clients). */
#ifndef GATEWAY_AUTH_H
#define GATEWAY_AUTH_H

#include "base/err.h"
#include "base/http1.h"
#include "policies/policy.h"

/* ERR_OK with *tenant NULL when the policy has no tenants (everyone is welcome, on loopback).
 * ERR_UNAUTHORIZED when a key is needed and is missing or wrong; *message says which, as OpenAI
 * does, and never repeats the key (at most its last four characters). */
enum err auth_check(const struct policy *p, const struct http1_head *head,
                    const struct policy_tenant **tenant, const char **message) MUST_CHECK;
/* As auth_check, and the tenant must be an admin (when there are tenants at all). */
enum err auth_check_admin(const struct policy *p, const struct http1_head *head,
                          const struct policy_tenant **tenant, const char **message) MUST_CHECK;

#endif
