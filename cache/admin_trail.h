/* What was asked and how it ended, the newest look-ups of the cache thread: for operators who want
 * to watch. A ring of fixed size that is written whoever looks; it costs a look-up a copy of some
 * two hundred bytes. What workers answer from their hot sets does not come by here. The cache
 * thread's. */
#ifndef CACHE_ADMIN_TRAIL_H
#define CACHE_ADMIN_TRAIL_H

#include "cache/cache.h"

#define ADMIN_TRAIL_EVENTS      512
#define ADMIN_TRAIL_TEXT_BYTES  120 /* of a question, as much as fits */
#define ADMIN_TRAIL_SCOPE_BYTES 48

struct admin_event {
    uint64_t number; /* from 1 */
    int64_t wall_ms;
    enum cache_verdict verdict;
    uint64_t entry;  /* served, or the best neighbour of a miss; 0: none */
    bool by_meaning; /* neighbours were looked at: the next six say how it went */
    double cosine, probability, cut;
    int guard; /* -1: none refused */
    bool shadow, audit;
    char scope[ADMIN_TRAIL_SCOPE_BYTES];
    char text[ADMIN_TRAIL_TEXT_BYTES]; /* whole characters of UTF-8 */
};

struct admin_trail {
    struct admin_event ring[ADMIN_TRAIL_EVENTS];
    uint64_t next; /* number of the next event */
};

struct admin_trail *admin_trail_new(void); /* free() it */
void admin_trail_note(struct admin_trail *t, const struct cache_ask *a, const struct cache_entry *e,
                      int64_t wall_ms);
bool admin_trail_has(const struct admin_trail *t, uint64_t after); /* one after that number */
/* Those after number `after`, the oldest first, at most `most`; how many. *lost: how many of them
 * are gone already. */
size_t admin_trail_read(const struct admin_trail *t, uint64_t after, struct admin_event *out,
                        size_t most, uint64_t *lost);

#endif
