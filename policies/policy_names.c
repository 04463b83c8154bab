/* Names: the hash table behind every look-up by name, and the edit distance behind "did you mean".
 * Thread: built by the loader, read by any. Called by policy_node (duplicates), policy_bind,
 * policy_check and policy. */
#include "policies/policy_names.h"

#include <stdint.h>
#include "base/ascii.h"

#define NEAREST_MAX_BYTES  64
#define NEAREST_MAX_OFFERS 500

/* FNV-1a, 64 bit. The operator chooses the names, so a keyed hash is not needed. */
static uint64_t hash(struct slice s)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(1099511628211);
    return h ^ h >> 32;
}

void names_init(struct names *t, struct arena *a, size_t at_most)
{
    size_t cap = 8;
    while (cap < at_most * 2)
        cap *= 2;
    *t = (struct names){.slots = ARENA_ARRAY(a, struct names_slot, cap), .mask = cap - 1};
}

static struct names_slot *slot_of(const struct names *t, struct slice name)
{
    size_t i = (size_t)hash(name) & t->mask;
    while (t->slots[i].taken && !slice_eq(t->slots[i].name, name))
        i = (i + 1) & t->mask;
    return &t->slots[i];
}

size_t names_add(struct names *t, struct slice name, size_t value)
{
    struct names_slot *s = slot_of(t, name);
    if (!s->taken) {
        *s = (struct names_slot){name, value, true};
        t->count++;
    }
    return s->value;
}

size_t names_get(const struct names *t, struct slice name)
{
    if (!t->slots)
        return NAMES_ABSENT;
    const struct names_slot *s = slot_of(t, name);
    return s->taken ? s->value : NAMES_ABSENT;
}

static char lower(char c)
{
    return c == '-' ? '_' : ascii_lower(c);
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Optimal string alignment distance (Damerau 1964, restricted): three rows of the table. */
static size_t distance(struct slice a, struct slice b)
{
    size_t rows[3][NEAREST_MAX_BYTES + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b.n; j++)
        last[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t differ = lower(a.p[i - 1]) != lower(b.p[j - 1]);
            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + differ);
            bool swapped = i > 1 && j > 1 && lower(a.p[i - 1]) == lower(b.p[j - 2]) &&
                           lower(a.p[i - 2]) == lower(b.p[j - 1]);
            if (swapped && before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.n];
}

void names_nearest_init(struct names_nearest *n, struct slice wanted)
{
    *n = (struct names_nearest){.wanted = wanted, .distance = SIZE_MAX};
}

void names_nearest_stop(struct names_nearest *n)
{
    n->offers = NEAREST_MAX_OFFERS;
}

void names_nearest_offer(struct names_nearest *n, const char *candidate)
{
    struct slice c = slice_str(candidate);
    if (n->offers++ >= NEAREST_MAX_OFFERS || c.n == 0 || c.n > NEAREST_MAX_BYTES ||
        n->wanted.n == 0 || n->wanted.n > NEAREST_MAX_BYTES)
        return;
    size_t d = distance(n->wanted, c);
    size_t longer = c.n > n->wanted.n ? c.n : n->wanted.n, shorter = c.n + n->wanted.n - longer;
    /* "gpt-4" for "gpt-4.1": a name cut short or drawn out is as near as one mistyped letter. */
    bool prefix = shorter >= 3 && strncasecmp(c.p, n->wanted.p, shorter) == 0;
    if (prefix && d > 1)
        d = 1 + (longer - shorter > 4);
    size_t tolerated = prefix ? 2 : longer <= 3 ? 1 : longer <= 6 ? 2 : longer / 3;
    if (d <= tolerated && d < n->distance) {
        n->best = candidate;
        n->distance = d;
    }
}
