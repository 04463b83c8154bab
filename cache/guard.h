/* Hard gates between the question that was asked and a question that was answered: what a small
 * encoder does not see and what changes an answer. A changed number scores higher in cosine than an
 * honest rewording, a negation moves a vector little, a swap of "EUR to USD" hardly at all; so
 * these are looked at in the texts themselves, before any score is.
 *
 *   numbers   multisets of values: digits, words, ordinals, percentages, 1,000 = 1000 = one
 * thousand units     equal numbers of different units: 5 km, 5 miles dates     months, weekdays,
 * days relative to today, "last week", parts of the day negation  parity of not, n't, never,
 * without ...; antonyms (enable/disable) and prefixes (un-, dis-) order     the same content words
 * in another order names     identifiers, versions, quoted texts, addresses, file names: what must
 * be equal to the letter overlap   texts that share no content word at all: vectors that collide,
 * not questions
 *
 * Rules are for English. What they do not know (other scripts, other languages) makes a gate
 * stricter, never looser: an unknown word is a content word, compared byte by byte.
 * Pure; no allocation; work is linear in the text, up to GUARD_MAX_BYTES of it: longer texts are
 * only equal to themselves. */
#ifndef CACHE_GUARD_H
#define CACHE_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include "base/slice.h"

enum guard {
    GUARD_NUMBERS,
    GUARD_UNITS,
    GUARD_DATES,
    GUARD_NEGATION,
    GUARD_ORDER,
    GUARD_NAMES,
    GUARD_OVERLAP,
    GUARD_COUNT
};
#define GUARD_ALL ((1u << GUARD_COUNT) - 1)
const char *guard_name(enum guard g); /* "numbers" ...: policy keys, explain */

#define GUARD_MAX_BYTES   8192
#define GUARD_MAX_NUMBERS 48
#define GUARD_MAX_WORDS   512
#define GUARD_MAX_MARKS   32
#define GUARD_MAX_NAMES   32

/* A number with the unit that stands beside it. */
struct guard_number {
    double value;
    uint16_t unit; /* 0: none */
    bool loose;    /* "first", "both": counts only where the other text has such a number, too */
};

/* What is in a text. Fixed size, on the caller's stack. */
struct guard_facts {
    struct guard_number numbers[GUARD_MAX_NUMBERS]; /* strict ones first; by value, then unit */
    uint32_t words[GUARD_MAX_WORDS];  /* content words as hashes of their stems, in order */
    uint32_t sorted[GUARD_MAX_WORDS]; /* the same, sorted */
    uint16_t times[GUARD_MAX_MARKS];  /* months, weekdays, relative days; sorted */
    uint16_t sides[GUARD_MAX_MARKS];  /* antonyms: 2 * pair + side; sorted */
    uint32_t names[GUARD_MAX_NAMES];  /* hashes; sorted */
    uint32_t
        proper[GUARD_MAX_NAMES]; /* capitalised words, as hashes; sorted: a feature, not a gate */
    struct guard_pair {
        uint32_t key, value;
    } bare[GUARD_MAX_MARKS],         /* a word with a negating prefix: itself, and without it */
        directions[GUARD_MAX_MARKS]; /* a word that "from", "to", "before" ... stands before */
    size_t number_count, word_count, time_count, side_count, name_count, proper_count, bare_count,
        direction_count;
    unsigned negations, questions; /* count; bits of the question words */
    bool symmetric;                /* "between A and B", "A or B": their order says nothing */
    bool overflow;                 /* more than fits: equal to nothing */
};

void guard_read(struct slice text, struct guard_facts *out);

/* The first gate of `mask` that keeps the two apart; -1: none does. */
int guard_refuses(const struct guard_facts *a, const struct guard_facts *b, unsigned mask);

/* How alike two texts are in their words, for the model of cache/risk.h. */
struct guard_likeness {
    float jaccard;  /* of content words, 0..1 */
    float length;   /* shorter / longer, in content words */
    float order;    /* longest common subsequence / shorter, in content words */
    float proper;   /* jaccard of capitalised words; 1 when neither has one */
    float question; /* 1: the same question word ("how", "when" ...), or none in either */
};
void guard_compare(const struct guard_facts *a, const struct guard_facts *b,
                   struct guard_likeness *out);

#endif
