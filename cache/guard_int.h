/* The order of the sorted lists of facts, for guard.c and guard_read.c alone. */
#ifndef CACHE_GUARD_INT_H
#define CACHE_GUARD_INT_H

int guard_by_u32(const void *a, const void *b);
int guard_by_u16(const void *a, const void *b);

#endif
