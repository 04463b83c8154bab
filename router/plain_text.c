/* Called by confidence_agreement.c and final_answer.c. */
#include "router/plain_text.h"

#include <ctype.h>

static bool is_edge(unsigned char c)
{
    return c < 0x80 && (isspace(c) || ispunct(c));
}

/* One character of a text without case, runs of white space one space; -1 at the end. */
static int next_folded(struct slice *s)
{
    unsigned char c;

    if (s->n == 0)
        return -1;
    c = (unsigned char)s->p[0];
    *s = slice_from(*s, 1);
    if (c >= 0x80 || !isspace(c))
        return c < 0x80 ? tolower(c) : c;
    while (s->n && (unsigned char)s->p[0] < 0x80 && isspace((unsigned char)s->p[0]))
        *s = slice_from(*s, 1);
    return ' ';
}

struct slice plain_text_core(struct slice s)
{
    struct slice inside = s;

    while (inside.n && is_edge((unsigned char)inside.p[0]))
        inside = slice_from(inside, 1);
    while (inside.n && is_edge((unsigned char)inside.p[inside.n - 1]))
        inside.n--;
    return inside.n ? inside : s;
}

bool plain_text_same(struct slice a, struct slice b)
{
    int x, y;

    do {
        x = next_folded(&a);
        y = next_folded(&b);
    } while (x == y && x >= 0);
    return x == y;
}
