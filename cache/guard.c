/* The gates: comparing the facts of two texts (guard_read.c makes them). Pure. */
#include "cache/guard.h"

#include <math.h>
#include <stdlib.h>
#include "cache/guard_int.h"

const char *guard_name(enum guard g)
{
    static const char *const names[GUARD_COUNT] = {
        [GUARD_NUMBERS] = "numbers",   [GUARD_UNITS] = "units", [GUARD_DATES] = "dates",
        [GUARD_NEGATION] = "negation", [GUARD_ORDER] = "order", [GUARD_NAMES] = "names",
        [GUARD_OVERLAP] = "overlap",
    };
    return names[g];
}

/* How many numbers are not loose: they come first. */
static size_t strict_count(const struct guard_facts *f)
{
    size_t n = f->number_count;

    while (n && f->numbers[n - 1].loose)
        n--;
    return n;
}

static bool values_differ(const struct guard_number *a, size_t an, const struct guard_number *b,
                          size_t bn)
{
    if (an != bn)
        return true;
    for (size_t i = 0; i < an; i++)
        if (fabs(a[i].value - b[i].value) > 1e-9 * fabs(a[i].value))
            return true;
    return false;
}

static bool numbers_differ(const struct guard_facts *a, const struct guard_facts *b)
{
    size_t an = strict_count(a), bn = strict_count(b);
    size_t al = a->number_count - an, bl = b->number_count - bn;

    return values_differ(a->numbers, an, b->numbers, bn) ||
           (al && bl && values_differ(a->numbers + an, al, b->numbers + bn, bl));
}

/* Of equal numbers: a unit on both sides must be the same one. */
static bool units_differ(const struct guard_facts *a, const struct guard_facts *b)
{
    if (numbers_differ(a, b))
        return false; /* another gate's business */
    for (size_t i = 0, n = strict_count(a); i < n; i++) {
        uint16_t x = a->numbers[i].unit, y = b->numbers[i].unit;
        if (x && y && x != y)
            return true;
    }
    return false;
}

static bool times_differ(const struct guard_facts *a, const struct guard_facts *b)
{
    return a->time_count != b->time_count ||
           memcmp(a->times, b->times, a->time_count * sizeof a->times[0]) != 0;
}

static bool has_u16(const uint16_t *all, size_t n, uint16_t x)
{
    return bsearch(&x, all, n, sizeof x, guard_by_u16) != NULL;
}

static bool has_word(const struct guard_facts *f, uint32_t stem)
{
    return bsearch(&stem, f->sorted, f->word_count, sizeof stem, guard_by_u32) != NULL;
}

/* a says one side of a pair and not the other; b the other way round. */
static bool antonyms(const struct guard_facts *a, const struct guard_facts *b)
{
    for (size_t i = 0; i < a->side_count; i++) {
        uint16_t side = a->sides[i], other = side ^ 1;
        if (!has_u16(a->sides, a->side_count, other) && !has_u16(b->sides, b->side_count, side) &&
            has_u16(b->sides, b->side_count, other))
            return true;
    }
    return false;
}

/* a says "unlocked", b says "locked", and neither says both. */
static bool prefixed(const struct guard_facts *a, const struct guard_facts *b)
{
    for (size_t i = 0; i < a->bare_count; i++)
        if (has_word(b, a->bare[i].value) && !has_word(a, a->bare[i].value) &&
            !has_word(b, a->bare[i].key))
            return true;
    return false;
}

static bool negations_differ(const struct guard_facts *a, const struct guard_facts *b)
{
    return (a->negations ^ b->negations) & 1u || antonyms(a, b) || prefixed(a, b) || prefixed(b, a);
}

static bool has_direction(const struct guard_facts *f, uint32_t stem, uint32_t direction)
{
    for (size_t i = 0; i < f->direction_count; i++)
        if (f->directions[i].key == stem && f->directions[i].value == direction)
            return true;
    return false;
}

/* "from" and "to", "before" and "after": 1 and 2, 3 and 4. */
static bool turned_round(const struct guard_facts *a, const struct guard_facts *b)
{
    for (size_t i = 0; i < a->direction_count; i++) {
        uint32_t stem = a->directions[i].key, d = a->directions[i].value, other = ((d - 1) ^ 1) + 1;
        if (has_direction(b, stem, other) && !has_direction(a, stem, other) &&
            !has_direction(b, stem, d))
            return true;
    }
    return false;
}

