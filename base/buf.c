/* Growable bytes with a ceiling. Owns its storage; the capacity never exceeds max_bytes, so what
 * recv may write into is bounded as well. Growing copies into fresh storage, which compacts at the
 * same time; moving in place happens only when at least half of the storage lies behind head (so
 * that each byte is moved a bounded number of times) or when the ceiling leaves no other way.
 * Thread: the owner's. */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_BYTES ((size_t)512)

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){.max_bytes = max_bytes};
}

void buf_clear(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max_bytes);
}

static void compact(struct buf *b)
{
    size_t len = buf_len(b);
    if (len && b->head)
        memmove(b->data, b->data + b->head, len);
    b->head = 0;
    b->tail = len;
}

/* Peers choose how much a buffer holds, so running out of memory is an error value here, not an
 * abort. */
static enum err grow(struct buf *b, size_t need)
{
    size_t len = buf_len(b);
    size_t cap = b->cap > b->max_bytes / 2 ? b->max_bytes : b->cap * 2;
    if (cap < FIRST_BYTES)
        cap = FIRST_BYTES;
    if (cap < need)
        cap = need;
    if (cap > b->max_bytes)
        cap = b->max_bytes;
    char *data = malloc(cap);
    if (!data)
        return ERR_OVERLOADED;
    if (len)
        memcpy(data, b->data + b->head, len);
    free(b->data);
    b->data = data;
    b->cap = cap;
    b->head = 0;
    b->tail = len;
    return ERR_OK;
}

enum err buf_reserve(struct buf *b, size_t n, char **room, size_t *room_bytes)
{
    size_t len = buf_len(b);
    if (n > b->max_bytes - len)
        return ERR_TOO_LARGE;
    if (len == 0)
        b->head = b->tail = 0;
    if (b->cap - b->tail < n) {
        bool fits = b->cap - len >= n;
        if (fits && (b->head >= b->cap / 2 || b->cap == b->max_bytes)) {
            compact(b);
        } else {
            enum err e = grow(b, len + n);
            if (e)
                return e;
        }
    }
    *room = b->data ? b->data + b->tail : NULL;
    *room_bytes = b->cap - b->tail;
    return ERR_OK;
}

void buf_commit(struct buf *b, size_t n)
{
    assert(n <= b->cap - b->tail);
    b->tail += n;
}

enum err buf_append(struct buf *b, const void *p, size_t n)
{
    char *room;
    size_t room_bytes;
    enum err e = buf_reserve(b, n, &room, &room_bytes);
    if (e)
        return e;
    if (n)
        memcpy(room, p, n);
    buf_commit(b, n);
    return ERR_OK;
}

enum err buf_append_slice(struct buf *b, struct slice s)
{
    return buf_append(b, s.p, s.n);
}

enum err buf_printf(struct buf *b, const char *fmt, ...)
{
    char small[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    if ((size_t)n < sizeof small)
        return buf_append(b, small, (size_t)n);
    if ((size_t)n > b->max_bytes - buf_len(b))
        return ERR_TOO_LARGE;
    /* vsnprintf wants a byte for its NUL, which the ceiling may not have: hence the detour. */
    char *large = malloc((size_t)n + 1);
    if (!large)
        return ERR_OVERLOADED;
    va_start(ap, fmt);
    vsnprintf(large, (size_t)n + 1, fmt, ap);
    va_end(ap);
    enum err e = buf_append(b, large, (size_t)n);
    free(large);
    return e;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= buf_len(b));
    b->head += n;
    if (b->head == b->tail)
        b->head = b->tail = 0;
}

void buf_reset(struct buf *b)
{
    b->head = b->tail = 0;
}

void buf_shrink(struct buf *b, size_t keep_bytes)
{
    if (buf_len(b) == 0 && b->cap > keep_bytes)
        buf_clear(b);
}
