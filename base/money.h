/* Money is integer nano-dollars (1 USD = 1,000,000,000). Prices are integer nano-dollars per
 * million tokens, so that USD 0.0375 per million tokens is exact. Rounding happens once per
 * attempt, half up. Pure. */
#ifndef BASE_MONEY_H
#define BASE_MONEY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/slice.h"

typedef int64_t nanousd;

#define NANOUSD_PER_USD INT64_C(1000000000)

/* Saturates: a server that reports an absurd usage must not make a sum wrap. */
static inline nanousd money_add(nanousd a, nanousd b)
{
    nanousd sum;

    return __builtin_add_overflow(a, b, &sum) ? (a < 0 ? INT64_MIN : INT64_MAX) : sum;
}

/* Parses a plain decimal number of USD ("2.00", "0.0375", "1e-4" is refused) into nano-dollars.
 * false: not a number, negative, more than nine decimals (it would not be exact), or above 1e9 USD.
 */
bool money_parse_usd(struct slice text, nanousd *out);
/* "0.000123456" without trailing zeros beyond two decimals ("1.50", "0.0000021"); out >= 32 bytes;
 * returns out. */
const char *money_format_usd(nanousd v, char *out, size_t out_bytes);

#endif
