/* Reading a text into facts, and comparing the facts of two. A text is cut into words (letters with
 * inner apostrophes, anything beyond ASCII included), numbers and marks; each word is looked at
 * once, with one word of context on either side. */
#include "cache/guard.h"

#include <math.h>
#include <stdlib.h>
#include "cache/guard_words.h"

#define WORD_MAX_BYTES 63

const char *guard_name(enum guard g)
{
    static const char *const names[GUARD_COUNT] = {
        [GUARD_NUMBERS] = "numbers",   [GUARD_UNITS] = "units", [GUARD_DATES] = "dates",
        [GUARD_NEGATION] = "negation", [GUARD_ORDER] = "order", [GUARD_NAMES] = "names",
        [GUARD_OVERLAP] = "overlap",
    };
    return names[g];
}

/* ---- cutting ---- */

enum piece_kind { PIECE_END, PIECE_WORD, PIECE_NUMBER, PIECE_NAME, PIECE_SIGN };

struct piece {
    enum piece_kind kind;
    struct slice text; /* as written */
    char lower[WORD_MAX_BYTES + 1];
    size_t n;             /* of lower */
    bool capital, starts; /* first letter; first word of a sentence */
    double value;         /* NUMBER */
    struct slice suffix;  /* NUMBER: letters that follow at once: "5km", "3rd" */
};

struct reader {
    struct slice text;
    size_t at;
    bool sentence; /* the next word begins one */
    struct guard_facts *f;
    struct piece last, now, next;      /* `now` is being looked at */
    bool after_relative, after_number; /* the word before `now` was one */
    int direction;                     /* of the word before `now`; 0 none */
    bool in_number;                    /* number words are being added up */
    double sum, group;                 /* twenty-five thousand three: 25000 + 3 */
    bool quoted;
};

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

static unsigned char char_at(const struct reader *r, size_t i)
{
    return i < r->text.n ? (unsigned char)r->text.p[i] : 0;
}

