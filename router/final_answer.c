/* Reads the end of answers. Called by confidence_agreement.c. */
#include "router/final_answer.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/ascii.h"
#include "router/plain_text.h"

#define NUMBER_BYTES 40  /* a longer one is compared as text */
#define MAX_WORDS    512 /* of a text, that are looked at */

/* ---- where it stands ---- */

static bool is_blank(char c)
{
    return (unsigned char)c < 0x80 && isspace((unsigned char)c);
}

static struct slice first_line(struct slice s)
{
    const char *end = s.n ? memchr(s.p, '\n', s.n) : NULL;

    return end ? slice_make(s.p, (size_t)(end - s.p)) : s;
}

/* The first line that says something. */
static struct slice line_of(struct slice s)
{
    while (s.n && (is_blank(s.p[0]) || s.p[0] == '*'))
        s = slice_from(s, 1);
    return first_line(s);
}

static struct slice last_line(struct slice s)
{
    size_t at;

    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    for (at = s.n; at > 0 && s.p[at - 1] != '\n'; at--)
        ;
    return slice_from(s, at);
}

/* Behind the last mark; false: there is none. */
static bool behind_last(struct slice s, struct slice mark, struct slice *out)
{
    for (size_t at = s.n >= mark.n ? s.n - mark.n + 1 : 0; at-- > 0;)
        if (memcmp(s.p + at, mark.p, mark.n) == 0) {
            *out = slice_from(s, at + mark.n);
            return true;
        }
    return false;
}

static bool in_box(struct slice s, struct slice *out)
{
    struct slice inside;
    int depth = 1;

    if (!behind_last(s, SLICE("\\boxed{"), &inside))
        return false;
    for (size_t i = 0; i < inside.n; i++) {
        depth += inside.p[i] == '{';
        depth -= inside.p[i] == '}';
        if (depth == 0) {
            *out = slice_make(inside.p, i);
            return true;
        }
    }
    return false;
}

/* Reasons that follow it on the line are no part of it. */
static struct slice without_reasons(struct slice s)
{
    static const char *const ends[] = {". ",      "; ",         " because ",
                                       " since ", ", because ", ", since "};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const char *end = s.n ? memmem(s.p, s.n, ends[i], strlen(ends[i])) : NULL;
        if (end && (ends[i][0] != '.' || end > s.p + 2)) /* "B. Paris" goes on */
            s.n = (size_t)(end - s.p);
    }
    return s;
}

/* "answer is", "answer:", "**Answer**: ..."; s is what follows the word. */
static bool is_announced(struct slice s, struct slice *out)
{
    while (s.n && (s.p[0] == '*' || s.p[0] == ' ' || s.p[0] == '_'))
        s = slice_from(s, 1);
    if (s.n && s.p[0] == ':') {
        *out = slice_from(s, 1);
        return true;
    }
    if (s.n < 3 || strncasecmp(s.p, "is", 2) != 0 || !(is_blank(s.p[2]) || s.p[2] == ':'))
        return false;
    *out = slice_from(s, 3);
    while (out->n && (is_blank(out->p[0]) || out->p[0] == ':'))
        *out = slice_from(*out, 1);
    return true;
}

static bool behind_word(struct slice s, struct slice *out)
{
    const size_t n = sizeof "answer" - 1;

    for (size_t at = s.n >= n ? s.n - n + 1 : 0; at-- > 0;)
        if (strncasecmp(s.p + at, "answer", n) == 0 && is_announced(slice_from(s, at + n), out) &&
            line_of(*out).n) {
            *out = without_reasons(line_of(*out));
            return true;
        }
    return false;
}

/* ---- what it is ---- */

static struct slice without_word(struct slice s, const char *word)
{
    size_t n = strlen(word);

    return s.n > n && strncasecmp(s.p, word, n) == 0 && is_blank(s.p[n]) ? slice_from(s, n + 1) : s;
}

/* "B", "(b)", "B) Paris", "option B". */
static bool is_choice(struct slice s, char *letter)
{
    static const char *const words[] = {"option", "choice", "letter", "answer"};

    while (s.n && !ascii_is_letter(s.p[0]) && !ascii_is_digit(s.p[0]) &&
           (unsigned char)s.p[0] < 0x80)
        s = slice_from(s, 1);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        s = without_word(s, words[i]);
    while (s.n && (s.p[0] == '(' || s.p[0] == '*' || s.p[0] == '[' || s.p[0] == '"'))
        s = slice_from(s, 1);
    if (s.n == 0 || !ascii_is_letter(s.p[0]) || (s.n > 1 && !strchr(")]}.:,*\"'", s.p[1])))
        return false;
    *letter = (char)tolower((unsigned char)s.p[0]);
    return true;
}

/* The digits from s on, without the commas between thousands; how many bytes they are. */
static size_t read_digits(struct slice s, char *out, size_t room)
{
    size_t at = 0, n = 0;

    for (; at < s.n; at++) {
        bool comma = s.p[at] == ',' && at + 3 < s.n && ascii_is_digit(s.p[at + 1]) &&
                     ascii_is_digit(s.p[at + 2]) && ascii_is_digit(s.p[at + 3]);
        bool point = s.p[at] == '.' && at + 1 < s.n && ascii_is_digit(s.p[at + 1]);
        if (!ascii_is_digit(s.p[at]) && !comma && !point)
            break;
        if (!comma && n + 1 < room)
            out[n++] = s.p[at];
    }
    out[n] = '\0';
    return at;
}

