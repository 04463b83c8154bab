/* The allocator wrappers that abort. Owns nothing; any thread; called by every module that keeps
 * tables of its own. */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

static _Noreturn void out_of_memory(size_t count, size_t size)
{
    fprintf(stderr, "weir: out of memory (%zu x %zu bytes)\n", count, size);
    abort();
}

void *mem_alloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (!p)
        out_of_memory(1, n);
    return p;
}

void *mem_zalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p)
        out_of_memory(count, size);
    return p;
}

void *mem_resize(void *old, size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        out_of_memory(count, size);
    void *p = realloc(old, n ? n : 1);
    if (!p)
        out_of_memory(count, size);
    return p;
}

char *mem_strdup(struct slice s)
{
    char *p = mem_alloc(s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

void mem_need(const void *p)
{
    if (!p)
        out_of_memory(1, 0);
}
