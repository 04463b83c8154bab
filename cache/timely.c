/* The words and their weights, and the sum. A weight is about the log of how much likelier a word
 * makes it that the answer changes; the words were chosen by what they mean, and measured by
 * tests/bench/cache_quality. */
#include "cache/timely.h"

#include <stdbool.h>
#include "base/ascii.h"

#define SLOW_FROM      0.8f
#define QUESTION_WORDS 16.0f

/* A word, or a pair of words that follow each other. */
struct weight {
    const char *first, *second; /* second NULL: a word */
    float points;
    bool fast;
};

static const struct weight weights[] = {
    /* within hours */
    {"weather", NULL, 2, true},
    {"forecast", NULL, 2, true},
    {"temperature", "outside", 3, true},
    {"right", "now", 3, true},
    {"today", NULL, 2, true},
    {"today's", NULL, 2, true},
    {"tonight", NULL, 2, true},
    {"tomorrow", NULL, 2, true},
    {"yesterday", NULL, 2, true},
    {"this", "morning", 2, true},
    {"this", "afternoon", 2, true},
    {"this", "evening", 2, true},
    {"news", NULL, 1.5f, true},
    {"headlines", NULL, 2, true},
    {"breaking", "news", 3, true},
    {"stock", "price", 2.5f, true},
    {"share", "price", 2.5f, true},
    {"exchange", "rate", 2.5f, true},
    {"bitcoin", "price", 3, true},
    {"live", "score", 3, true},
    {"what", "time", 1.2f, true},
    {"open", "now", 3, true},
    {"traffic", "on", 1.5f, true},
    {"flight", "status", 3, true},
    {"delayed", NULL, 1.2f, true},
    {"trending", NULL, 2, true},
    {"my", "balance", 2, true},
    {"my", "order", 1.5f, true},
    {"just", "happened", 2, true},
    /* within months */
    {"current", NULL, 2, false},
    {"currently", NULL, 2, false},
    {"latest", NULL, 2.5f, false},
    {"newest", NULL, 2, false},
    {"recent", NULL, 1.5f, false},
    {"recently", NULL, 1.5f, false},
    {"now", NULL, 1.5f, false},
    {"nowadays", NULL, 1.5f, false},
    {"still", NULL, 1, false},
    {"yet", NULL, 1, false},
    {"so", "far", 1.5f, false},
    {"these", "days", 1.5f, false},
    {"upcoming", NULL, 2, false},
    {"next", NULL, 1.2f, false},
    {"the", "next", 0.6f, false},
    {"last", NULL, 1.4f, false},
    {"last", "time", 2, false},
    {"the", "last", 0.4f, false},
    {"this", "year", 3, false},
    {"this", "season", 2, false},
    {"this", "month", 3, false},
    {"this", "week", 3, false},
    {"last", "year", 1.5f, false},
    {"all", "time", 2.5f, false},
    {"ever", NULL, 1, false},
    {"in", "history", 1.5f, false},
    {"record", NULL, 1.5f, false},
    {"holds", NULL, 2, false},
    {"most", NULL, 1.2f, false},
    {"the", "most", 0.6f, false},
    {"highest", NULL, 1.2f, false},
    {"largest", NULL, 1, false},
    {"biggest", NULL, 1, false},
    {"longest", NULL, 0.8f, false},
    {"tallest", NULL, 1, false},
    {"fastest", NULL, 1, false},
    {"richest", NULL, 1.5f, false},
    {"youngest", NULL, 0.6f, false},
    {"oldest", NULL, 0.8f, false},
    {"best", "selling", 1.5f, false},
    {"top", NULL, 0.6f, false},
    {"best", NULL, 0.5f, false},
    {"has", NULL, 1, false},
    {"who", "has", 0.8f, false},
    {"has", "won", 1, false},
    {"have", "won", 1, false},
    {"been", NULL, 0.8f, false},
    {"how", "many", 0.4f, false},
    {"are", "there", 0.6f, false},
    {"number", "of", 0.6f, false},
    {"how", "old", 1, false},
    {"population", NULL, 1.6f, false},
    {"average", NULL, 1.2f, false},
    {"rate", NULL, 0.8f, false},
    {"percentage", NULL, 0.8f, false},
    {"salary", NULL, 1.5f, false},
    {"paid", NULL, 0.8f, false},
    {"price", NULL, 1.5f, false},
    {"cost", NULL, 1.2f, false},
    {"worth", NULL, 1, false},
    {"ranking", NULL, 1.5f, false},
    {"ranked", NULL, 1.2f, false},
    {"champion", NULL, 1.2f, false},
    {"champions", NULL, 1.5f, false},
    {"championship", NULL, 1, false},
    {"championships", NULL, 1.5f, false},
    {"playoffs", NULL, 1.5f, false},
    {"scored", NULL, 1.2f, false},
    {"goals", NULL, 1.2f, false},
    {"points", NULL, 1, false},
    {"medals", NULL, 1, false},
    {"league", NULL, 0.5f, false},
    {"cup", NULL, 0.5f, false},
    {"nba", NULL, 0.7f, false},
    {"nfl", NULL, 0.7f, false},
    {"olympics", NULL, 0.5f, false},
    {"president", NULL, 1, false},
    {"prime", "minister", 1, false},
    {"minister", NULL, 0.8f, false},
    {"governor", NULL, 0.8f, false},
    {"mayor", NULL, 1, false},
    {"senator", NULL, 0.8f, false},
    {"ceo", NULL, 1.5f, false},
    {"chairman", NULL, 1, false},
    {"head", "coach", 1, false},
    {"coach", NULL, 0.7f, false},
    {"captain", NULL, 0.4f, false},
    {"owns", NULL, 1, false},
    {"owner", NULL, 0.8f, false},
    {"married", "to", 0.6f, false},
    {"version", NULL, 1.2f, false},
    {"release", "date", 0.8f, false},
    {"will", NULL, 0.6f, false},
    {"going", "to", 0.6f, false},
    {"new", NULL, 0.4f, false},
    {"who", "is", 0.3f, false},
    /* what is over, or never changes */
    {"first", NULL, -1.8f, false},
    {"original", NULL, -1.5f, false},
    {"originally", NULL, -1.5f, false},
    {"wrote", NULL, -2, false},
    {"written", NULL, -1.5f, false},
    {"sings", NULL, -2, false},
    {"sang", NULL, -2, false},
    {"song", NULL, -1.2f, false},
    {"plays", NULL, -1.2f, false},
    {"played", NULL, -0.8f, false},
    {"voice", NULL, -1.2f, false},
    {"movie", NULL, -1, false},
    {"film", NULL, -0.8f, false},
    {"episode", NULL, -1.5f, false},
    {"episodes", NULL, 0.4f, false},
    {"lyrics", NULL, -2, false},
    {"book", NULL, -0.8f, false},
    {"novel", NULL, -1.5f, false},
    {"character", NULL, -1, false},
    {"battle", NULL, -2, false},
    {"war", NULL, -1.5f, false},
    {"treaty", NULL, -1.5f, false},
    {"ancient", NULL, -2, false},
    {"invented", NULL, -2, false},
    {"discovered", NULL, -2, false},
    {"founded", NULL, -1.5f, false},
    {"built", NULL, -1.5f, false},
    {"born", NULL, -1.5f, false},
    {"died", NULL, -1, false},
    {"meaning", NULL, -2, false},
    {"mean", NULL, -1.5f, false},
    {"means", NULL, -1.5f, false},
    {"definition", NULL, -2, false},
    {"define", NULL, -2, false},
    {"why", NULL, -1.2f, false},
    {"formula", NULL, -2, false},
    {"theorem", NULL, -2, false},
    {"prove", NULL, -2, false},
    {"solve", NULL, -2, false},
    {"calculate", NULL, -1.5f, false},
    {"translate", NULL, -2, false},
    {"write", NULL, -1.5f, false},
    {"explain", NULL, -1, false},
    {"difference", "between", -1, false},
    {"used", "to", -1.2f, false},
    {"became", NULL, -0.6f, false},
    {"become", NULL, -1, false},
    {"during", NULL, -1.2f, false},
    {"when", "was", -0.8f, false},
    {"when", "did", -0.4f, false},
    {"who", "was", -0.6f, false},
};

