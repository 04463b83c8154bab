/* See text.h. Pure but for the abort. */
#include "tests/fleet/text.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/json_scan.h"

void text_must(enum err e)
{
    if (e == ERR_OK)
        return;
    fprintf(stderr, "weir-fleet: text too large (%s)\n", err_name(e));
    abort();
}

void text_json(struct buf *b, struct slice s)
{
    char *room;
    size_t cap, worst = 6 * s.n + 2;
    text_must(buf_reserve(b, worst, &room, &cap));
    buf_commit(b, json_string_encode(s, room, cap));
}

struct slice text_take(struct buf *b, struct arena *a)
{
    struct slice s = arena_dup(a, buf_slice(b));
    buf_reset(b);
    return s;
}

uint64_t text_hash(struct slice s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
    return h;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

struct slice text_strip(struct slice s)
{
    while (s.n && is_space(s.p[0]))
        s.p++, s.n--;
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

size_t text_find(struct slice s, struct slice needle)
{
    const char *hit = s.n >= needle.n && needle.n ? memmem(s.p, s.n, needle.p, needle.n) : NULL;
    return hit ? (size_t)(hit - s.p) : s.n;
}