static bool is_minus(struct slice s, size_t at)
{
    while (at > 0 && (s.p[at - 1] == '$' || s.p[at - 1] == ' '))
        at--;
    return at > 0 && s.p[at - 1] == '-' && (at == 1 || is_blank(s.p[at - 2]) || s.p[at - 2] == '=');
}

/* The one number in it. Dates, fractions, names with digits have more, or letters at them. */
static bool is_number(struct slice s, double *out)
{
    char digits[NUMBER_BYTES], *end;
    size_t from = 0, n;

    while (from < s.n && !ascii_is_digit(s.p[from]))
        from++;
    if (from == s.n || (from > 0 && (ascii_is_letter(s.p[from - 1]) || s.p[from - 1] == '/')))
        return false;
    n = read_digits(slice_from(s, from), digits, sizeof digits);
    if (n >= sizeof digits)
        return false;
    for (size_t i = from + n; i < s.n; i++)
        if (ascii_is_digit(s.p[i]))
            return false;
    *out = strtod(digits, &end);
    if (*end != '\0')
        return false;
    if (from > 0 && is_minus(s, from))
        *out = -*out;
    return true;
}

static struct final_answer read_kind(struct slice s)
{
    struct final_answer a = {.kind = FINAL_TEXT, .text = plain_text_core(s)};

    if (a.text.n == 0)
        a.kind = FINAL_NONE;
    else if (is_choice(s, &a.letter))
        a.kind = FINAL_LETTER;
    else if (is_number(s, &a.number))
        a.kind = FINAL_NUMBER;
    else if (a.text.n > FINAL_ANSWER_SHORT_BYTES)
        a.kind = FINAL_NONE;
    return a;
}

/* "3. Serve hot." ends a list; it answers nothing by itself. */
static bool is_item(struct slice s)
{
    size_t at = 0;

    while (at < s.n && ascii_is_digit(s.p[at]))
        at++;
    if (at > 0 && at < s.n && (s.p[at] == '.' || s.p[at] == ')'))
        at++;
    else if (at > 0 || s.n == 0 || (s.p[0] != '-' && s.p[0] != '*' && s.p[0] != '+'))
        return false;
    else
        at = 1;
    return at < s.n && is_blank(s.p[at]);
}

struct final_answer final_answer_find(struct slice text)
{
    struct slice found;
    struct final_answer a;

    if (text.n > FINAL_ANSWER_TAIL_BYTES)
        text = slice_from(text, text.n - FINAL_ANSWER_TAIL_BYTES);
    if (in_box(text, &found))
        return read_kind(found);
    if (behind_last(text, SLICE("####"), &found) && line_of(found).n)
        return read_kind(line_of(found));
    if (behind_word(text, &found))
        return read_kind(found);
    if (plain_text_core(text).n <= FINAL_ANSWER_SHORT_BYTES)
        return read_kind(text);
    found = last_line(text);
    a = plain_text_core(found).n <= FINAL_ANSWER_SHORT_BYTES && !is_item(found)
            ? read_kind(found)
            : (struct final_answer){.kind = FINAL_NONE};
    if (a.kind == FINAL_TEXT) /* "Hope this helps!" is no answer */
        a.kind = FINAL_NONE;
    return a;
}

bool final_answer_same(const struct final_answer *a, const struct final_answer *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case FINAL_NONE:
        return false;
    case FINAL_LETTER:
        return a->letter == b->letter;
    case FINAL_NUMBER:
        return fabs(a->number - b->number) <= 1e-9 * fmax(fabs(a->number), fabs(b->number));
    case FINAL_TEXT:
        return plain_text_same(a->text, b->text);
    }
    return false;
}

/* ---- likeness ---- */

static bool is_word(char c)
{
    return (unsigned char)c >= 0x80 || isalnum((unsigned char)c);
}

static uint64_t hash_word(struct slice w)
{
    uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */

    for (size_t i = 0; i < w.n; i++) {
        unsigned char c = (unsigned char)w.p[i];
        h = (h ^ (unsigned char)(c < 0x80 ? tolower(c) : c)) * UINT64_C(1099511628211);
    }
    return h;
}

static int compare_words(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

    return (a > b) - (a < b);
}

/* Hashes of the words, sorted, each once. */
static size_t words_of(struct slice s, uint64_t out[MAX_WORDS])
{
    size_t n = 0, kept = 0;

    for (size_t at = 0; at < s.n && n < MAX_WORDS; at++) {
        size_t from = at;
        while (at < s.n && is_word(s.p[at]))
            at++;
        if (at > from)
            out[n++] = hash_word(slice_make(s.p + from, at - from));
    }
    if (n == 0)
        return 0;
    qsort(out, n, sizeof *out, compare_words);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || out[kept - 1] != out[i])
            out[kept++] = out[i];
    return kept;
}

double final_answer_likeness(struct slice a, struct slice b)
{
    uint64_t x[MAX_WORDS], y[MAX_WORDS];
    size_t n = words_of(a, x), m = words_of(b, y), shared = 0;

    for (size_t i = 0, j = 0; i < n && j < m;) {
        shared += x[i] == y[j];
        if (x[i] == y[j])
            i++, j++;
        else if (x[i] < y[j])
            i++;
        else
            j++;
    }
    return n + m ? (double)shared / (double)(n + m - shared) : 0;
}
