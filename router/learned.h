/* Everything that was learned, in memory: the counters of all arms in all contexts, bucket by
 * bucket, as the store has them. Views are sums in a fixed order, so that equal counters give equal
 * bits whatever the order in which they came. One thread. */
#ifndef ROUTER_LEARNED_H
#define ROUTER_LEARNED_H

#include "router/decide/change.h"
#include "router/learn_sheet.h"

struct learned { /* embedded */
    struct htable arms;
    size_t units;
};

void learned_init(struct learned *l);
void learned_clear(struct learned *l); /* usable again */
/* This is now the unit's whole content. */
void learned_put(struct learned *l, const struct learn_unit_name *name, const struct tally *t);
void learned_add(struct learned *l, const struct learn_unit_name *name, const struct tally *t);
/* Drops buckets that no view reads any more. */
void learned_forget(struct learned *l, int64_t now_us);
/* Adds an arm's decayed counts to a view. false: nothing is known of it. Keys as in learn_key.h. */
bool learned_view(const struct learned *l, struct slice context, struct slice arm,
                  enum tally_kind kind, int64_t now_us, int64_t half_life_ms,
                  struct tally_view *out);
/* The same of what quick buckets have since then: labels alone, and each whole. */
void learned_labels_since(const struct learned *l, struct slice context, struct slice arm,
                          int64_t since_us, struct tally_view *out);
/* An arm's labels by time: those of the last day, and of slow buckets that had ended before it, as
 * they are decayed. false: nothing is known of it. */
bool learned_labels(const struct learned *l, struct slice context, struct slice arm,
                    const struct tally_trust *trust, int64_t now_us, int64_t half_life_ms,
                    struct change_labels *out);
/* Visits each arm in each context, in no particular order. */
void learned_each(struct learned *l, void (*fn)(struct slice context, struct slice arm, void *ctx),
                  void *ctx);

#endif
