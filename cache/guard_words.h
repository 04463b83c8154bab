/* The words that the gates know, looked up. Immutable after the first call; any thread. */
#ifndef CACHE_GUARD_WORDS_H
#define CACHE_GUARD_WORDS_H

#include <stdint.h>
#include "base/slice.h"

enum guard_word_kind {
    GUARD_WORD_STOP,
    GUARD_WORD_QUESTION,
    GUARD_WORD_NEGATION,
    GUARD_WORD_NUMBER,
    GUARD_WORD_LOOSE,
    GUARD_WORD_ONE,
    GUARD_WORD_ORDINAL_OR_UNIT,
    GUARD_WORD_MULTIPLIER,
    GUARD_WORD_UNIT,
    GUARD_WORD_TIME,
    GUARD_WORD_MONTH_IF_CAPITAL,
    GUARD_WORD_RELATIVE,
    GUARD_WORD_SYMMETRIC,
    GUARD_WORD_DIRECTION,
    GUARD_WORD_KINDS
};

/* What a word is: bit per kind, and its value for each kind that it has. */
struct guard_word {
    unsigned kinds;
    double values[GUARD_WORD_KINDS];
};
/* word in lower case. NULL: nothing but a content word. */
const struct guard_word *guard_word_find(struct slice word);
static inline bool guard_word_is(const struct guard_word *w, enum guard_word_kind kind)
{
    return w && w->kinds & (1u << kind);
}

/* Which unit a word is; 0: none. */
static inline int guard_word_unit(struct slice word)
{
    const struct guard_word *w = word.n ? guard_word_find(word) : NULL;

    return guard_word_is(w, GUARD_WORD_UNIT) ? (int)w->values[GUARD_WORD_UNIT] : 0;
}

/* The sides of antonym pairs that a stem is on: 2 * pair + side. Returns how many were put into
 * out; *pairs (may be NULL) is how many pairs there are. */
size_t guard_word_sides(uint32_t stem, uint16_t *out, size_t max);

/* The hash of a word's stem: plural, -ing, -ed and a last e go. Rough on purpose: it must be the
 * same for the forms of one word, and need not be a word. */
uint32_t guard_stem(struct slice word);
uint32_t guard_hash(struct slice text); /* FNV-1a */

#endif
