/* Reading a text into facts: each piece is looked at once, with one piece of context on either
 * side. Pure. */
#include "cache/guard.h"

#include <math.h>
#include <stdlib.h>
#include "base/ascii.h"
#include "cache/guard_int.h"
#include "cache/guard_pieces.h"
#include "cache/guard_words.h"

struct reader {
    struct guard_pieces pieces;
    struct guard_facts *f;
    struct guard_piece last, now, next; /* `now` is being looked at */
    bool after_relative, after_number;  /* the word before `now` was one */
    int direction;                      /* of the word before `now`; 0 none */
    bool in_number;                     /* number words are being added up */
    double sum, group;                  /* twenty-five thousand three: 25000 + 3 */
    bool quoted;
};

/* ---- noting ---- */

#define NOTE(f, array, count, max, value)                                                          \
    do {                                                                                           \
        if ((f)->count < (max))                                                                    \
            (f)->array[(f)->count++] = (value);                                                    \
        else                                                                                       \
            (f)->overflow = true;                                                                  \
    } while (0)

static int unit_of_piece(const struct guard_piece *p)
{
    return p->kind == GUARD_PIECE_WORD || p->kind == GUARD_PIECE_SIGN
               ? guard_word_unit(guard_piece_lower(p))
               : 0;
}

static void note_number(struct reader *r, double value, int unit, bool loose)
{
    struct guard_number number = {value, (uint16_t)unit, loose};

    NOTE(r->f, numbers, number_count, GUARD_MAX_NUMBERS, number);
}

static void note_word(struct reader *r, const struct guard_piece *p)
{
    struct guard_facts *f = r->f;
    uint32_t stem = guard_stem(guard_piece_lower(p));

    NOTE(f, words, word_count, GUARD_MAX_WORDS, stem);
    if (r->direction) {
        struct guard_pair d = {stem, (uint32_t)r->direction};
        NOTE(f, directions, direction_count, GUARD_MAX_MARKS, d);
    }
    if (p->capital && !p->starts)
        NOTE(f, proper, proper_count, GUARD_MAX_NAMES, stem);
}

/* un-, in-, im-, il-, ir-, dis-, non-, de-: only matters when the other text has the bare word. */
static void note_prefix(struct reader *r, const struct guard_piece *p)
{
    static const struct slice prefixes[] = {{"un", 2},  {"in", 2}, {"im", 2},
                                            {"il", 2},  {"ir", 2}, {"dis", 3},
                                            {"non", 3}, {"de", 2}, {"anti", 4}};
    struct slice w = guard_piece_lower(p);

    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (w.n > prefixes[i].n + 3 && slice_starts(w, prefixes[i])) {
            struct guard_pair bare = {guard_stem(w), guard_stem(slice_from(w, prefixes[i].n))};
            NOTE(r->f, bare, bare_count, GUARD_MAX_MARKS, bare);
        }
}

