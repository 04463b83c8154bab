/* Hits by meaning that went out and of which their user may yet say whether they were right: the
 * decision of each, by the name of its reply. Of this process, the newest CACHE_SERVED_MAX, and as
 * long as the encoder stays the same: a label is of no use to what another one learned. Pure but
 * for its memory. The cache thread's. */
#ifndef CACHE_CACHE_SERVED_H
#define CACHE_CACHE_SERVED_H

#include "base/list.h"
#include "cache/cache.h"
#include "cache/htable.h"

#define CACHE_SERVED_MAX 8192 /* about 300 bytes each */

struct cache_served {
    struct htable by_reply;
    struct list order; /* of rows, the oldest in front */
};

void cache_served_init(struct cache_served *s);
void cache_served_clear(struct cache_served *s);
/* label: all of the one that may follow but what will be said. Of equal names the newest counts. */
void cache_served_add(struct cache_served *s, const struct digest *reply,
                      const struct cache_label *label);
/* Somebody said so of it: the label to learn from, in *out. false: nothing is known of that reply,
 * or the same was said of it before. What was learned is not unlearned by the contrary, which is a
 * label as well; each counts once, however often a user's mind changes. */
bool cache_served_word(struct cache_served *s, const struct digest *reply, bool right,
                       double weight, struct cache_label *out);

#endif
