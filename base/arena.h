/* Per-request memory: allocate, never free one by one, drop everything at once. Blocks grow from
 * first_bytes; allocation failure aborts the process with a message (control-size memory); whatever
 * a peer can size is bounded by the caller. Single-threaded. Alignment is that of max_align_t.
 * Under ASan each allocation is separated so that overruns are found. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdint.h>
#include "base/slice.h"

struct arena_block;
struct arena {
    struct arena_block *block; /* owned: newest first */
    size_t used_bytes;         /* sum over allocations, for accounting */
    size_t first_bytes;
};

void arena_init(struct arena *a, size_t first_bytes); /* no allocation until first use */
void arena_clear(struct arena *a);                    /* frees all; usable again */
void *arena_alloc(struct arena *a, size_t n);         /* uninitialised */
void *arena_zalloc(struct arena *a, size_t n);        /* zeroed */
char *arena_strdup(struct arena *a, struct slice s);  /* NUL-terminated copy */
struct slice arena_dup(struct arena *a, struct slice s);
char *arena_join(struct arena *a, const struct slice *parts, size_t count); /* NUL-terminated */
struct slice arena_decimal(struct arena *a, int64_t v);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(a, type)      ((type *)arena_zalloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_zalloc((a), sizeof(type) * (size_t)(n)))

#endif
