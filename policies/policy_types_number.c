/* Numbers, durations, sizes, dates, money, shares and booleans. As policy_types says. */
#include "policies/policy_types_int.h"

#include <stdio.h>
#include "base/ascii.h"
#include "policies/policy_value.h"

static const char *open_word(const struct spec_key *k)
{
    return k->flags & SPEC_NONE ? " or none" : k->flags & SPEC_AUTO ? " or auto" : "";
}

/* Out of range, with the range in the value's own unit. */
static bool in_range(struct binder *b, const struct spec_key *k, const struct place *at, int64_t v,
                     const char *(*format)(int64_t, char *, size_t))
{
    char low[32], high[32];
    if (v >= k->min && v <= k->max)
        return true;
    format(k->min, low, sizeof low);
    format(k->max, high, sizeof high);
    const char *hint = v <= 0 && (k->flags & SPEC_NONE) ? "write none if no limit is meant" : NULL;
    if (k->min == k->max)
        bind_error(b, at, hint, "%s is not supported; it must be %s", bind_shown(b, at), low);
    else
        bind_error(b, at, hint, "%s is out of range; it must be between %s and %s",
                   bind_shown(b, at), low, high);
    return false;
}

static const char *format_int(int64_t v, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%lld", (long long)v);
    return out;
}

typedef const char *(*parse_fn)(struct slice, int64_t *, const char **);

static void bind_number(struct binder *b, const struct spec_key *k, struct place *at, void *base,
                        const char *wanted, parse_fn parse,
                        const char *(*format)(int64_t, char *, size_t))
{
    int64_t v;
    const char *hint = NULL;
    if (bind_is_open(k, at)) {
        *FIELD(int64_t) = POLICY_NONE;
        bind_keep(b, at, FIELD(int64_t));
        return;
    }
    if (!bind_scalar(b, at, wanted))
        return;
    const char *why = parse(at->node->text, &v, &hint);
    if (why) {
        bind_error(b, at, hint, "must be %s%s; %s %s", wanted, open_word(k), bind_shown(b, at),
                   why);
        return;
    }
    if (!in_range(b, k, at, v, format))
        return;
    *FIELD(int64_t) = v;
    bind_keep(b, at, FIELD(int64_t));
}

void bind_int(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (at->node->kind == NODE_SCALAR && !at->node->plain) {
        bind_error(b, at, "remove the quotes", "must be a number, not text");
        return;
    }
    bind_number(b, k, at, base, "a whole number", value_int, format_int);
}

void bind_duration(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bind_number(b, k, at, base, "a duration", value_duration, value_format_duration);
}

void bind_size(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bind_number(b, k, at, base, "a size", value_size, value_format_size);
}

void bind_time(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    int64_t us = 0;
    const char *hint = NULL;
    if (!bind_scalar(b, at, "a date"))
        return;
    const char *why = value_time(at->node->text, &us, &hint);
    if (why)
        bind_error(b, at, hint, "%s %s", bind_shown(b, at), why);
    *FIELD(int64_t) = us;
    bind_keep(b, at, FIELD(int64_t));
}

/* Why money_parse_usd refused, in words. */
static const char *money_hint(struct slice s)
{
    if (s.n && s.p[0] == '$')
        return "leave out the dollar sign";
    if (s.n && s.p[0] == '-')
        return "a price cannot be negative";
    bool digit = s.n && ascii_is_digit(s.p[0]);
    if (digit && (memchr(s.p, 'e', s.n) || memchr(s.p, 'E', s.n)))
        return "write it as a plain decimal number, e.g. 0.0001";
    const char *dot = memchr(s.p, '.', s.n);
    if (dot && s.n - (size_t)(dot - s.p) > 10)
        return "at most nine decimals, so that money stays exact";
    return "write a plain decimal number, e.g. 2.50";
}

/* Cheaper than anything sold: someone wrote the price of one token. */
#define SUSPICIOUS_MTOK (NANOUSD_PER_USD / 10000)

void bind_usd(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    nanousd v;
    if (!bind_scalar(b, at, "an amount of USD"))
        return;
    if (!at->node->plain) {
        bind_error(b, at, "remove the quotes", "must be a number, not text");
        return;
    }
    if (!money_parse_usd(at->node->text, &v)) {
        bind_error(b, at, money_hint(at->node->text), "must be an amount of USD; %s is not",
                   bind_shown(b, at));
        return;
    }
    if ((k->flags & SPEC_PER_MTOK) && v > 0 && v < SUSPICIOUS_MTOK) {
        char usd[32];
        bind_warning(b, at,
                     arena_printf(b->scratch, "if that is the price of one token, write %s",
                                  money_format_usd(v * 1000000, usd, sizeof usd)),
                     "prices are USD per million tokens, and %s is very little", bind_shown(b, at));
    }
    *FIELD(nanousd) = v;
    bind_keep(b, at, FIELD(nanousd));
}

void bind_fraction(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    const char *hint = NULL;
    if (bind_is_open(k, at)) {
        *FIELD(double) = POLICY_OFF;
        bind_keep(b, at, FIELD(double));
        return;
    }
    if (!bind_scalar(b, at, "a number between 0 and 1"))
        return;
    if (!at->node->plain) {
        bind_error(b, at, "remove the quotes", "must be a number, not text");
        return;
    }
    double v;
    const char *why = value_fraction(at->node->text, &v, &hint);
    bind_keep(b, at, FIELD(double));
    if (why)
        bind_error(b, at, hint, "%s %s", bind_shown(b, at), why);
    else
        *FIELD(double) = v;
}

void bind_bool(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bool v;
    if (node_bool(at->node, &v)) {
        *FIELD(bool) = v;
        bind_keep(b, at, FIELD(bool));
        return;
    }
    if (!bind_scalar(b, at, "true or false"))
        return;
    struct slice s = at->node->text;
    bool yes = slice_ieq(s, SLICE("yes")) || slice_ieq(s, SLICE("on")) ||
               slice_ieq(s, SLICE("y")) || slice_ieq(s, SLICE("true")) || slice_eq(s, SLICE("1"));
    bool no = slice_ieq(s, SLICE("no")) || slice_ieq(s, SLICE("off")) || slice_ieq(s, SLICE("n")) ||
              slice_ieq(s, SLICE("false")) || slice_eq(s, SLICE("0"));
    bind_error(b, at,
               yes  ? "write true, without quotes"
               : no ? "write false, without quotes"
                    : NULL,
               "must be true or false, not %s", bind_shown(b, at));
}
