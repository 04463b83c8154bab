/* USD text to integer nano-dollars and back. Pure; any thread. */
#include "base/money.h"

#include "base/ascii.h"
#include "base/decimal.h"
#include "base/line.h"

#define MAX_USD      INT64_C(1000000000)
#define MAX_DECIMALS 9

bool money_parse_usd(struct slice text, nanousd *out)
{
    size_t i = 0;
    int64_t whole = 0, nano = 0;
    while (i < text.n && ascii_is_digit(text.p[i])) {
        whole = whole * 10 + (text.p[i++] - '0');
        if (whole > MAX_USD)
            return false;
    }
    if (i == 0 ||
        (i > 1 && text.p[0] == '0')) /* "007": some readers of numbers would take it for octal */
        return false;
    if (i < text.n) {
        if (text.p[i++] != '.')
            return false;
        size_t decimals = 0;
        for (; i < text.n; i++, decimals++) {
            if (!ascii_is_digit(text.p[i]) || decimals == MAX_DECIMALS)
                return false;
            nano = nano * 10 + (text.p[i] - '0');
        }
        if (decimals == 0)
            return false;
        for (; decimals < MAX_DECIMALS; decimals++)
            nano *= 10;
    }
    if (whole == MAX_USD && nano > 0)
        return false;
    *out = whole * NANOUSD_PER_USD + nano;
    return true;
}

const char *money_format_usd(nanousd v, char *out, size_t out_bytes)
{
    uint64_t magnitude = v < 0 ? -(uint64_t)v : (uint64_t)v;
    uint64_t per_usd = (uint64_t)NANOUSD_PER_USD;
    char digits[DECIMAL_BYTES];
    struct line l = line_in(out, out_bytes - 1);
    size_t n;

    if (v < 0)
        line_put(&l, SLICE("-"));
    line_put(&l, slice_make(digits, decimal_put(magnitude / per_usd, digits)));
    /* A tenth digit before the nine, so that none of their leading zeros is lost. */
    n = decimal_put(per_usd + magnitude % per_usd, digits);
    digits[0] = '.';
    while (n > 3 && digits[n - 1] == '0')
        n--;
    line_put(&l, slice_make(digits, n));
    out[l.n] = '\0';
    return out;
}
