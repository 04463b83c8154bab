/* Per-request memory. A chain of blocks, newest first; allocation moves a mark in the newest one.
 * Blocks double from first_bytes up to BLOCK_MAX_BYTES; what is larger than a block gets one of its
 * own, chained behind the newest so that the newest block's free room is not lost.
 *
 * Under ASan a block's unused bytes are poisoned and allocations are kept apart by a gap, so that
 * running over the end of one is reported like a heap overflow. Thread: the owner's. Called by
 * everything that lives as long as a request. */
#include "base/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/decimal.h"
#include "base/mem.h"

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#define GAP_BYTES      32
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#define GAP_BYTES      0
#endif

#define ALIGN_BYTES     alignof(max_align_t)
#define BLOCK_MIN_BYTES ((size_t)256)
#define BLOCK_MAX_BYTES ((size_t)1 << 20)

struct arena_block {
    struct arena_block *next; /* owned: older */
    size_t cap, used;         /* of data */
    alignas(max_align_t) char data[];
};

static struct arena_block *block_new(size_t cap)
{
    struct arena_block *b = mem_alloc(sizeof *b + cap);
    b->next = NULL;
    b->cap = cap;
    b->used = 0;
    POISON(b->data, cap);
    return b;
}

void arena_init(struct arena *a, size_t first_bytes)
{
    *a = (struct arena){.first_bytes =
                            first_bytes < BLOCK_MIN_BYTES ? BLOCK_MIN_BYTES : first_bytes};
}

void arena_clear(struct arena *a)
{
    while (a->block) {
        struct arena_block *b = a->block;
        a->block = b->next;
        UNPOISON(b->data, b->cap);
        free(b);
    }
    a->used_bytes = 0;
}

/* The block that has room for need bytes: the newest, a larger new one, or one made to measure. */
static struct arena_block *block_for(struct arena *a, size_t need)
{
    struct arena_block *newest = a->block;
    if (newest && newest->cap - newest->used >= need)
        return newest;
    size_t cap = a->first_bytes;
    if (newest && newest->cap >= cap)
        cap = newest->cap < BLOCK_MAX_BYTES / 2 ? newest->cap * 2 : BLOCK_MAX_BYTES;
    if (need > cap / 2 && newest) {
        struct arena_block *own = block_new(need);
        own->next = newest->next;
        newest->next = own;
        return own;
    }
    struct arena_block *b = block_new(need > cap ? need : cap);
    b->next = newest;
    a->block = b;
    return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
    assert(n < SIZE_MAX / 2);
    size_t need = ((n ? n : 1) + GAP_BYTES + ALIGN_BYTES - 1) & ~(ALIGN_BYTES - 1);
    struct arena_block *b = block_for(a, need);
    void *p = b->data + b->used;
    b->used += need;
    a->used_bytes += n;
    UNPOISON(p, n);
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);
    memset(p, 0, n);
    return p;
}

char *arena_strdup(struct arena *a, struct slice s)
{
    char *p = arena_alloc(a, s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

struct slice arena_dup(struct arena *a, struct slice s)
{
    char *p = arena_alloc(a, s.n);
    if (s.n)
        memcpy(p, s.p, s.n);
    return slice_make(p, s.n);
}

char *arena_join(struct arena *a, const struct slice *parts, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += parts[i].n;
    char *whole = arena_alloc(a, n + 1), *p = whole;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].n)
            memcpy(p, parts[i].p, parts[i].n);
        p += parts[i].n;
    }
    *p = '\0';
    return whole;
}

struct slice arena_decimal(struct arena *a, int64_t v)
{
    char *digits = arena_alloc(a, DECIMAL_BYTES);
    return slice_make(digits, decimal_put_signed(v, digits));
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    char *p = arena_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}
