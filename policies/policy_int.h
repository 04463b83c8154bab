/* The snapshot behind a struct policy: what the look-ups need besides. Inside this room only. */
#ifndef POLICIES_POLICY_INT_H
#define POLICIES_POLICY_INT_H

#include <stdatomic.h>
#include "base/arena.h"
#include "policies/policy.h"
#include "policies/policy_names.h"

struct policy_snapshot {
    struct policy policy; /* first: the public face */
    struct arena arena;   /* owns everything, this struct excepted */
    atomic_size_t refs;
    struct names models, aliases; /* name -> index */
    struct names asked; /* every name without '*' that a client may ask for -> index in names */
    struct policy_name *names;
    size_t name_count;
    bool globs; /* some route matches names by a pattern */
};

struct policy_snapshot *policy_snapshot_new(void);
void policy_snapshot_free(struct policy_snapshot *s);
/* Fills the indices; the policy's arrays must be complete. Canonical names of aliases are set here.
 */
void policy_snapshot_index(struct policy_snapshot *s);

/* An alias may lead to an alias, so far and no farther. */
#define POLICY_ALIAS_HOPS 16

/* NAMES_ABSENT when name is not an alias. */
size_t policy_alias_index(const struct policy *p, struct slice name);
/* Does the route's model clause take this name, by itself or as an alias? The name must be known
 * when the clause is empty. */
bool policy_match_model(const struct policy *p, const struct policy_match *m, struct slice name);
bool policy_known(const struct policy *p, struct slice name);

/* Which part of a match fails first; POLICY_MISS_NONE: the route matches. */
enum policy_miss {
    POLICY_MISS_NONE,
    POLICY_MISS_MODEL,
    POLICY_MISS_API,
    POLICY_MISS_TENANT,
    POLICY_MISS_TAGS,
    POLICY_MISS_HEADERS,
    POLICY_MISS_TOKENS,
    POLICY_MISS_CLASS /* all but the class fits */
};
enum policy_miss policy_match_miss(const struct policy *p, const struct policy_match *m,
                                   const struct policy_query *q, bool known);

#endif
