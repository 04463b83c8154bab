/* The policies that served, on disk: <dir>/<serial>-<version>.yaml and one line each in
 * <dir>/index.jsonl. Serials grow by one and are never reused; the text is what the operator wrote,
 * byte for byte. The newest POLICY_STORE_KEEP are kept. threads: control. */
#ifndef GATEWAY_POLICY_STORE_H
#define GATEWAY_POLICY_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/slice.h"

#define POLICY_STORE_KEEP       256
#define POLICY_STORE_TEXT_BYTES ((size_t)4 << 20) /* what policy_load accepts */

struct policy_store;

struct policy_store_entry { /* strings belong to the store and live until the next add */
    int64_t serial;
    char *version;
    int64_t wall_us;
    char *origin; /* "start", "signal", "file", "api", "rollback to 3" */
};

/* Makes dir (0700) when it is missing. NULL + t when it cannot be read or written. */
struct policy_store *policy_store_open(const char *dir, struct err_text *t);
void policy_store_close(struct policy_store *s);

/* Keeps text, unless it is what the newest entry already holds. *serial is the entry's.
 * ERR_INTERNAL + t: not kept. */
enum err policy_store_add(struct policy_store *s, const char *version, const char *origin,
                          struct slice text, int64_t *serial, struct err_text *t) MUST_CHECK;
size_t policy_store_count(const struct policy_store *s);
const struct policy_store_entry *policy_store_at(const struct policy_store *s,
                                                 size_t i); /* oldest first */
const struct policy_store_entry *policy_store_find(const struct policy_store *s, int64_t serial);
/* The text of an entry, on the heap. */
enum err policy_store_text(const struct policy_store *s, const struct policy_store_entry *e,
                           char **text, size_t *n, struct err_text *t) MUST_CHECK;

#endif
