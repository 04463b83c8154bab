/* Numbers with units. Pure. Called by policy_types, and by policy_explain and policy_diff for the
 * way back. */
#include "policies/policy_value.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include "base/ascii.h"

struct unit {
    const char *name;
    int64_t scale;
};

static const struct unit durations[] = {{"ms", 1},          {"s", 1000},         {"m", 60 * 1000},
                                        {"h", 3600 * 1000}, {"d", 86400 * 1000}, {NULL, 0}};
static const struct unit sizes[] = {{"B", 1},           {"KiB", 1 << 10}, {"MiB", 1 << 20},
                                    {"GiB", 1 << 30},   {"KB", 1000},     {"MB", 1000000},
                                    {"GB", 1000000000}, {NULL, 0}};

static size_t digits(struct slice s, size_t i)
{
    while (i < s.n && ascii_is_digit(s.p[i]))
        i++;
    return i;
}

/* s is digits only; false when it does not fit. */
static bool decimal(struct slice s, int64_t *out)
{
    int64_t v = 0;
    for (size_t i = 0; i < s.n; i++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, s.p[i] - '0', &v))
            return false;
    *out = v;
    return true;
}

const char *value_int(struct slice text, int64_t *out, const char **hint)
{
    bool negative = text.n && text.p[0] == '-';
    struct slice s = slice_from(text, negative);
    if (s.n == 0 || digits(s, 0) != s.n) {
        bool starts = s.n && ascii_is_digit(s.p[0]);
        bool hex = slice_starts(s, SLICE("0x")) || slice_starts(s, SLICE("0o")) ||
                   slice_starts(s, SLICE("0b"));
        bool exponent = starts && (memchr(s.p, 'e', s.n) || memchr(s.p, 'E', s.n));
        if (hex || exponent || (starts && (memchr(s.p, '_', s.n) || memchr(s.p, ',', s.n))))
            *hint = "write it as plain decimal digits, e.g. 1000";
        return "is not a whole number";
    }
    if (s.n > 1 && s.p[0] == '0') {
        *hint = "drop the leading zero: some readers of YAML take it for octal";
        return "is ambiguous";
    }
    if (!decimal(s, out))
        return "is too large";
    if (negative)
        *out = -*out;
    return NULL;
}

const char *value_fraction(struct slice text, double *out, const char **hint)
{
    size_t whole = digits(text, 0), end = whole;
    if (whole && whole < text.n && text.p[whole] == '.')
        end = digits(text, whole + 1);
    bool percent = whole && end + 1 == text.n && text.p[end] == '%';
    *hint = percent ? "write 0.95 for 95 %" : "write a plain decimal number, e.g. 0.95";
    if (whole == 0 || end != text.n || (end > whole && end == whole + 1))
        return "is not a number between 0 and 1";
    if (end - whole > 10) {
        *hint = "nine decimals are enough";
        return "has too many decimals";
    }
    int64_t v, fraction = 0, tens = 1;
    if (!decimal(slice_make(text.p, whole), &v) || v > 1)
        v = 2;
    for (size_t i = whole + 1; i < end; i++, tens *= 10)
        fraction = fraction * 10 + (text.p[i] - '0');
    *out = (double)v + (double)fraction / (double)tens;
    if (*out > 1) {
        *hint = "write 0.95 for 95 %";
        return "is larger than 1";
    }
    *hint = NULL;
    return NULL;
}

/* number [.fraction] unit, scaled exactly. */
static const char *with_unit(struct slice s, const struct unit *units, int64_t *out, bool *no_unit)
{
    size_t whole_end = digits(s, 0), end = whole_end;
    if (whole_end == 0)
        return "is not a number with a unit";
    if (end < s.n && s.p[end] == '.') {
        end = digits(s, end + 1);
        if (end == whole_end + 1 || end - whole_end > 10)
            return "is not a number with a unit";
    }
    struct slice name = slice_from(s, end);
    *no_unit = name.n == 0;
    const struct unit *u = units;
    while (u->name && !slice_eq(name, slice_str(u->name)))
        u++;
    if (!u->name)
        return *no_unit ? "has no unit" : "has an unknown unit";
    int64_t v, fraction = 0, tens = 1;
    if (!decimal(slice_make(s.p, whole_end), &v) || __builtin_mul_overflow(v, u->scale, &v))
        return "is too large";
    for (size_t i = whole_end + 1; i < end; i++, tens *= 10)
        fraction = fraction * 10 + (s.p[i] - '0');
    int64_t part; /* below 1e9 * 2^30: fits */
    if (__builtin_mul_overflow(fraction, u->scale, &part) || part % tens != 0)
        return "is not exact in its smallest unit";
    if (__builtin_add_overflow(v, part / tens, out))
        return "is too large";
    return NULL;
}

