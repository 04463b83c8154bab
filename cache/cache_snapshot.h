/* Snapshots of the vector index: one from time to time, while everything goes on, and one at the
 * end. Beside the file lies a mark: how far the store's log had been heard when the snapshot was
 * begun. A start reads both and hears from the store what happened since; whatever is missing, torn
 * or of another encoder means a scan of the store instead.
 *
 * Crash-safe: each file is replaced whole, the index before its mark. An index that is newer than
 * its mark hears some changes twice, which changes nothing; the other way round cannot be.
 *
 * Cache thread, but for the writing itself, which has a thread of its own and a low priority. */
#ifndef CACHE_CACHE_SNAPSHOT_H
#define CACHE_CACHE_SNAPSHOT_H

#include "cache/store.h"
#include "cache/vindex.h"

struct cache_snapshot;

/* path: copied; NULL: there are no snapshots, and every call does nothing. */
struct cache_snapshot *cache_snapshot_new(const char *path, int64_t every_ms);
void cache_snapshot_free(struct cache_snapshot *s); /* waits for one under way; NULL is fine */

/* true: *out is the index as it was, and the store tells what happened since. Before the loop runs,
 * once. What crashes left of snapshots half written goes away. */
bool cache_snapshot_load(struct cache_snapshot *s, const struct vindex_options *opt,
                         struct store *store, struct vindex **out);
/* Begins one when it is time and anything has changed. */
void cache_snapshot_tick(struct cache_snapshot *s, struct store *store, struct vindex *index,
                         int64_t now_us);
/* Writes one now, and waits for it. */
void cache_snapshot_write(struct cache_snapshot *s, struct store *store, struct vindex *index);

#endif
