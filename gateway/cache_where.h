/* Which entries of the cache are meant, as the admin API spells it: keys with values, in a query or
 * in a JSON object.
 *
 *   scope=NAME  tag=T  model=M  route=R  class=C     equal; scope "" is what all share
 *   prefix=TEXT                                      how the question begins
 *   id=HEX  answer=HEX                               how the id begins; all keys of an answer
 *   source=traffic|audit|warming|import
 *   pinned=true|false  quarantined=true|false
 *   older=DURATION|TIME  newer=DURATION|TIME         "7d", or RFC 3339
 *   dead=true                                        what has expired or was flushed, and still
 *                                                    takes room; without it only what is alive
 * Pure. */
#ifndef GATEWAY_CACHE_WHERE_H
#define GATEWAY_CACHE_WHERE_H

#include <jansson.h>
#include "cache/admin_job.h"

/* false: why says what is wrong, naming the key. Slices are copied into the job's arena. */
bool cache_where_set(struct admin_job *j, struct slice key, struct slice value, int64_t now_ms,
                     struct err_text *why);
/* As above, of a JSON object whose values are strings and booleans. */
bool cache_where_json(struct admin_job *j, json_t *where, int64_t now_ms, struct err_text *why);
/* "a1b2...", 16 hex digits; 0: it is no id. */
uint64_t cache_where_id(struct slice hex);

#endif
