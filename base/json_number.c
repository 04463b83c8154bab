/* JSON numbers to int64 and double, whatever the locale. Pure; any thread. Expects validated
 * numbers. */
#include "base/ascii.h"
#include "base/json_scan.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool json_int(struct json_value v, int64_t *out)
{
    struct slice t = v.text;
    if (v.type != JSON_NUMBER)
        return false;
    bool negative = t.n && t.p[0] == '-';
    int64_t n = 0;
    for (size_t i = negative; i < t.n; i++) {
        int digit = t.p[i] - '0';
        if (!ascii_is_digit(t.p[i]) || __builtin_mul_overflow(n, 10, &n) ||
            __builtin_sub_overflow(n, digit, &n)) /* negative, because -INT64_MIN does not exist */
            return false;
    }
    if (t.n == (size_t)negative || (!negative && n == INT64_MIN))
        return false;
    *out = negative ? n : -n;
    return true;
}

/* A decimal number taken apart: digits * 10^exponent. More digits than any boundary between two
 * doubles has (767) change nothing but whether the rest is zero: one further digit records that. */
#define DIGITS_MAX 780
struct decimal {
    char digits[DIGITS_MAX + 1];
    size_t n;
    int64_t exponent;
};

static void decimal_add(struct decimal *d, char c, bool fraction)
{
    if (d->n == 0 && c == '0') {
        d->exponent -= fraction;
    } else if (d->n < DIGITS_MAX) {
        d->digits[d->n++] = c;
        d->exponent -= fraction;
    } else {
        if (c != '0' && d->n == DIGITS_MAX) {
            d->digits[d->n++] = '1';
            d->exponent--;
        }
        d->exponent += !fraction;
    }
}

/* Beyond any length of digits that could make up for it. */
#define EXPONENT_MAX INT64_C(1000000000000000)

static int64_t read_exponent(const char *p, const char *end)
{
    bool negative = *p == '-';
    int64_t e = 0;
    if (*p == '-' || *p == '+')
        p++;
    for (; p < end; p++)
        if (e < EXPONENT_MAX)
            e = e * 10 + (*p - '0');
    return negative ? -e : e;
}

static void decimal_read(struct decimal *d, struct slice text)
{
    const char *p = text.p, *end = p + text.n;
    bool fraction = false;
    d->n = 0;
    d->exponent = 0;
    for (; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.')
            fraction = true;
        else if (ascii_is_digit(*p))
            decimal_add(d, *p, fraction);
    }
    if (p < end)
        d->exponent += read_exponent(p + 1, end);
}

/* Exact when both factors are doubles without rounding (Clinger 1990): the usual short number. */
static bool decimal_small(const struct decimal *d, double *out)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (d->n == 0) {
        *out = 0;
        return true;
    }
    if (d->n > 15 || d->exponent < -22 || d->exponent > 22)
        return false;
    int64_t m = 0;
    for (size_t i = 0; i < d->n; i++)
        m = m * 10 + (d->digits[i] - '0');
    *out = d->exponent < 0 ? (double)m / powers[-d->exponent] : (double)m * powers[d->exponent];
    return true;
}

/* The rest goes to strtod_l with the C locale, rewritten without a decimal point. */
static double decimal_large(const struct decimal *d)
{
    char text[DIGITS_MAX + 32];
    int64_t e = d->exponent < -99999 ? -99999 : d->exponent > 99999 ? 99999 : d->exponent;
    snprintf(text, sizeof text, "%.*se%d", (int)d->n, d->digits, (int)e);
    /* glibc hands out a constant for "C": no allocation. */
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double v = strtod_l(text, NULL, c);
    freelocale(c);
    return v;
}

bool json_number(struct json_value v, double *out)
{
    if (v.type != JSON_NUMBER || v.text.n == 0)
        return false;
    struct decimal d;
    double magnitude;
    decimal_read(&d, v.text);
    if (!decimal_small(&d, &magnitude))
        magnitude = decimal_large(&d);
    if (!isfinite(magnitude))
        return false;
    *out = v.text.p[0] == '-' ? -magnitude : magnitude;
    return true;
}
