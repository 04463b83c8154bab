/* A table from names to numbers, built once and then only read: open addressing, sized at init, in
 * an arena. Also the nearest name to a mistyped one. Any thread may read. */
#ifndef POLICIES_POLICY_NAMES_H
#define POLICIES_POLICY_NAMES_H

#include "base/arena.h"

#define NAMES_ABSENT SIZE_MAX

struct names_slot {
    struct slice name; /* borrowed from whoever added it */
    size_t value;
    bool taken;
};

struct names {
    struct names_slot *slots;
    size_t mask, count;
};

void names_init(struct names *t, struct arena *a, size_t at_most); /* room for that many names */
/* The value stored first under this name; value is stored if the name is new. */
size_t names_add(struct names *t, struct slice name, size_t value);
size_t names_get(const struct names *t, struct slice name); /* NAMES_ABSENT */

/* Keeps the best of the candidates offered, by edit distance with transpositions, ASCII case
 * ignored. */
struct names_nearest {
    struct slice wanted;
    const char *best;        /* NULL: nothing is near enough to be worth a hint */
    size_t distance, offers; /* after the first few hundred candidates the search is over: a hint is
                                not worth seconds */
};
void names_nearest_init(struct names_nearest *n, struct slice wanted);
void names_nearest_stop(struct names_nearest *n); /* nothing more is looked at */
void names_nearest_offer(struct names_nearest *n, const char *candidate);

#endif