static void note_sides(struct reader *r, const struct guard_piece *p)
{
    uint16_t found[8];
    size_t n = guard_word_sides(guard_stem(guard_piece_lower(p)), found, 8);

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
    bool one = guard_word_is(w, GUARD_WORD_ONE);
    double value;

    if (guard_word_is(w, GUARD_WORD_MULTIPLIER)) {
        value = w->values[GUARD_WORD_MULTIPLIER];
        if (!r->in_number && r->last.kind == GUARD_PIECE_NUMBER && r->after_number)
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
            r->next.kind == GUARD_PIECE_WORD ? guard_word_find(guard_piece_lower(&r->next)) : NULL;
        if (!r->in_number && !guard_word_is(next, GUARD_WORD_MULTIPLIER) &&
            !guard_word_is(next, GUARD_WORD_UNIT))
            return false;
        value = 1;
    } else if (guard_word_is(w, GUARD_WORD_NUMBER)) {
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
    const struct guard_piece *p = &r->now;
    struct guard_piece suffix = {.text = p->suffix};
    const struct guard_word *next = NULL;
    double value = p->value;
    int unit = 0;

    guard_piece_fold(&suffix);
    if (suffix.n == 1 && suffix.lower[0] == 'k')
        value *= 1000;
    else
        unit = guard_word_unit(guard_piece_lower(&suffix));
    if (!unit && r->last.kind == GUARD_PIECE_SIGN)
        unit = unit_of_piece(&r->last);
    if (r->next.kind == GUARD_PIECE_WORD)
        next = guard_word_find(guard_piece_lower(&r->next));
    if (guard_word_is(next, GUARD_WORD_MULTIPLIER))
        value *= next->values[GUARD_WORD_MULTIPLIER];
    else if (!unit)
        unit = unit_of_piece(&r->next);
    note_number(r, value, unit, is_ordinal(guard_piece_lower(&suffix)));
}

/* ---- words ---- */

static void take_time(struct reader *r, const struct guard_word *w)
{
    const struct guard_piece *p = &r->now;
    int time = 0;

    if (guard_word_is(w, GUARD_WORD_TIME))
        time = (int)w->values[GUARD_WORD_TIME];
    else if (guard_word_is(w, GUARD_WORD_MONTH_IF_CAPITAL) && p->capital && !p->starts)
        time = (int)w->values[GUARD_WORD_MONTH_IF_CAPITAL];
    if (time)
        NOTE(r->f, times, time_count, GUARD_MAX_MARKS, (uint16_t)time);
    /* "last week", "next Friday" */
    if (r->after_relative && (time || guard_word_is(w, GUARD_WORD_UNIT))) {
        const struct guard_word *before = guard_word_find(guard_piece_lower(&r->last));
        int unit = time ? time : 100 + (int)w->values[GUARD_WORD_UNIT];
        int relative = 1000 * (int)before->values[GUARD_WORD_RELATIVE] + unit;
        NOTE(r->f, times, time_count, GUARD_MAX_MARKS, (uint16_t)relative);
    }
}

static bool negates(const struct guard_piece *p, const struct guard_word *w)
{
    struct slice text = guard_piece_lower(p);

    return guard_word_is(w, GUARD_WORD_NEGATION) ||
           (text.n > 3 && memcmp(text.p + text.n - 2, "'t", 2) == 0) ||
           (text.n > 5 && memcmp(text.p + text.n - 4, "\xe2\x80\x99t", 4) == 0);
}

static void take_word(struct reader *r)
{
    const struct guard_piece *p = &r->now;
    const struct guard_word *w = guard_word_find(guard_piece_lower(p));
    double roman = roman_value(p->text);
    bool is_number = take_number_word(r, w) || roman > 0;
    bool negation = negates(p, w) && !slice_eq(guard_piece_lower(&r->last), SLICE("or"));

    if (!is_number || roman > 0)
        end_number(r);
    if (roman > 0)
        note_number(r, roman, 0, false);
    if (guard_word_is(w, GUARD_WORD_LOOSE))
        note_number(r, w->values[GUARD_WORD_LOOSE], 0, true);
    if (guard_word_is(w, GUARD_WORD_ORDINAL_OR_UNIT) && !r->after_number)
        note_number(r, w->values[GUARD_WORD_ORDINAL_OR_UNIT], 0, true);
    r->f->symmetric = r->f->symmetric || guard_word_is(w, GUARD_WORD_SYMMETRIC);
    if (guard_word_is(w, GUARD_WORD_QUESTION))
        r->f->questions |= 1u << (int)w->values[GUARD_WORD_QUESTION];
    r->f->negations += negation;
    take_time(r, w);
    note_sides(r, p);
    if (!is_number && !negation && !guard_word_is(w, GUARD_WORD_STOP) &&
        !guard_word_is(w, GUARD_WORD_TIME)) {
        note_word(r, p);
        note_prefix(r, p);
    }
    if (guard_word_is(w, GUARD_WORD_DIRECTION))
        r->direction = (int)w->values[GUARD_WORD_DIRECTION];
    else if (!guard_word_is(w, GUARD_WORD_STOP) || w->kinds & ~(1u << GUARD_WORD_STOP))
        r->direction = 0; /* "from the city": the article does not end it */
    r->after_relative = guard_word_is(w, GUARD_WORD_RELATIVE);
    r->after_number = false;
}

static void take_name(struct reader *r)
{
    struct guard_piece *p = &r->now;
    double value;

    end_number(r);
    NOTE(r->f, names, name_count, GUARD_MAX_NAMES, guard_hash(guard_piece_lower(p)));
    note_word(r, p);
    /* gpt-4 and gpt-5: their numbers count as numbers, too, for whoever turns the names off. */
    for (size_t i = 0; i < p->n; i++)
        if (ascii_is_digit(p->lower[i])) {
            const struct guard_pieces inner = {.text = guard_piece_lower(p)};
            size_t n = guard_pieces_number(&inner, i, &value);
            note_number(r, value, 0, false);
            i += n ? n - 1 : 0;
        }
    r->direction = 0;
    r->after_relative = r->after_number = false;
}

static void take(struct reader *r)
{
    switch (r->now.kind) {
    case GUARD_PIECE_WORD:
        take_word(r);
        break;
    case GUARD_PIECE_NUMBER:
        end_number(r);
        take_digits(r);
        r->after_relative = false;
        r->after_number = true;
        r->direction = 0;
        break;
    case GUARD_PIECE_NAME:
        take_name(r);
        break;
    case GUARD_PIECE_SIGN:
    case GUARD_PIECE_END:
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

int guard_by_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

int guard_by_u16(const void *a, const void *b)
{
    uint16_t x = *(const uint16_t *)a, y = *(const uint16_t *)b;

    return (x > y) - (x < y);
}

void guard_read(struct slice text, struct guard_facts *out)
{
    struct reader r = {.pieces = {.text = text, .sentence = true}, .f = out};

    memset(out, 0, sizeof *out);
    if (text.n > GUARD_MAX_BYTES) {
        out->overflow = true;
        return;
    }
    for (guard_pieces_next(&r.pieces, &r.next);;) {
        r.last = r.now;
        r.now = r.next;
        if (r.now.kind == GUARD_PIECE_END)
            break;
        guard_pieces_next(&r.pieces, &r.next);
        take(&r);
    }
    end_number(&r);
    qsort(out->numbers, out->number_count, sizeof out->numbers[0], by_number);
    memcpy(out->sorted, out->words, out->word_count * sizeof out->words[0]);
    qsort(out->sorted, out->word_count, sizeof out->sorted[0], guard_by_u32);
    qsort(out->times, out->time_count, sizeof out->times[0], guard_by_u16);
    qsort(out->sides, out->side_count, sizeof out->sides[0], guard_by_u16);
    qsort(out->names, out->name_count, sizeof out->names[0], guard_by_u32);
    qsort(out->proper, out->proper_count, sizeof out->proper[0], guard_by_u32);
}
