/* What BERT's normaliser and pre-tokeniser do with a code point, from a generated two-stage table
 * (make_unicode_table.py; the versions of Unicode are those of Hugging Face's tokenizers, several
 * at once, on purpose). Pure; any thread. */
#ifndef ROUTER_ENCODER_UNICODE_TABLE_H
#define ROUTER_ENCODER_UNICODE_TABLE_H

#include <stdint.h>

enum unicode_class {
    UNICODE_WORD,
    UNICODE_PUNCT, /* a word of its own */
    UNICODE_SPACE,
    UNICODE_DROP, /* control and format characters, private use, U+FFFD: as if not there */
};

enum unicode_flag {
    UNICODE_CLASS_BITS = 3,
    UNICODE_CJK = 4,             /* an ideograph: a word of its own, before decomposition */
    UNICODE_MARK = 8,            /* dropped where accents are stripped */
    UNICODE_DECOMPOSES = 16,     /* canonically: see unicode_decompose */
    UNICODE_LOWER_ADDS_DOT = 32, /* U+0130 becomes i and U+0307 */
};

struct unicode_record {
    uint8_t flags;           /* class | flags */
    uint8_t combining_class; /* 0: a starter; of a mark only whether it is 0 */
    int32_t lower;           /* distance to the lower-case code point */
};

static inline enum unicode_class unicode_class(const struct unicode_record *r)
{
    return (enum unicode_class)(r->flags & UNICODE_CLASS_BITS);
}

/* Of a code point up to 0x10FFFF. Static storage. */
const struct unicode_record *unicode_record(uint32_t point);

/* The full canonical decomposition (NFD) of a code point that has UNICODE_DECOMPOSES; returns how
 * many code points were written. */
#define UNICODE_DECOMPOSE_MAX 4
int unicode_decompose(uint32_t point, uint32_t out[static UNICODE_DECOMPOSE_MAX]);

#endif
