/* The allocator wrappers that abort. Owns nothing; any thread; called by every module that keeps
 * tables of its own. */
#include "base/mem.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

/* Bytes in memory, as proc(5) tells; 0: it does not. */
static size_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    size_t pages = 0;

    if (!f)
        return 0;
    if (fscanf(f, "%*s %zu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

bool mem_trim(size_t at_most_resident_bytes)
{
    size_t resident = resident_bytes();

    if (resident == 0 || resident > at_most_resident_bytes)
        return false;
    malloc_trim(0);
    return true;
}

void mem_need(const void *p)
{
    if (!p)
        out_of_memory(1, 0);
}
