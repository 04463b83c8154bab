/* A stored answer made ready to go out to this client: whole in r->whole, or a stream in r->out.
 * threads: the worker's. */
#ifndef ROUTER_CACHE_REPLAY_H
#define ROUTER_CACHE_REPLAY_H

#include "backends/wire/wire.h"
#include "cache/cache_entry.h"

struct request;

/* false: it cannot be given again, which is a miss; nothing was written. Else r->cache holds the
 * entry. */
bool cache_replay(struct request *r, struct cache_entry *e, int64_t now_ms);

/* How entries name dialects. */
enum wire_dialect cache_replay_dialect(struct slice name);
const char *cache_replay_dialect_name(enum wire_dialect d);

#endif