static void lower_into(struct piece *p)
{
    p->n = p->text.n < WORD_MAX_BYTES ? p->text.n : WORD_MAX_BYTES;
    for (size_t i = 0; i < p->n; i++) {
        char c = p->text.p[i];
        p->lower[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    p->lower[p->n] = '\0';
}

/* Bytes of a character beyond ASCII that is no letter: spaces, quotes, dashes, currency and
 * mathematical signs (U+0080-BF, U+2000-23FF, U+3000-303F); 0: it is one. */
static size_t sign_length(const struct reader *r, size_t at)
{
    unsigned char a = char_at(r, at), b = char_at(r, at + 1);

    if (a == 0xc2)
        return 2;
    return (a == 0xe2 && b >= 0x80 && b <= 0x8f) || (a == 0xe3 && b == 0x80) ? 3 : 0;
}

/* 1,234,567.5 : commas between groups of three digits, one point before digits. */
static size_t number_length(const struct reader *r, size_t at, double *value)
{
    double v = 0, scale = 1;
    size_t i = at;

    for (; i < r->text.n; i++) {
        unsigned char c = char_at(r, i);
        if (is_digit(c))
            v = v * 10 + (c - '0');
        else if (!(c == ',' && is_digit(char_at(r, i + 1)) && is_digit(char_at(r, i + 2)) &&
                   is_digit(char_at(r, i + 3)) && !is_digit(char_at(r, i + 4))))
            break;
    }
    if (char_at(r, i) == '.' && is_digit(char_at(r, i + 1)))
        for (i++; is_digit(char_at(r, i)); i++)
            v += (char_at(r, i) - '0') * (scale /= 10);
    *value = v;
    return i - at;
}

static struct slice lower_of(const struct piece *p)
{
    return slice_make(p->lower, p->n);
}

static bool is_kind(const struct guard_word *w, enum guard_word_kind kind)
{
    return w && w->kinds & (1u << kind);
}

static int unit_of(struct slice word)
{
    const struct guard_word *w = word.n ? guard_word_find(word) : NULL;

    return is_kind(w, GUARD_WORD_UNIT) ? (int)w->values[GUARD_WORD_UNIT] : 0;
}

/* What is one name to the letter: letters and digits or inner marks together (x86_64, v1.2.3,
 * a@b.org, file.txt, http://...). */
static bool is_name_char(unsigned char c)
{
    return is_letter(c) || is_digit(c) || (c && memchr("_@/\\.:-#&=?+~%", c, 15));
}

static size_t name_length(const struct reader *r, size_t at)
{
    size_t i = at;

    while (i < r->text.n && is_name_char(char_at(r, i)) && !sign_length(r, i))
        i++;
    return i - at;
}

/* "file.txt" and "quora.com", but not "e.g", "U.S.A" or "so..then": both sides of the dot are
 * longer than a letter. */
static bool is_dotted(struct slice s, size_t at)
{
    size_t before = 0, after = 0;

    while (before < at && is_letter((unsigned char)s.p[at - before - 1]))
        before++;
    while (at + after + 1 < s.n && is_letter((unsigned char)s.p[at + after + 1]))
        after++;
    return s.p[at] == '.' && before > 1 && after > 1;
}

static bool is_name(struct slice s)
{
    size_t letters = 0, digits = 0, humps = 0;
    bool special = false;

    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool inner = i > 0 && i + 1 < s.n;
        letters += is_letter(c);
        digits += is_digit(c);
        humps += inner && c >= 'A' && c <= 'Z' && s.p[i - 1] >= 'a' && s.p[i - 1] <= 'z';
        special = special || (inner && (c == '@' || c == '_' || c == '\\')) ||
                  (inner && c == ':' && s.p[i + 1] == '/') || (inner && is_dotted(s, i));
    }
    /* One hump is a brand (YouTube, iPhone), two are an identifier (getElementById). */
    return letters > 0 &&
           (special || humps > 1 || (digits > 0 && is_letter((unsigned char)s.p[0])));
}

static struct slice trim_marks(struct slice s)
{
    while (s.n && memchr(".:-?&/%+~#=\\", s.p[s.n - 1], 12))
        s.n--;
    return s;
}

/* An apostrophe between letters, straight or curly. */
static size_t apostrophe_length(const struct reader *r, size_t at)
{
    size_t n = char_at(r, at) == '\'' ? 1
               : char_at(r, at) == 0xe2 && char_at(r, at + 1) == 0x80 && char_at(r, at + 2) == 0x99
                   ? 3
                   : 0;

    return n && is_letter(char_at(r, at + n)) && !sign_length(r, at + n) ? n : 0;
}

static size_t word_length(const struct reader *r, size_t at)
{
    size_t i = at;

    for (;;) {
        size_t apostrophe = i > at ? apostrophe_length(r, i) : 0;
        if (apostrophe)
            i += apostrophe;
        else if (is_letter(char_at(r, i)) && !sign_length(r, i))
            i++;
        else
            return i - at;
    }
}

static void cut_number(struct reader *r, struct piece *p)
{
    size_t n = number_length(r, r->at, &p->value), tail;

    p->kind = PIECE_NUMBER;
    p->text = slice_make(r->text.p + r->at, n);
    r->at += n;
    tail = word_length(r, r->at);
    if (tail <= 5) { /* "5km"; more is a name and was cut as one */
        p->suffix = slice_make(r->text.p + r->at, tail);
        r->at += tail;
    }
}

/* The next piece of the text into r->next. */
static void cut(struct reader *r)
{
    struct piece *p = &r->next;

    memset(p, 0, sizeof *p);
    for (size_t sign; r->at < r->text.n; r->at += sign ? sign : 1) {
        unsigned char c = char_at(r, r->at);
        sign = sign_length(r, r->at);
        if (!sign && (is_letter(c) || is_digit(c))) {
            struct slice whole = trim_marks(slice_make(r->text.p + r->at, name_length(r, r->at)));
            p->starts = r->sentence;
            r->sentence = false;
            p->capital = c >= 'A' && c <= 'Z';
            if (is_name(whole)) {
                p->kind = PIECE_NAME;
                p->text = whole;
                r->at += whole.n;
            } else if (is_digit(c)) {
                cut_number(r, p);
            } else {
                p->kind = PIECE_WORD;
                p->text = slice_make(r->text.p + r->at, word_length(r, r->at));
                r->at += p->text.n;
            }
            lower_into(p);
            return;
        }
        if (c == '.' || c == '!' || c == '?' || c == '\n')
            r->sentence = true;
        if (c == '$' || c == '%' || sign) {
            p->text = slice_make(r->text.p + r->at, sign ? sign : 1);
            lower_into(p);
            if (unit_of(lower_of(p))) {
                p->kind = PIECE_SIGN;
                r->at += p->text.n;
                return;
            }
        }
    }
}

/* ---- noting ---- */

#define NOTE(f, array, count, max, value)                                                          \
    do {                                                                                           \
        if ((f)->count < (max))                                                                    \
            (f)->array[(f)->count++] = (value);                                                    \
        else                                                                                       \
            (f)->overflow = true;                                                                  \
    } while (0)

static int unit_of_piece(const struct piece *p)
{
    return p->kind == PIECE_WORD || p->kind == PIECE_SIGN ? unit_of(lower_of(p)) : 0;
}

static void note_number(struct reader *r, double value, int unit, bool loose)
{
    struct guard_number number = {value, (uint16_t)unit, loose};

    NOTE(r->f, numbers, number_count, GUARD_MAX_NUMBERS, number);
}

static void note_word(struct reader *r, const struct piece *p)
{
    struct guard_facts *f = r->f;
    uint32_t stem = guard_stem(lower_of(p));

    NOTE(f, words, word_count, GUARD_MAX_WORDS, stem);
    if (r->direction) {
        struct guard_pair d = {stem, (uint32_t)r->direction};
        NOTE(f, directions, direction_count, GUARD_MAX_MARKS, d);
    }
    if (p->capital && !p->starts)
        NOTE(f, proper, proper_count, GUARD_MAX_NAMES, stem);
}

/* un-, in-, im-, il-, ir-, dis-, non-, de-: only matters when the other text has the bare word. */
static void note_prefix(struct reader *r, const struct piece *p)
{
    static const struct slice prefixes[] = {{"un", 2},  {"in", 2}, {"im", 2},
                                            {"il", 2},  {"ir", 2}, {"dis", 3},
                                            {"non", 3}, {"de", 2}, {"anti", 4}};
    struct slice w = lower_of(p);

    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (w.n > prefixes[i].n + 3 && slice_starts(w, prefixes[i])) {
            struct guard_pair bare = {guard_stem(w), guard_stem(slice_from(w, prefixes[i].n))};
            NOTE(r->f, bare, bare_count, GUARD_MAX_MARKS, bare);
        }
}

static void note_sides(struct reader *r, const struct piece *p)
{
    uint16_t found[8];
    size_t n = guard_word_sides(guard_stem(lower_of(p)), found, 8);

    for (size_t i = 0; i < n; i++)
        NOTE(r->f, sides, side_count, GUARD_MAX_MARKS, found[i]);
}

/* ---- number words ---- */

static void end_number(struct reader *r)
{
    if (r->in_number)
        note_number(r, r->sum + r->group, unit_of_piece(&r->now), false);
    r->in_number = false;
    r->sum = r->group = 0;
}

/* Adds a number word to the one that is being read. false: it is none. */
static bool take_number_word(struct reader *r, const struct guard_word *w)
{
    bool one = is_kind(w, GUARD_WORD_ONE);
    double value;

    if (is_kind(w, GUARD_WORD_MULTIPLIER)) {
        value = w->values[GUARD_WORD_MULTIPLIER];
        if (!r->in_number && r->last.kind == PIECE_NUMBER && r->after_number)
            return false; /* "5 million": taken with the digits */
        if (!r->in_number)
            r->group = 1;
        r->in_number = true;
        r->group = (r->group > 0 ? r->group : 1) * value;
        if (value >= 1000) {
            r->sum += r->group;
            r->group = 0;
        }
        return true;
    }
    if (one) { /* a number only in company: "one hundred", "one day", "twenty-one" */
        const struct guard_word *next =
            r->next.kind == PIECE_WORD ? guard_word_find(lower_of(&r->next)) : NULL;
        if (!r->in_number && !is_kind(next, GUARD_WORD_MULTIPLIER) &&
            !is_kind(next, GUARD_WORD_UNIT))
            return false;
        value = 1;
    } else if (is_kind(w, GUARD_WORD_NUMBER)) {
        value = w->values[GUARD_WORD_NUMBER];
    } else {
        return false;
    }
    /* "twenty five" adds up; "two three" are two numbers. */
    if (r->in_number && !(value < 10 && fmod(r->group, 10) == 0 && r->group >= 20) &&
        !(fmod(r->group, 100) == 0 && value < 100))
        end_number(r);
    r->in_number = true;
    r->group += value;
    return true;
}

static bool is_ordinal(struct slice suffix)
{
    return slice_eq(suffix, SLICE("st")) || slice_eq(suffix, SLICE("nd")) ||
           slice_eq(suffix, SLICE("rd")) || slice_eq(suffix, SLICE("th"));
}

/* World War II: two and more letters, all capital. */
static double roman_value(struct slice s)
{
    static const char letters[] = "IVXLC";
    static const int values[] = {1, 5, 10, 50, 100};
    int sum = 0, before = 0;

    if (s.n < 2 || s.n > 6)
        return 0;
    for (size_t i = s.n; i-- > 0;) {
        const char *at = s.p[i] ? strchr(letters, s.p[i]) : NULL;
        int v = at ? values[at - letters] : 0;
        if (!v)
            return 0;
        sum += v < before ? -v : v;
        before = v;
    }
    return sum < 40 ? sum : 0; /* XL is a size, CC an address line, MIX a word */
}

static void take_digits(struct reader *r)
{
    const struct piece *p = &r->now;
    struct piece suffix = {.text = p->suffix};
    const struct guard_word *next = NULL;
    double value = p->value;
    int unit = 0;

    lower_into(&suffix);
    if (suffix.n == 1 && suffix.lower[0] == 'k')
        value *= 1000;
    else
        unit = unit_of(lower_of(&suffix));
    if (!unit && r->last.kind == PIECE_SIGN)
        unit = unit_of_piece(&r->last);
    if (r->next.kind == PIECE_WORD)
        next = guard_word_find(lower_of(&r->next));
    if (is_kind(next, GUARD_WORD_MULTIPLIER))
        value *= next->values[GUARD_WORD_MULTIPLIER];
    else if (!unit)
        unit = unit_of_piece(&r->next);
    note_number(r, value, unit, is_ordinal(lower_of(&suffix)));
}

/* ---- words ---- */

static void take_time(struct reader *r, const struct guard_word *w)
{
    const struct piece *p = &r->now;
    int time = 0;

    if (is_kind(w, GUARD_WORD_TIME))
        time = (int)w->values[GUARD_WORD_TIME];
    else if (is_kind(w, GUARD_WORD_MONTH_IF_CAPITAL) && p->capital && !p->starts)
        time = (int)w->values[GUARD_WORD_MONTH_IF_CAPITAL];
    if (time)
        NOTE(r->f, times, time_count, GUARD_MAX_MARKS, (uint16_t)time);
    /* "last week", "next Friday" */
    if (r->after_relative && (time || is_kind(w, GUARD_WORD_UNIT))) {
        const struct guard_word *before = guard_word_find(lower_of(&r->last));
        int unit = time ? time : 100 + (int)w->values[GUARD_WORD_UNIT];
        int relative = 1000 * (int)before->values[GUARD_WORD_RELATIVE] + unit;
        NOTE(r->f, times, time_count, GUARD_MAX_MARKS, (uint16_t)relative);
    }
}

static bool negates(const struct piece *p, const struct guard_word *w)
{
    struct slice text = lower_of(p);

    return is_kind(w, GUARD_WORD_NEGATION) ||
           (text.n > 3 && memcmp(text.p + text.n - 2, "'t", 2) == 0) ||
           (text.n > 5 && memcmp(text.p + text.n - 4, "\xe2\x80\x99t", 4) == 0);
}

static void take_word(struct reader *r)
{
    const struct piece *p = &r->now;
    const struct guard_word *w = guard_word_find(lower_of(p));
    double roman = roman_value(p->text);
    bool is_number = take_number_word(r, w) || roman > 0;
    bool negation = negates(p, w) && !slice_eq(lower_of(&r->last), SLICE("or"));

    if (!is_number || roman > 0)
        end_number(r);
    if (roman > 0)
        note_number(r, roman, 0, false);
    if (is_kind(w, GUARD_WORD_LOOSE))
        note_number(r, w->values[GUARD_WORD_LOOSE], 0, true);
    if (is_kind(w, GUARD_WORD_ORDINAL_OR_UNIT) && !r->after_number)
        note_number(r, w->values[GUARD_WORD_ORDINAL_OR_UNIT], 0, true);
    r->f->symmetric = r->f->symmetric || is_kind(w, GUARD_WORD_SYMMETRIC);
    if (is_kind(w, GUARD_WORD_QUESTION))
        r->f->questions |= 1u << (int)w->values[GUARD_WORD_QUESTION];
    r->f->negations += negation;
    take_time(r, w);
    note_sides(r, p);
    if (!is_number && !negation && !is_kind(w, GUARD_WORD_STOP) && !is_kind(w, GUARD_WORD_TIME)) {
        note_word(r, p);
        note_prefix(r, p);
    }
    if (is_kind(w, GUARD_WORD_DIRECTION))
        r->direction = (int)w->values[GUARD_WORD_DIRECTION];
    else if (!is_kind(w, GUARD_WORD_STOP) || w->kinds & ~(1u << GUARD_WORD_STOP))
        r->direction = 0; /* "from the city": the article does not end it */
    r->after_relative = is_kind(w, GUARD_WORD_RELATIVE);
    r->after_number = false;
}

static void take_name(struct reader *r)
{
    struct piece *p = &r->now;
    double value;

    end_number(r);
    NOTE(r->f, names, name_count, GUARD_MAX_NAMES, guard_hash(lower_of(p)));
    note_word(r, p);
    /* gpt-4 and gpt-5: their numbers count as numbers, too, for whoever turns the names off. */
    for (size_t i = 0; i < p->n; i++)
        if (is_digit((unsigned char)p->lower[i])) {
            struct reader inner = {.text = slice_make(p->lower, p->n)};
            size_t n = number_length(&inner, i, &value);
            note_number(r, value, 0, false);
            i += n ? n - 1 : 0;
        }
    r->direction = 0;
    r->after_relative = r->after_number = false;
}

static void take(struct reader *r)
{
    switch (r->now.kind) {
    case PIECE_WORD:
        take_word(r);
        break;
    case PIECE_NUMBER:
        end_number(r);
        take_digits(r);
        r->after_relative = false;
        r->after_number = true;
        r->direction = 0;
        break;
    case PIECE_NAME:
        take_name(r);
        break;
    case PIECE_SIGN:
    case PIECE_END:
        end_number(r);
        break;
    }
}

/* ---- sorting ---- */

static int by_number(const void *a, const void *b)
{
    const struct guard_number *x = a, *y = b;

    if (x->loose != y->loose)
        return x->loose ? 1 : -1;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return (x->unit > y->unit) - (x->unit < y->unit);
}

static int by_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static int by_u16(const void *a, const void *b)
{
    uint16_t x = *(const uint16_t *)a, y = *(const uint16_t *)b;

    return (x > y) - (x < y);
}

void guard_read(struct slice text, struct guard_facts *out)
{
    struct reader r = {.text = text, .f = out, .sentence = true};

    memset(out, 0, sizeof *out);
    if (text.n > GUARD_MAX_BYTES) {
        out->overflow = true;
        return;
    }
    for (cut(&r);;) {
        r.last = r.now;
        r.now = r.next;
        if (r.now.kind == PIECE_END)
            break;
        cut(&r);
        take(&r);
    }
    end_number(&r);
    qsort(out->numbers, out->number_count, sizeof out->numbers[0], by_number);
    memcpy(out->sorted, out->words, out->word_count * sizeof out->words[0]);
    qsort(out->sorted, out->word_count, sizeof out->sorted[0], by_u32);
    qsort(out->times, out->time_count, sizeof out->times[0], by_u16);
    qsort(out->sides, out->side_count, sizeof out->sides[0], by_u16);
    qsort(out->names, out->name_count, sizeof out->names[0], by_u32);
    qsort(out->proper, out->proper_count, sizeof out->proper[0], by_u32);
}

/* ---- comparing ---- */

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
    return bsearch(&x, all, n, sizeof x, by_u16) != NULL;
}

static bool has_word(const struct guard_facts *f, uint32_t stem)
{
    return bsearch(&stem, f->sorted, f->word_count, sizeof stem, by_u32) != NULL;
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
