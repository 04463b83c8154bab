/* A text cut into words (letters with inner apostrophes, anything beyond ASCII included), numbers,
 * names that are one to the letter (x86_64, a@b.org) and signs that are units. Pure; any thread. */
#ifndef CACHE_GUARD_PIECES_H
#define CACHE_GUARD_PIECES_H

#include <stdbool.h>
#include "base/slice.h"

#define GUARD_PIECE_BYTES 63

enum guard_piece_kind {
    GUARD_PIECE_END,
    GUARD_PIECE_WORD,
    GUARD_PIECE_NUMBER,
    GUARD_PIECE_NAME,
    GUARD_PIECE_SIGN
};

struct guard_piece {
    enum guard_piece_kind kind;
    struct slice text;                 /* as written */
    char lower[GUARD_PIECE_BYTES + 1]; /* NUL-terminated; what is longer is cut */
    size_t n;                          /* of lower */
    bool capital, starts;              /* first letter; first word of a sentence */
    double value;                      /* NUMBER */
    struct slice suffix;               /* NUMBER: letters that follow at once: "5km", "3rd" */
};

struct guard_pieces {
    struct slice text;
    size_t at;
    bool sentence; /* the next word begins one */
};

static inline struct slice guard_piece_lower(const struct guard_piece *p)
{
    return slice_make(p->lower, p->n);
}

/* p->lower and p->n from p->text. */
void guard_piece_fold(struct guard_piece *p);
/* The next piece of the text; GUARD_PIECE_END after the last. */
void guard_pieces_next(struct guard_pieces *r, struct guard_piece *p);
/* The bytes of a number at `at`, and what it is: 1,234,567.5 has commas between groups of three
 * digits and one point before digits. */
size_t guard_pieces_number(const struct guard_pieces *r, size_t at, double *value);

#endif
