/* What the json_*.c files share and their test and benchmark name: the inner loop at each level of
 * SIMD, the scans with the loop given, small classifications. All levels must agree on every input.
 * Pure; any thread. Not for other modules. */
#ifndef BASE_JSON_SCAN_INT_H
#define BASE_JSON_SCAN_INT_H

#include "base/json_scan.h"

/* First byte in [p, end) that a string cannot simply run over: quote, backslash, control character
 * or not ASCII; or end. Reads nothing outside [p, end). */
typedef const char *(*json_run_fn)(const char *p, const char *end);

const char *json_run_portable(const char *p, const char *end);
#if defined(__x86_64__)
const char *json_run_sse2(const char *p, const char *end);
const char *json_run_avx2(const char *p, const char *end); /* only where the CPU has AVX2 */
#endif
json_run_fn json_run_best(void); /* for this CPU */

/* p: at the opening bracket of an object or array of validated text that ends at end. Behind its
 * closing one. Reads nothing outside [p, end). */
typedef const char *(*json_skip_fn)(const char *p, const char *end);

const char *json_skip_portable(const char *p, const char *end);
#if defined(__x86_64__)
const char *json_skip_sse2(const char *p, const char *end);
const char *json_skip_avx2(const char *p, const char *end); /* also wants BMI1 and POPCNT */
#endif
json_skip_fn json_skip_best(void); /* for this CPU */

/* p: behind the opening quote of a string of validated text. Behind its closing one; *escaped (may
 * be NULL): does it hold a backslash? */
const char *json_string_end(const char *p, const char *end, bool *escaped);

bool json_validate_with(json_run_fn run, struct slice text, size_t *at);
bool json_scan_object_with(json_run_fn run, struct slice text, json_member_fn fn, void *ctx,
                           size_t *at);

/* How many of the eight bytes at p come before the first that is not plain; 8 when all are. A
 * byte's high bit in marks means control, quote, backslash or not ASCII. Subtraction can borrow
 * into later bytes only, and only from a byte that is marked itself: the first mark is always true.
 */
static inline size_t json_plain_bytes8(const char *p)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    uint64_t w;
    memcpy(&w, p, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w); /* so that the first byte is the lowest */
#endif
    uint64_t quote = w ^ ones * '"', backslash = w ^ ones * '\\';
    uint64_t marks = (w | (w - ones * ' ') | (quote - ones) | (backslash - ones)) & highs;
    return marks ? (size_t)__builtin_ctzll(marks) / 8 : 8;
}

/* The type of the value that begins with this byte, if a value does. */
static inline enum json_type json_type_of(char first)
{
    switch (first) {
    case '"':
        return JSON_STRING;
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

#endif
