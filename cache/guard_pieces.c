/* Cutting. Owns nothing. Called by guard_read.c. */
#include "cache/guard_pieces.h"

#include "base/ascii.h"
#include "cache/guard_words.h"

static bool is_letter(unsigned char c)
{
    return c >= 0x80 || ascii_is_letter((char)c);
}

void guard_piece_fold(struct guard_piece *p)
{
    p->n = p->text.n < GUARD_PIECE_BYTES ? p->text.n : GUARD_PIECE_BYTES;
    for (size_t i = 0; i < p->n; i++)
        p->lower[i] = ascii_lower(p->text.p[i]);
    p->lower[p->n] = '\0';
}

static unsigned char char_at(const struct guard_pieces *r, size_t i)
{
    return i < r->text.n ? (unsigned char)r->text.p[i] : 0;
}

/* Bytes of a character beyond ASCII that is no letter: spaces, quotes, dashes, currency and
 * mathematical signs (U+0080-BF, U+2000-23FF, U+3000-303F); 0: it is one. */
static size_t sign_length(const struct guard_pieces *r, size_t at)
{
    unsigned char a = char_at(r, at), b = char_at(r, at + 1);

    if (a == 0xc2)
        return 2;
    return (a == 0xe2 && b >= 0x80 && b <= 0x8f) || (a == 0xe3 && b == 0x80) ? 3 : 0;
}

size_t guard_pieces_number(const struct guard_pieces *r, size_t at, double *value)
{
    double v = 0, scale = 1;
    size_t i = at;

    for (; i < r->text.n; i++) {
        unsigned char c = char_at(r, i);
        if (ascii_is_digit((char)c))
            v = v * 10 + (c - '0');
        else if (!(c == ',' && ascii_is_digit(char_at(r, i + 1)) &&
                   ascii_is_digit(char_at(r, i + 2)) && ascii_is_digit(char_at(r, i + 3)) &&
                   !ascii_is_digit(char_at(r, i + 4))))
            break;
    }
    if (char_at(r, i) == '.' && ascii_is_digit(char_at(r, i + 1)))
        for (i++; ascii_is_digit(char_at(r, i)); i++)
            v += (char_at(r, i) - '0') * (scale /= 10);
    *value = v;
    return i - at;
}

/* What is one name to the letter: letters and digits or inner marks together (x86_64, v1.2.3,
 * a@b.org, file.txt, http://...). */
static bool is_name_char(unsigned char c)
{
    return is_letter(c) || ascii_is_digit((char)c) || (c && memchr("_@/\\.:-#&=?+~%", c, 15));
}

static size_t name_length(const struct guard_pieces *r, size_t at)
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
        digits += ascii_is_digit((char)c);
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
static size_t apostrophe_length(const struct guard_pieces *r, size_t at)
{
    size_t n = char_at(r, at) == '\'' ? 1
               : char_at(r, at) == 0xe2 && char_at(r, at + 1) == 0x80 && char_at(r, at + 2) == 0x99
                   ? 3
                   : 0;

    return n && is_letter(char_at(r, at + n)) && !sign_length(r, at + n) ? n : 0;
}

static size_t word_length(const struct guard_pieces *r, size_t at)
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

static void cut_number(struct guard_pieces *r, struct guard_piece *p)
{
    size_t n = guard_pieces_number(r, r->at, &p->value), tail;

    p->kind = GUARD_PIECE_NUMBER;
    p->text = slice_make(r->text.p + r->at, n);
    r->at += n;
    tail = word_length(r, r->at);
    if (tail <= 5) { /* "5km"; more is a name and was cut as one */
        p->suffix = slice_make(r->text.p + r->at, tail);
        r->at += tail;
    }
}

void guard_pieces_next(struct guard_pieces *r, struct guard_piece *p)
{
    memset(p, 0, sizeof *p);
    for (size_t sign; r->at < r->text.n; r->at += sign ? sign : 1) {
        unsigned char c = char_at(r, r->at);
        sign = sign_length(r, r->at);
        if (!sign && (is_letter(c) || ascii_is_digit((char)c))) {
            struct slice whole = trim_marks(slice_make(r->text.p + r->at, name_length(r, r->at)));
            p->starts = r->sentence;
            r->sentence = false;
            p->capital = ascii_is_upper((char)c);
            if (is_name(whole)) {
                p->kind = GUARD_PIECE_NAME;
                p->text = whole;
                r->at += whole.n;
            } else if (ascii_is_digit((char)c)) {
                cut_number(r, p);
            } else {
                p->kind = GUARD_PIECE_WORD;
                p->text = slice_make(r->text.p + r->at, word_length(r, r->at));
                r->at += p->text.n;
            }
            guard_piece_fold(p);
            return;
        }
        if (c == '.' || c == '!' || c == '?' || c == '\n')
            r->sentence = true;
        if (c == '$' || c == '%' || sign) {
            p->text = slice_make(r->text.p + r->at, sign ? sign : 1);
            guard_piece_fold(p);
            if (guard_word_unit(guard_piece_lower(p))) {
                p->kind = GUARD_PIECE_SIGN;
                r->at += p->text.n;
                return;
            }
        }
    }
}
