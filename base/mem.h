/* Heap memory of control size: tables, options, cells; never anything whose size a peer chooses.
 * Running out of it cannot be handled sensibly anywhere, so these abort with a message and never
 * return NULL. Any thread. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include "base/slice.h"

void *mem_alloc(size_t n);                              /* uninitialised; free() it */
void *mem_zalloc(size_t count, size_t size);            /* zeroed; the product is checked */
void *mem_resize(void *old, size_t count, size_t size); /* like realloc; the product is checked */
char *mem_strdup(struct slice s);                       /* NUL-terminated copy */
void mem_need(const void *p); /* for what libraries allocate: aborts when p is NULL */

/* Gives free pages of the heap back to the system, if the process holds at most so many bytes: the
 * allocator keeps locks meanwhile, for a time that grows with the number of free blocks (0.1 s
 * after a million entries of a cache came and went). Was it done? */
bool mem_trim(size_t at_most_resident_bytes);

#endif
