/* A route's validators made ready: patterns compiled, schemas read, judges' addresses taken apart.
 * Built once per policy by control, with the snapshot that owns it; immutable: any thread. */
#ifndef ROUTER_VALIDATE_SET_H
#define ROUTER_VALIDATE_SET_H

#include "backends/upstream.h"
#include "base/arena.h"
#include "policies/policy.h"

struct pattern;

struct validate_rule {
    const struct policy_validator *how; /* borrowed from the policy */
    struct pattern *pattern;            /* owned; REGEX */
    struct slice schema;                /* JSON_SCHEMA with a file; its text */
    struct upstream_target target;      /* HTTP */
    struct slice path;
    const char *broken; /* why it cannot be used after all: its file went away since the policy was
                           checked; NULL: it can */
};

struct validate_set {
    struct arena arena;
    struct validate_rule rules[POLICY_MAX_VALIDATORS];
    size_t count;
    /* Of what the rules look for, schemas of files included, in their order: two sets with the same
     * one say the same of an answer, as far as programs and servers do. Never 0. */
    uint64_t fingerprint;
};

/* NULL when the route has none. */
struct validate_set *validate_set_new(const struct policy_confidence *c);
void validate_set_free(struct validate_set *s); /* NULL is fine */

#endif