#define A_YEAR -2.5f

struct words {
    char text[2][32]; /* the last two, lower case */
    size_t count;
    float points;
    bool fast;
};

static bool is_year(const char *w)
{
    return strlen(w) == 4 && strspn(w, "0123456789") == 4 && (w[0] == '1' || w[0] == '2');
}

static void take(struct words *s, struct slice word)
{
    char *now = s->text[s->count % 2], *before = s->text[(s->count + 1) % 2];
    size_t n = word.n < sizeof s->text[0] - 1 ? word.n : sizeof s->text[0] - 1;

    for (size_t i = 0; i < n; i++)
        now[i] = ascii_lower(word.p[i]);
    now[n] = '\0';
    if (is_year(now))
        s->points += A_YEAR;
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        const struct weight *w = &weights[i];
        bool hit =
            w->second ? s->count > 0 && strcmp(before, w->first) == 0 && strcmp(now, w->second) == 0
                      : strcmp(now, w->first) == 0;
        if (!hit)
            continue;
        s->points += w->points;
        s->fast = s->fast || w->fast;
    }
    s->count++;
}

static bool in_word(char c)
{
    return ascii_is_alnum(c) || c == '\'';
}

enum timely timely_of(struct slice text)
{
    struct words s = {.count = 0};

    for (size_t i = 0; i < text.n && s.count < TIMELY_MAX_WORDS;) {
        size_t n = 0;
        while (i + n < text.n && in_word(text.p[i + n]))
            n++;
        if (n)
            take(&s, slice_make(text.p + i, n));
        i += n ? n : 1;
    }
    /* A long text has words of all kinds. */
    if ((float)s.count > QUESTION_WORDS)
        s.points *= QUESTION_WORDS / (float)s.count;
    if (s.points < SLOW_FROM)
        return TIMELESS;
    return s.fast ? TIMELY_FAST : TIMELY_SLOW;
}
