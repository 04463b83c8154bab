/* Looks for phrases. Called once or a few times per answer, on a few hundred bytes: a plain search
 * for each phrase costs a microsecond or two. */
#include "backends/wire/answer_phrases.h"

#include <ctype.h>

#define LOOK_BYTES 200

static const char *const refusals[] = {
    "i can't assist",
    "i can't help",
    "i can't provide",
    "i can't fulfill",
    "i can't comply",
    "i can't answer",
    "i can't do that",
    "i cannot assist",
    "i cannot help",
    "i cannot provide",
    "i cannot fulfill",
    "i cannot comply",
    "i cannot answer",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "i won't be able to",
    "i will not be able to",
    "i must decline",
    "i have to decline",
    "i'm sorry, but i",
    "i am sorry, but i",
    "sorry, i can't",
    "sorry, i cannot",
    "i apologize, but i",
    "as an ai language model, i",
    "as an ai, i ",
    "i don't feel comfortable",
    "that's not something i can",
    "i don't have access to",
    "i do not have access to",
};

static const char *const hedges[] = {
    "i'm not sure",         "i am not sure",       "i'm not certain",     "i am not certain",
    "i'm not entirely",     "i may be wrong",      "i might be wrong",    "i could be wrong",
    "i don't know",         "i do not know",       "i'm just guessing",   "my best guess",
    "please verify",        "please double-check", "please double check", "not enough information",
    "cannot be determined", "can't be determined", "it is unclear",       "it's unclear",
    "hard to say",
};

/* Lower case, with plain apostrophes and single spaces; at most LOOK_BYTES. */
static size_t fold(struct slice text, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < text.n && n < LOOK_BYTES; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if (c == 0xE2 && i + 2 < text.n && memcmp(text.p + i, "\xE2\x80\x99", 3) == 0) {
            out[n++] = '\'';
            i += 2;
        } else if (c == ' ' || (c >= '\t' && c <= '\r')) {
            if (n == 0 || out[n - 1] != ' ')
                out[n++] = ' ';
        } else {
            out[n++] = (char)(c < 0x80 ? tolower(c) : c);
        }
    }
    return n;
}

static bool has_any(const char *text, size_t n, const char *const *phrases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (memmem(text, n, phrases[i], strlen(phrases[i])))
            return true;
    return false;
}

bool answer_phrases_refuse(struct slice text)
{
    char folded[LOOK_BYTES];
    size_t n = fold(text, folded);

    return has_any(folded, n, refusals, sizeof refusals / sizeof refusals[0]);
}

static bool ends_sentence(char c)
{
    return c == '.' || c == '!' || c == '?' || c == '\n';
}

/* From behind the end of the sentence before it; the answer's own last full stop and what white
 * space follows it belong to it. */
static struct slice last_sentence(struct slice text)
{
    size_t end = text.n, from;

    while (end && (ends_sentence(text.p[end - 1]) || text.p[end - 1] == ' '))
        end--;
    from = end;
    while (from && end - from < LOOK_BYTES && !ends_sentence(text.p[from - 1]))
        from--;
    return slice_make(text.p + from, end - from);
}

bool answer_phrases_hedge(struct slice text)
{
    char folded[LOOK_BYTES];
    size_t n = fold(last_sentence(text), folded);

    return has_any(folded, n, hedges, sizeof hedges / sizeof hedges[0]);
}
