/* USD text to integer nano-dollars and back. Pure; any thread. */
#include "base/money.h"

#include <inttypes.h>
#include <stdio.h>

#define MAX_USD      INT64_C(1000000000)
#define MAX_DECIMALS 9

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool money_parse_usd(struct slice text, nanousd *out)
{
    size_t i = 0;
    int64_t whole = 0, nano = 0;
    while (i < text.n && is_digit(text.p[i])) {
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
            if (!is_digit(text.p[i]) || decimals == MAX_DECIMALS)
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
    int n = snprintf(out, out_bytes, "%s%" PRIu64 ".%09" PRIu64, v < 0 ? "-" : "",
                     magnitude / per_usd, magnitude % per_usd);
    if (n < 0 || (size_t)n >= out_bytes)
        return out;
    for (int decimals = MAX_DECIMALS; decimals > 2 && out[n - 1] == '0'; decimals--)
        out[--n] = '\0';
    return out;
}
