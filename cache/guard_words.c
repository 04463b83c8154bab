/* Two tables, made once from guard_words.def: words by their spelling, antonyms by their stems. */
#include "cache/guard_words.h"

#include <pthread.h>
#include <stdbool.h>

#define KIND(kind) GUARD_WORD_##kind

static const struct {
    struct slice word;
    enum guard_word_kind kind;
    double value;
} rows[] = {
#define WORD(word, kind, value) {{word, sizeof(word) - 1}, KIND(kind), value},
#include "cache/guard_words.def"
};

static const struct {
    struct slice a, b;
} antonyms[] = {
#define ANTONYM(a, b) {{a, sizeof(a) - 1}, {b, sizeof(b) - 1}},
#include "cache/guard_words.def"
};

#define ROWS     (sizeof rows / sizeof rows[0])
#define ANTONYMS (sizeof antonyms / sizeof antonyms[0])
#define SLOTS    2048 /* more than twice of either */

struct slot {
    struct slice word; /* p == NULL: free */
    struct guard_word facts;
};
struct side {
    uint32_t stem;
    uint16_t side;
    bool used;
};

static struct slot words[SLOTS];
static struct side sides[SLOTS];
static pthread_once_t made = PTHREAD_ONCE_INIT;

uint32_t guard_hash(struct slice text)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < text.n; i++)
        h = (h ^ (unsigned char)text.p[i]) * 16777619u;
    return h;
}

static bool ends(struct slice w, struct slice suffix)
{
    return w.n >= suffix.n && memcmp(w.p + w.n - suffix.n, suffix.p, suffix.n) == 0;
}

static bool has_vowel(struct slice w)
{
    for (size_t i = 0; i < w.n; i++)
        if (memchr("aeiouy", w.p[i], 6))
            return true;
    return false;
}

static struct slice without_ending(struct slice w)
{
    static const struct {
        struct slice suffix;
        size_t least; /* letters that must be left */
    } endings[] = {{{"ing", 3}, 2}, {{"ed", 2}, 2}};

    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        struct slice rest = slice_make(w.p, w.n - endings[i].suffix.n);
        if (!ends(w, endings[i].suffix) || w.n < endings[i].suffix.n + endings[i].least ||
            !has_vowel(rest))
            continue;
        /* stopped -> stop, but called -> call */
        if (rest.n > 3 && rest.p[rest.n - 1] == rest.p[rest.n - 2] &&
            !memchr("lsz", rest.p[rest.n - 1], 3))
            rest.n--;
        return rest;
    }
    return w;
}

uint32_t guard_stem(struct slice word)
{
    struct slice w = word;
    char y[32];

    if (w.n > 4 && w.n < sizeof y && ends(w, SLICE("ies"))) {
        memcpy(y, w.p, w.n - 3);
        y[w.n - 3] = 'y';
        return guard_hash(slice_make(y, w.n - 2));
    }
    if (w.n > 4 && (ends(w, SLICE("sses")) || ends(w, SLICE("xes")) || ends(w, SLICE("ches")) ||
                    ends(w, SLICE("shes"))))
        w.n -= 2;
    else if (w.n > 3 && ends(w, SLICE("s")) && !ends(w, SLICE("ss")) && !ends(w, SLICE("us")) &&
             !ends(w, SLICE("is")))
        w.n--;
    w = without_ending(w);
    if (w.n > 3 && w.p[w.n - 1] == 'e')
        w.n--;
    return guard_hash(w);
}

static struct slot *slot_of(struct slice word)
{
    size_t i = guard_hash(word) % SLOTS;

    while (words[i].word.p && !slice_eq(words[i].word, word))
        i = (i + 1) % SLOTS;
    return &words[i];
}

static void add_side(struct slice word, size_t side)
{
    uint32_t stem = guard_stem(word);
    size_t i = stem % SLOTS;

    while (sides[i].used)
        i = (i + 1) % SLOTS;
    sides[i] = (struct side){stem, (uint16_t)side, true};
}

static void make(void)
{
    _Static_assert(2 * ROWS < SLOTS && 4 * ANTONYMS < 2 * SLOTS, "the tables are too small");
    for (size_t i = 0; i < ROWS; i++) {
        struct slot *s = slot_of(rows[i].word);
        s->word = rows[i].word;
        s->facts.kinds |= 1u << rows[i].kind;
        s->facts.values[rows[i].kind] = rows[i].value;
    }
    for (size_t i = 0; i < ANTONYMS; i++) {
        add_side(antonyms[i].a, 2 * i);
        add_side(antonyms[i].b, 2 * i + 1);
    }
}

const struct guard_word *guard_word_find(struct slice word)
{
    struct slot *s;

    pthread_once(&made, make);
    s = slot_of(word);
    return s->word.p ? &s->facts : NULL;
}

size_t guard_word_sides(uint32_t stem, uint16_t *out, size_t max)
{
    size_t count = 0;

    pthread_once(&made, make);
    for (size_t i = stem % SLOTS; sides[i].used; i = (i + 1) % SLOTS)
        if (sides[i].stem == stem && count < max)
            out[count++] = sides[i].side;
    return count;
}
