/* A text put together piece by piece in the caller's memory, for lines that are written for each
 * request: printf would be the greater part of their cost. What does not fit is cut off, at a byte.
 * Borrows its memory; the owner's thread. */
#ifndef BASE_LINE_H
#define BASE_LINE_H

#include <stdint.h>
#include "base/slice.h"

struct line {
    char *p;       /* borrowed: [max] bytes, of which n are written; no NUL */
    size_t n, max; /* bytes */
};

static inline struct line line_in(char *room, size_t max)
{
    return (struct line){.p = room, .max = max};
}

static inline struct slice line_slice(const struct line *l)
{
    return slice_make(l->p, l->n);
}

void line_put(struct line *l, struct slice s);
void line_put_int(struct line *l, int64_t v); /* decimal */

/* s as a string in out: cut to fit, NUL-terminated. out_bytes > 0. */
void line_copy(char *out, size_t out_bytes, struct slice s);

#endif
