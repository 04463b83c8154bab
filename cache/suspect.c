/* The marks and how they are counted. Called by router/cache_allow.c; any thread. */
#include "cache/suspect.h"

#include <ctype.h>

#define WINDOW    5  /* words within which the second part of an order follows the first */
#define JUNK_FROM 3  /* odd places, */
#define JUNK_PART 12 /* and at least one in so many words */
#define KNOT      2  /* different punctuation marks in a row */

/* `second` within WINDOW words after `first`; NULL: `first` alone. Beginnings of words. */
static const struct {
    const char *first, *second;
} orders[] = {
    {"ignore", "instruction"},
    {"ignore", "previous"},
    {"ignore", "above"},
    {"ignore", "rule"},
    {"ignore", "prompt"},
    {"disregard", "instruction"},
    {"disregard", "previous"},
    {"disregard", "above"},
    {"disregard", "rule"},
    {"forget", "instruction"},
    {"forget", "previous"},
    {"forget", "everything"},
    {"override", "instruction"},
    {"override", "rule"},
    {"bypass", "filter"},
    {"bypass", "rule"},
    {"system", "prompt"},
    {"developer", "mode"},
    {"jailbreak", NULL},
    {"you", "now"},
    {"pretend", NULL},
    {"act", "as"},
    {"from", "on"},
    {"always", "answer"},
    {"always", "reply"},
    {"always", "respond"},
    {"always", "say"},
    {"whenever", "asked"},
    {"when", "asked"},
    {"everyone", "asks"},
    {"anyone", "asks"},
    {"answer", "everyone"},
    {"new", "instruction"},
};
static const char *const markers[] = {"<|",      "[inst",      "</system", "<system",   "<<sys",
                                      "system:", "assistant:", "### inst", "### system"};

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static bool begins(struct slice word, const char *with)
{
    return slice_istarts(word, slice_str(with));
}

static bool has_marker(struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        for (size_t k = 0; k < COUNT(markers); k++)
            if (slice_istarts(slice_from(text, i), slice_str(markers[k])))
                return true;
    return false;
}

/* The next run of letters from *at on; empty at the end. */
static struct slice next_word(struct slice text, size_t *at)
{
    size_t from = *at, to;

    while (from < text.n && !isalpha((unsigned char)text.p[from]))
        from++;
    for (to = from; to < text.n && isalpha((unsigned char)text.p[to]); to++)
        ;
    *at = to;
    return slice_make(text.p + from, to - from);
}

/* A short word must be that word: "now" is not "nowhere". */
static bool matches(struct slice word, const char *with)
{
    return strlen(with) <= 4 ? slice_ieq(word, slice_str(with)) : begins(word, with);
}

/* Does an order begin with the next word from `at` on? */
static bool is_order(struct slice text, size_t at)
{
    struct slice words[WINDOW];
    size_t n = 0;

    while (n < WINDOW && (words[n] = next_word(text, &at)).n > 0)
        n++;
    for (size_t k = 0; n > 0 && k < COUNT(orders); k++) {
        if (!matches(words[0], orders[k].first))
            continue;
        if (!orders[k].second)
            return true;
        for (size_t i = 1; i < n; i++)
            if (matches(words[i], orders[k].second))
                return true;
    }
    return false;
}

static bool gives_orders(struct slice text)
{
    size_t at = 0, from = 0;

    while (next_word(text, &at).n > 0) {
        if (is_order(text, from))
            return true;
        from = at;
    }
    return false;
}

/* A capital within a word; a knot of unlike punctuation. */
static bool is_odd(struct slice text, size_t i)
{
    unsigned char c = (unsigned char)text.p[i];
    unsigned char before = i > 0 ? (unsigned char)text.p[i - 1] : ' ';

    if (isupper(c) && islower(before))
        return true;
    return ispunct(c) && ispunct(before) && c != before &&
           !(i >= KNOT && ispunct((unsigned char)text.p[i - KNOT]));
}

static bool is_junk(struct slice text)
{
    size_t odd = 0, words = 1;

    for (size_t i = 0; i < text.n; i++) {
        odd += is_odd(text, i);
        words += text.p[i] == ' ';
    }
    return odd >= JUNK_FROM && odd * JUNK_PART >= words;
}

bool suspect_text(struct slice text)
{
    if (text.n > SUSPECT_MAX_BYTES)
        return true;
    return has_marker(text) || gives_orders(text) || is_junk(text);
}
