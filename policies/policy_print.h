/* Values of a loaded policy back to text, as one would write them, driven by policy_spec: for diffs
 * and explanations. Secrets are never printed, only where they come from. Text goes into the arena.
 * Any thread. */
#ifndef POLICIES_POLICY_PRINT_H
#define POLICIES_POLICY_PRINT_H

#include "base/arena.h"
#include "policies/policy.h"
#include "policies/policy_spec.h"

struct print_field {
    const char *key; /* "timeouts.connect" */
    const char *value;
    unsigned flags; /* of the spec_key */
};

struct print_fields {
    struct print_field *items;
    size_t count;
};

/* "a, b, c", grown in the arena. Begin with {.arena = a}. */
struct print_list {
    struct arena *arena;
    char *text;
    size_t n, cap;
};
void print_list_add(struct print_list *l, const char *item);
const char *print_list_text(const struct print_list *l); /* "" when nothing was added */

/* All keys of an object of p, nested ones with dots, in the order of the table; the object is laid
 * out as spec_object says. */
struct print_fields policy_print_object(struct arena *a, const struct policy *p,
                                        const struct spec_object *o, const void *base);
/* The object of a key of the top level ("backends" -> the backend's). */
const struct spec_object *policy_print_spec(const char *top_key);

#endif
