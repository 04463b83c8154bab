/* Increments on their way to a store, summed up: a sheet holds units, each a tally of one arm in
 * one context in one bucket of time. Everything on it is added, so that sheets commute. Bounded:
 * beyond max_units a new unit is refused and counted. One thread. */
#ifndef ROUTER_LEARN_SHEET_H
#define ROUTER_LEARN_SHEET_H

#include "base/buf.h"
#include "base/list.h"
#include "cache/htable.h"
#include "router/decide/tally.h"

/* What a unit is called; the strings are keys (learn_key.h). */
struct learn_unit_name {
    struct slice context, arm; /* "route/class", "model/scorer version" */
    enum tally_kind kind;
    int64_t start_us;
};

struct learn_unit {
    struct list link;
    struct htable_node node;
    struct learn_unit_name name; /* its strings lie behind the unit */
    struct tally tally;
};

struct learn_sheet { /* embedded */
    struct list units;
    struct htable by_name;
    size_t max_units;
    int64_t refused; /* units that found no room, as often as they were asked for */
};

void learn_sheet_init(struct learn_sheet *s, size_t max_units);
void learn_sheet_clear(struct learn_sheet *s); /* usable again */
bool learn_sheet_empty(const struct learn_sheet *s);
/* Finds or makes; NULL: it is full. Valid until the sheet is cleared. */
struct tally *learn_sheet_unit(struct learn_sheet *s, const struct learn_unit_name *name);
/* Moves up to `most` units from one sheet to an empty one. */
void learn_sheet_take(struct learn_sheet *from, struct learn_sheet *to, size_t most);

bool learn_unit_name_eq(const struct learn_unit_name *a, const struct learn_unit_name *b);
uint64_t learn_unit_name_hash(const struct learn_unit_name *n);
/* "context arm s|q start": a unit's name as words, for stores. out is appended to. */
enum err learn_unit_name_write(const struct learn_unit_name *n, struct buf *out) MUST_CHECK;
bool learn_unit_name_read(struct slice text, struct learn_unit_name *out); /* slices of text */

#endif
