/* See the header. Called wherever numbers are written for each request. */
#include "base/decimal.h"

#include <string.h>

size_t decimal_put(uint64_t v, char out[static DECIMAL_BYTES])
{
    char digits[DECIMAL_BYTES];
    size_t at = sizeof digits;

    do
        digits[--at] = (char)('0' + v % 10);
    while (v /= 10);
    memcpy(out, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

size_t decimal_put_signed(int64_t v, char out[static DECIMAL_BYTES])
{
    if (v >= 0)
        return decimal_put((uint64_t)v, out);
    char digits[DECIMAL_BYTES];
    size_t n = decimal_put(-(uint64_t)v, digits);
    out[0] = '-';
    memcpy(out + 1, digits, n);
    return n + 1;
}
