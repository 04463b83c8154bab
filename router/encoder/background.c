/* The background prompts: data/background.txt, one per line, in the program's read-only data.
 * Called when classes declared by examples are built. */
#include "router/encoder/background.h"

#include <assert.h>
#include "router/encoder/background_data.h"

/* The line that begins at s, without its end. */
static struct slice first_line(struct slice s)
{
    const char *end = memchr(s.p, '\n', s.n);
    return slice_make(s.p, end ? (size_t)(end - s.p) : s.n);
}

size_t background_count(void)
{
    struct slice all = background_data();
    size_t n = 0;
    for (; all.n; n++)
        all = slice_from(all, first_line(all).n + 1);
    return n;
}

struct slice background_prompt(size_t i)
{
    struct slice all = background_data();
    for (; i > 0; i--)
        all = slice_from(all, first_line(all).n + 1);
    assert(all.n > 0);
    return first_line(all);
}
