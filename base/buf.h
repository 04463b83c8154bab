/* A growable byte buffer that can never grow beyond the maximum given at init. Heap-backed,
 * embedded by value. Readable bytes are data[head..tail). Consuming moves head; storage is
 * compacted on the next reserve. Single-threaded. A failed append leaves the buffer as it was. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"
#include "base/slice.h"

struct buf {
    char *data; /* owned; NULL until the first byte */
    size_t head, tail, cap, max_bytes;
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_clear(struct buf *b); /* frees storage; usable again with the same maximum */
/* ERR_TOO_LARGE beyond max_bytes. */
enum err buf_append(struct buf *b, const void *p, size_t n) MUST_CHECK;
enum err buf_append_slice(struct buf *b, struct slice s) MUST_CHECK;
enum err buf_printf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))) MUST_CHECK;
/* At least n writable bytes at *room (for recv); commit with buf_commit. ERR_TOO_LARGE beyond
 * max_bytes. */
enum err buf_reserve(struct buf *b, size_t n, char **room, size_t *room_bytes) MUST_CHECK;
void buf_commit(struct buf *b, size_t n);
void buf_consume(struct buf *b, size_t n); /* n <= readable */
void buf_reset(struct buf *b);             /* forgets the bytes, keeps the storage */
/* Storage is given back when empty and larger than keep_bytes: idle connections stay small. */
void buf_shrink(struct buf *b, size_t keep_bytes);

static inline size_t buf_len(const struct buf *b)
{
    return b->tail - b->head;
}
/* Valid until the next call that changes the buffer. */
static inline struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->data ? b->data + b->head : "", b->tail - b->head};
}

#endif