const char *value_duration(struct slice text, int64_t *out_ms, const char **hint)
{
    bool no_unit = false;
    const char *why = with_unit(text, durations, out_ms, &no_unit);
    if (why)
        *hint = no_unit ? "say which unit: 250ms, 30s, 15m or 24h"
                        : "write one number and ms, s, m, h or d, e.g. 90s";
    return why;
}

const char *value_size(struct slice text, int64_t *out_bytes, const char **hint)
{
    bool no_unit = false;
    const char *why = with_unit(text, sizes, out_bytes, &no_unit);
    if (why)
        *hint = no_unit ? "say which unit: 4096B, 64KiB, 16MiB or 1GiB"
                        : "write one number and B, KiB, MiB, GiB (or KB, MB, GB), e.g. 64MiB";
    return why;
}

/* ---- time ---- */

/* Days since 1970-01-01 in the proleptic Gregorian calendar. */
static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
    int64_t days = day - 1 + 365 * (year - 1970);
    for (int64_t y = 1970; y < year; y++)
        days += (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days + before[month - 1] + (leap && month > 2);
}

/* Reads a pattern of digits and fixed characters: 'd' is a digit, anything else itself. */
static bool shaped(struct slice s, const char *shape)
{
    size_t n = strlen(shape);
    for (size_t i = 0; i < n; i++)
        if (i >= s.n || (shape[i] == 'd' ? !ascii_is_digit(s.p[i]) : s.p[i] != shape[i]))
            return false;
    return true;
}

static int number_at(struct slice s, size_t at, size_t n)
{
    int v = 0;
    for (size_t i = at; i < at + n; i++)
        v = v * 10 + (s.p[i] - '0');
    return v;
}

static bool clock_of_day(struct slice s, int64_t *seconds, int64_t *us)
{
    int h = number_at(s, 11, 2), m = number_at(s, 14, 2), sec = number_at(s, 17, 2);
    size_t i = 19;
    *us = 0;
    if (i < s.n && s.p[i] == '.') {
        size_t end = digits(s, i + 1);
        int64_t scale = 100000;
        for (size_t j = i + 1; j < end; j++, scale /= 10)
            *us += (s.p[j] - '0') * scale;
        if (end == i + 1 || end > i + 7)
            return false;
        i = end;
    }
    struct slice zone = slice_from(s, i);
    int64_t offset = 0;
    if (zone.n == 6 && (shaped(zone, "+dd:dd") || shaped(zone, "-dd:dd")))
        offset = (zone.p[0] == '-' ? -1 : 1) *
                 (number_at(zone, 1, 2) * 3600 + number_at(zone, 4, 2) * 60);
    else if (!slice_eq(zone, SLICE("Z")))
        return false;
    *seconds = h * 3600 + m * 60 + sec - offset;
    return h < 24 && m < 60 && sec < 60;
}

const char *value_time(struct slice text, int64_t *out_us, const char **hint)
{
    static const int month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    *hint = "write 2026-01-31 or 2026-01-31T12:00:00Z";
    if (!shaped(text, "dddd-dd-dd"))
        return "is not a date";
    int year = number_at(text, 0, 4), month = number_at(text, 5, 2), day = number_at(text, 8, 2);
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > month_days[month - 1])
        return "is not a date of the calendar";
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month == 2 && day == 29 && !leap)
        return "is not a date of the calendar";
    int64_t seconds = 0, us = 0;
    if (text.n > 10 && (!shaped(text, "dddd-dd-ddTdd:dd:dd") || !clock_of_day(text, &seconds, &us)))
        return "is not a date with a time and a zone";
    *out_us = (days_from_civil(year, month, day) * 86400 + seconds) * 1000000 + us;
    *hint = NULL;
    return NULL;
}

static const char *largest_unit(int64_t v, const struct unit *const *units, char *out,
                                size_t out_bytes)
{
    for (; *units; units++) {
        if (v >= (*units)->scale && v % (*units)->scale == 0) {
            snprintf(out, out_bytes, "%" PRId64 "%s", v / (*units)->scale, (*units)->name);
            return out;
        }
    }
    snprintf(out, out_bytes, "%" PRId64, v);
    return out;
}

const char *value_format_duration(int64_t ms, char *out, size_t out_bytes)
{
    static const struct unit *const order[] = {&durations[3], &durations[2], &durations[1],
                                               &durations[0], NULL};
    if (ms <= 0) {
        snprintf(out, out_bytes, ms < 0 ? "none" : "0s");
        return out;
    }
    return largest_unit(ms, order, out, out_bytes);
}

const char *value_format_size(int64_t bytes, char *out, size_t out_bytes)
{
    static const struct unit *const order[] = {&sizes[3], &sizes[2], &sizes[1], &sizes[0], NULL};
    return largest_unit(bytes, order, out, out_bytes);
}
