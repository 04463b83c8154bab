/* Look-ups in the generated table; Hangul syllables decompose by arithmetic (The Unicode Standard,
 * section 3.12). Called by wordpiece.c for what is not ASCII. */
#include "router/encoder/unicode_table.h"

#include <assert.h>
#include <string.h>
#include "router/encoder/unicode_table_data.h"

enum {
    HANGUL_FIRST = 0xAC00,
    HANGUL_LAST = 0xD7A3,
    LEAD_FIRST = 0x1100,
    VOWEL_FIRST = 0x1161,
    TAIL_BEFORE = 0x11A7, /* tail 0 is none */
    VOWELS = 21,
    TAILS = 28,
};

const struct unicode_record *unicode_record(uint32_t point)
{
    assert(point <= 0x10FFFF);
    uint32_t at = record_block[point / UNICODE_BLOCK] * UNICODE_BLOCK + point % UNICODE_BLOCK;
    return &unicode_records[record_index[at]];
}

static int decompose_hangul(uint32_t point, uint32_t *out)
{
    uint32_t s = point - HANGUL_FIRST, tail = s % TAILS;
    out[0] = LEAD_FIRST + s / (VOWELS * TAILS);
    out[1] = VOWEL_FIRST + s / TAILS % VOWELS;
    out[2] = TAIL_BEFORE + tail;
    return tail ? 3 : 2;
}

int unicode_decompose(uint32_t point, uint32_t out[static UNICODE_DECOMPOSE_MAX])
{
    if (point >= HANGUL_FIRST && point <= HANGUL_LAST)
        return decompose_hangul(point, out);
    uint32_t at = nfd_block[point / UNICODE_BLOCK] * UNICODE_BLOCK + point % UNICODE_BLOCK;
    const uint32_t *entry = nfd_pool + nfd_index[at];
    assert(entry[0] >= 1 && entry[0] <= UNICODE_DECOMPOSE_MAX);
    memcpy(out, entry + 1, entry[0] * sizeof *out);
    return (int)entry[0];
}