static size_t longest_common(const struct guard_facts *a, const struct guard_facts *b, size_t most)
{
    uint16_t row[GUARD_MAX_WORDS + 1] = {0};
    size_t an = a->word_count < most ? a->word_count : most;
    size_t bn = b->word_count < most ? b->word_count : most;

    for (size_t i = 0; i < an; i++) {
        uint16_t diagonal = 0;
        for (size_t j = 0; j < bn; j++) {
            uint16_t above = row[j + 1];
            row[j + 1] = a->words[i] == b->words[j] ? (uint16_t)(diagonal + 1)
                         : above > row[j]           ? above
                                                    : row[j];
            diagonal = above;
        }
    }
    return row[bn];
}

static size_t common_count(const uint32_t *a, size_t an, const uint32_t *b, size_t bn)
{
    size_t common = 0;

    for (size_t i = 0, j = 0; i < an && j < bn;) {
        if (a[i] == b[j])
            common++, i++, j++;
        else if (a[i] < b[j])
            i++;
        else
            j++;
    }
    return common;
}

/* Long texts are compared in order up to here: quadratic beyond it would cost more than a model. */
#define ORDER_WORDS 64

/* The same words in another order. */
static bool orders_differ(const struct guard_facts *a, const struct guard_facts *b)
{
    size_t common = common_count(a->sorted, a->word_count, b->sorted, b->word_count);
    size_t longer = a->word_count > b->word_count ? a->word_count : b->word_count;

    if (turned_round(a, b))
        return true;
    if (common < longer || longer > ORDER_WORDS || (a->symmetric && b->symmetric))
        return false;
    /* Two words turn round in the passive, too, unless something says where from or where to. */
    if (common < 3 && !(a->direction_count && b->direction_count))
        return false;
    return longest_common(a, b, ORDER_WORDS) < common;
}

static bool names_differ(const struct guard_facts *a, const struct guard_facts *b)
{
    return a->name_count != b->name_count ||
           memcmp(a->names, b->names, a->name_count * sizeof a->names[0]) != 0;
}

static bool nothing_in_common(const struct guard_facts *a, const struct guard_facts *b)
{
    return common_count(a->sorted, a->word_count, b->sorted, b->word_count) == 0;
}

int guard_refuses(const struct guard_facts *a, const struct guard_facts *b, unsigned mask)
{
    static bool (*const differ[GUARD_COUNT])(const struct guard_facts *,
                                             const struct guard_facts *) = {
        [GUARD_NUMBERS] = numbers_differ,   [GUARD_UNITS] = units_differ,
        [GUARD_DATES] = times_differ,       [GUARD_NEGATION] = negations_differ,
        [GUARD_ORDER] = orders_differ,      [GUARD_NAMES] = names_differ,
        [GUARD_OVERLAP] = nothing_in_common};

    for (int g = 0; g < GUARD_COUNT; g++)
        if (mask & (1u << g) && (a->overflow || b->overflow || differ[g](a, b)))
            return g;
    return -1;
}

static float jaccard(const uint32_t *a, size_t an, const uint32_t *b, size_t bn)
{
    size_t common = common_count(a, an, b, bn), all = an + bn - common;

    return all ? (float)common / (float)all : 1;
}

void guard_compare(const struct guard_facts *a, const struct guard_facts *b,
                   struct guard_likeness *out)
{
    size_t shorter = a->word_count < b->word_count ? a->word_count : b->word_count;
    size_t longer = a->word_count + b->word_count - shorter;
    size_t capped = shorter < ORDER_WORDS ? shorter : ORDER_WORDS;

    out->jaccard = jaccard(a->sorted, a->word_count, b->sorted, b->word_count);
    out->length = longer ? (float)shorter / (float)longer : 1;
    out->order = capped ? (float)longest_common(a, b, ORDER_WORDS) / (float)capped : 0;
    out->proper = jaccard(a->proper, a->proper_count, b->proper, b->proper_count);
    out->question = a->questions == b->questions;
}
