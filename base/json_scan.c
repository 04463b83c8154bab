/* JSON without a tree. One pass over the text with an explicit stack of one bit per level (object
 * or array). The time goes into strings, so only their inner loop has SIMD versions: it runs to the
 * next byte that means something (quote, backslash, control character, first byte of a non-ASCII
 * character) and leaves that byte to plain code.
 *
 * Owns nothing, allocates nothing, any thread. Called on every request body (gateway/api_*), every
 * answer and every stream chunk (backends/wire). The walk over validated text (json_iter) checks
 * nothing again and therefore must never see anything else. */
#include "base/json_scan.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/json_scan_int.h"
#include "base/utf8.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* ---- the inner loop of strings ---- */

static bool is_plain(char c)
{
    return c >= ' ' && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

/* Eight bytes at a time. A byte's high bit in the result means: control, quote, backslash or not
 * ASCII. Borrows can only mark bytes above a true mark, which is harmless: the exact position is
 * then found byte by byte. */
static bool word_is_plain(const char *p)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    uint64_t w;
    memcpy(&w, p, sizeof w);
    uint64_t quote = w ^ ones * '"', backslash = w ^ ones * '\\';
    uint64_t marks = w | (w - ones * ' ') | (quote - ones) | (backslash - ones);
    return !(marks & highs);
}

const char *json_run_portable(const char *p, const char *end)
{
    while (end - p >= 8 && word_is_plain(p))
        p += 8;
    while (p < end && is_plain(*p))
        p++;
    return p;
}

#if defined(__x86_64__)
/* As signed bytes, everything below ' ' is a control character or not ASCII: one comparison for
 * both. */
const char *json_run_sse2(const char *p, const char *end)
{
    const __m128i space = _mm_set1_epi8(' '), quote = _mm_set1_epi8('"'),
                  backslash = _mm_set1_epi8('\\');
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i marks =
            _mm_or_si128(_mm_cmplt_epi8(v, space),
                         _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash)));
        unsigned mask = (unsigned)_mm_movemask_epi8(marks);
        if (mask)
            return p + __builtin_ctz(mask);
    }
    return json_run_portable(p, end);
}

__attribute__((target("avx2"))) const char *json_run_avx2(const char *p, const char *end)
{
    const __m256i space = _mm256_set1_epi8(' '), quote = _mm256_set1_epi8('"');
    const __m256i backslash = _mm256_set1_epi8('\\');
    for (; end - p >= 32; p += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
        __m256i marks = _mm256_or_si256(
            _mm256_cmpgt_epi8(space, v),
            _mm256_or_si256(_mm256_cmpeq_epi8(v, quote), _mm256_cmpeq_epi8(v, backslash)));
        unsigned mask = (unsigned)_mm256_movemask_epi8(marks);
        if (mask)
            return p + __builtin_ctz(mask);
    }
    return json_run_sse2(p, end);
}

json_run_fn json_run_best(void)
{
    return __builtin_cpu_supports("avx2") ? json_run_avx2 : json_run_sse2;
}
#else
json_run_fn json_run_best(void)
{
    return json_run_portable;
}
#endif

/* ---- the scan ---- */

struct scan {
    const char *start, *p, *end; /* borrowed; p is where the scan is, or the fault once it failed */
    json_run_fn run;
    size_t depth;
    uint64_t objects[JSON_MAX_DEPTH / 64]; /* bit d: the container at depth d + 1 is an object */
    bool escaped;                          /* the string just read holds a backslash */
    json_member_fn fn;                     /* NULL: nobody listens (any more) */
    void *ctx;
    struct json_member member; /* of the top-level object, being read */
};

static bool fault(struct scan *s, const char *p)
{
    s->p = p;
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static void skip_space(struct scan *s)
{
    const char *p = s->p;
    while (p < s->end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    s->p = p;
}

/* From the backslash at p to behind the escape; NULL and the fault in s otherwise. */
static const char *scan_escape(struct scan *s, const char *p)
{
    if (s->end - p < 2)
        return fault(s, s->end), NULL;
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return p + 2;
    case 'u':
        for (int i = 2; i < 6; i++)
            if (p + i == s->end || hex_value(p[i]) < 0)
                return fault(s, p + i), NULL;
        return p + 6;
    default:
        return fault(s, p + 1), NULL;
    }
}

/* From the opening quote at s->p to behind the closing one. */
static bool scan_string(struct scan *s)
{
    const char *p = s->p + 1, *end = s->end;
    s->escaped = false;
    for (;;) {
        p = s->run(p, end);
        if (p == end)
            return fault(s, end);
        if (*p == '"') {
            s->p = p + 1;
            return true;
        }
        if (*p == '\\') {
            s->escaped = true;
            p = scan_escape(s, p);
            if (!p)
                return false;
        } else {
            do { /* a control character stops here too: it is no UTF-8 lead byte beyond ASCII */
                size_t n = (unsigned char)*p < 0x80 ? 0 : utf8_char_bytes(p, (size_t)(end - p));
                if (n == 0)
                    return fault(s, p);
                p += n;
            } while (p < end && (unsigned char)*p >= 0x80);
        }
    }
}

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && is_digit(*p))
        p++;
    return p;
}

static bool scan_number(struct scan *s)
{
    const char *p = s->p, *end = s->end, *digits;
    if (*p == '-')
        p++;
    digits = p;
    p = skip_digits(p, end);
    if (p == digits)
        return fault(s, p);
    if (*digits == '0' && p - digits > 1)
        return fault(s, digits + 1);
    if (p < end && *p == '.') {
        digits = ++p;
        p = skip_digits(p, end);
        if (p == digits)
            return fault(s, p);
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        digits = p;
        p = skip_digits(p, end);
        if (p == digits)
            return fault(s, p);
    }
    s->p = p;
    return true;
}

static bool scan_word(struct scan *s, const char *word)
{
    const char *p = s->p;
    for (; *word; word++, p++)
        if (p == s->end || *p != *word)
            return fault(s, p);
    s->p = p;
    return true;
}

static bool top_is_object(const struct scan *s)
{
    size_t d = s->depth - 1;
    return s->objects[d / 64] >> (d % 64) & 1;
}

static bool push(struct scan *s, bool object)
{
    size_t d = s->depth;
    if (d == JSON_MAX_DEPTH)
        return fault(s, s->p);
    uint64_t bit = UINT64_C(1) << (d % 64);
    s->objects[d / 64] = object ? s->objects[d / 64] | bit : s->objects[d / 64] & ~bit;
    s->depth++;
    s->p++;
    return true;
}

static enum json_type type_of(char first)
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

/* What may stand at s->p. */
enum expect { EXPECT_VALUE, EXPECT_FIRST_ELEMENT, EXPECT_FIRST_KEY, EXPECT_KEY, EXPECT_NEXT };

static void report_member(struct scan *s)
{
    struct json_member *m = &s->member;
    m->end = (size_t)(s->p - s->start);
    m->value.text.n = (size_t)(s->p - m->value.text.p);
    m->value.type = type_of(*m->value.text.p);
    if (!s->fn(m, s->ctx))
        s->fn = NULL;
}

/* A value has just ended at s->p. */
static enum expect value_done(struct scan *s)
{
    if (s->depth == 1 && s->fn)
        report_member(s);
    return EXPECT_NEXT;
}

static bool scan_value(struct scan *s, enum expect *expect)
{
    bool ok;
    if (s->depth == 1)
        s->member.value.text.p = s->p;
    switch (*s->p) {
    case '{':
        *expect = EXPECT_FIRST_KEY;
        return push(s, true);
    case '[':
        *expect = EXPECT_FIRST_ELEMENT;
        return push(s, false);
    case '"':
        ok = scan_string(s);
        break;
    case 't':
        ok = scan_word(s, "true");
        break;
    case 'f':
        ok = scan_word(s, "false");
        break;
    case 'n':
        ok = scan_word(s, "null");
        break;
    default:
        ok = scan_number(s);
        break;
    }
    if (ok)
        *expect = value_done(s);
    return ok;
}

/* key and colon */
static bool scan_key(struct scan *s, enum expect *expect)
{
    const char *key = s->p;
    if (*key != '"' || !scan_string(s))
        return false;
    if (s->depth == 1) {
        s->member.begin = (size_t)(key - s->start);
        s->member.key = slice_make(key + 1, (size_t)(s->p - key) - 2);
        s->member.key_escaped = s->escaped;
    }
    skip_space(s);
    if (s->p == s->end || *s->p != ':')
        return false;
    s->p++;
    *expect = EXPECT_VALUE;
    return true;
}

static bool scan_close(struct scan *s, enum expect *expect)
{
    s->p++;
    s->depth--;
    *expect = value_done(s);
    return true;
}

/* Comma or closing bracket, inside a container. */
static bool scan_next(struct scan *s, enum expect *expect)
{
    bool object = top_is_object(s);
    if (*s->p == (object ? '}' : ']'))
        return scan_close(s, expect);
    if (*s->p != ',')
        return false;
    s->p++;
    *expect = object ? EXPECT_KEY : EXPECT_VALUE;
    return true;
}

static bool scan_token(struct scan *s, enum expect *expect)
{
    switch (*expect) {
    case EXPECT_FIRST_ELEMENT:
        if (*s->p == ']')
            return scan_close(s, expect);
        return scan_value(s, expect);
    case EXPECT_VALUE:
        return scan_value(s, expect);
    case EXPECT_FIRST_KEY:
        if (*s->p == '}')
            return scan_close(s, expect);
        return scan_key(s, expect);
    case EXPECT_KEY:
        return scan_key(s, expect);
    case EXPECT_NEXT:
        return s->depth > 0 && scan_next(s, expect); /* at depth 0: bytes behind the text */
    }
    return false;
}

static bool scan_text(struct scan *s, bool want_object, size_t *at)
{
    enum expect expect = EXPECT_VALUE;
    skip_space(s);
    bool ok = !want_object || (s->p < s->end && *s->p == '{');
    while (ok && s->p < s->end) {
        ok = scan_token(s, &expect);
        if (ok)
            skip_space(s);
    }
    ok = ok && s->depth == 0 && expect == EXPECT_NEXT;
    if (!ok && at)
        *at = (size_t)(s->p - s->start);
    return ok;
}

static bool scan_with(json_run_fn run, struct slice text, bool want_object, json_member_fn fn,
                      void *ctx, size_t *at)
{
    const char *p = text.p ? text.p : "";
    struct scan s = {.start = p, .p = p, .end = p + text.n, .run = run, .fn = fn, .ctx = ctx};
    return scan_text(&s, want_object, at);
}

bool json_validate_with(json_run_fn run, struct slice text, size_t *at)
{
    return scan_with(run, text, false, NULL, NULL, at);
}

bool json_scan_object_with(json_run_fn run, struct slice text, json_member_fn fn, void *ctx,
                           size_t *at)
{
    return scan_with(run, text, true, fn, ctx, at);
}

bool json_validate(struct slice text, size_t *at)
{
    return json_validate_with(json_run_best(), text, at);
}

bool json_scan_object(struct slice text, json_member_fn fn, void *ctx, size_t *at)
{
    return json_scan_object_with(json_run_best(), text, fn, ctx, at);
}

/* ---- walking validated text ---- */

static const char *walk_space(const char *p, const char *end)
{
    while (p < end && (unsigned char)*p <= ' ')
        p++;
    return p;
}

/* From the opening quote to behind the closing one: the first quote behind an even number of
 * backslashes. */
static const char *walk_string(const char *p, const char *end, bool *escaped)
{
    const char *from = ++p;
    for (;;) {
        const char *quote = memchr(p, '"', (size_t)(end - p));
        if (!quote)
            return end;
        const char *b = quote;
        while (b > from && b[-1] == '\\')
            b--;
        p = quote + 1;
        if ((quote - b) % 2 == 0) {
            if (escaped)
                *escaped = memchr(from, '\\', (size_t)(quote - from)) != NULL;
            return p;
        }
    }
}

static const char *walk_container(const char *p, const char *end)
{
    size_t depth = 0;
    while (p < end) {
        switch (*p) {
        case '"':
            p = walk_string(p, end, NULL);
            break;
        case '{':
        case '[':
            depth++;
            p++;
            break;
        case '}':
        case ']':
            p++;
            if (--depth == 0)
                return p;
            break;
        default:
            p++;
            break;
        }
    }
    return p;
}

static const char *walk_value(const char *p, const char *end)
{
    if (*p == '"')
        return walk_string(p, end, NULL);
    if (*p == '{' || *p == '[')
        return walk_container(p, end);
    while (p < end && (unsigned char)*p > ' ' && *p != ',' && *p != '}' && *p != ']')
        p++;
    return p;
}

void json_iter_init(struct json_iter *it, struct json_value container)
{
    it->text = container.text;
    it->object = container.type == JSON_OBJECT;
    /* Behind the bracket; a scalar has no elements. */
    it->pos = it->object || container.type == JSON_ARRAY ? 1 : container.text.n;
}

bool json_iter_next(struct json_iter *it, struct json_member *m)
{
    if (it->pos >= it->text.n)
        return false;
    const char *start = it->text.p, *end = start + it->text.n;
    const char *p = walk_space(start + it->pos, end);
    if (p < end && *p == ',')
        p = walk_space(p + 1, end);
    if (p == end || *p == '}' || *p == ']') {
        it->pos = it->text.n;
        return false;
    }
    m->begin = (size_t)(p - start);
    m->key = slice_make("", 0);
    m->key_escaped = false;
    if (it->object) {
        const char *key = p;
        p = walk_string(p, end, &m->key_escaped);
        m->key = slice_make(key + 1, (size_t)(p - key) - 2);
        p = walk_space(walk_space(p, end) + 1, end); /* the colon */
    }
    const char *value = p;
    p = walk_value(p, end);
    m->value = (struct json_value){type_of(*value), slice_make(value, (size_t)(p - value))};
    it->pos = m->end = (size_t)(p - start);
    return true;
}

bool json_get(struct json_value object, struct slice name, struct json_member *out)
{
    bool found = false;
    if (object.type != JSON_OBJECT)
        return false;
    struct json_iter it;
    struct json_member m;
    json_iter_init(&it, object);
    while (json_iter_next(&it, &m))
        if (json_key_is(&m, name)) {
            *out = m;
            found = true;
        }
    return found;
}

/* ---- strings ---- */

/* Output that is measured in full and written as far as it fits, whole characters only. */
struct sink {
    char *p; /* borrowed; NULL when only measuring */
    size_t cap, n;
};

/* s is one character or escape, or a run whose characters may be told apart by their lead bytes. */
static void sink_put(struct sink *k, const char *s, size_t n)
{
    if (k->p && k->n + n <= k->cap) {
        memcpy(k->p + k->n, s, n);
    } else if (k->p && k->n < k->cap) {
        size_t fits = k->cap - k->n;
        while (fits && utf8_is_tail((unsigned char)s[fits]))
            fits--;
        memcpy(k->p + k->n, s, fits);
    }
    k->n += n; /* beyond cap after a cut: nothing later may fill the gap */
}

static unsigned hex4(const char *p)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++)
        v = v << 4 | (unsigned)hex_value(p[i]);
    return v;
}

static size_t put_utf8(unsigned c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* The escape at p (a backslash) as UTF-8; *len its length. Returns behind it. A surrogate pair is
 * one character. */
static const char *decode_escape(const char *p, const char *end, char utf8[4], size_t *len)
{
    unsigned c = (unsigned char)p[1];
    switch (p[1]) {
    case 'b':
        c = '\b';
        break;
    case 'f':
        c = '\f';
        break;
    case 'n':
        c = '\n';
        break;
    case 'r':
        c = '\r';
        break;
    case 't':
        c = '\t';
        break;
    case 'u':
        c = hex4(p + 2);
        p += 4;
        if (c >= 0xD800 && c <= 0xDFFF) {
            unsigned low =
                c <= 0xDBFF && end - p >= 8 && p[2] == '\\' && p[3] == 'u' ? hex4(p + 4) : 0;
            if (low >= 0xDC00 && low <= 0xDFFF) {
                c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
                p += 6;
            } else {
                c = 0xFFFD;
            }
        }
        break;
    default: /* quote, backslash, slash stand for themselves */
        break;
    }
    *len = put_utf8(c, utf8);
    return p + 2;
}

size_t json_string_decode(struct slice quoted, char *out, size_t out_bytes)
{
    struct sink k = {out, out_bytes, 0};
    if (quoted.n < 2)
        return 0;
    const char *p = quoted.p + 1, *end = quoted.p + quoted.n - 1;
    while (p < end) {
        const char *backslash = memchr(p, '\\', (size_t)(end - p));
        const char *stop = backslash ? backslash : end;
        sink_put(&k, p, (size_t)(stop - p));
        p = stop;
        if (backslash) {
            char utf8[4];
            size_t len;
            p = decode_escape(p, end, utf8, &len);
            sink_put(&k, utf8, len);
        }
    }
    return k.n;
}

bool json_key_is(const struct json_member *m, struct slice name)
{
    if (!m->key_escaped)
        return slice_eq(m->key, name);
    const char *p = m->key.p, *end = p + m->key.n;
    while (p < end) {
        char utf8[4] = {*p};
        size_t len = 1;
        p = *p == '\\' ? decode_escape(p, end, utf8, &len) : p + 1;
        if (name.n < len || memcmp(name.p, utf8, len) != 0)
            return false;
        name = slice_from(name, len);
    }
    return name.n == 0;
}

/* The escape of a byte that may not stand in a string as it is; returns its length. */
static size_t escape_of(unsigned char c, char out[8])
{
    static const char hex[] = "0123456789abcdef";
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    memcpy(out, "\\u00", 4);
    for (size_t i = 0; i + 1 < sizeof named; i += 2)
        if ((char)c == named[i]) {
            out[1] = named[i + 1];
            return 2;
        }
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

size_t json_string_encode(struct slice raw, char *out, size_t out_bytes)
{
    struct sink k = {out, out_bytes, 0};
    const json_run_fn run = json_run_best();
    sink_put(&k, "\"", 1);
    const char *p = raw.p, *end = raw.n ? raw.p + raw.n : raw.p;
    while (p < end) {
        const char *stop = run(p, end);
        sink_put(&k, p, (size_t)(stop - p));
        p = stop;
        if (p == end)
            break;
        if ((unsigned char)*p < 0x80) {
            char esc[8];
            sink_put(&k, esc, escape_of((unsigned char)*p++, esc));
            continue;
        }
        size_t n = utf8_char_bytes(p, (size_t)(end - p));
        sink_put(&k, n ? p : "\xEF\xBF\xBD", n ? n : 3);
        p += n ? n : 1;
    }
    sink_put(&k, "\"", 1);
    return k.n;
}

/* ---- numbers ---- */

bool json_int(struct json_value v, int64_t *out)
{
    struct slice t = v.text;
    if (v.type != JSON_NUMBER)
        return false;
    bool negative = t.n && t.p[0] == '-';
    int64_t n = 0;
    for (size_t i = negative; i < t.n; i++) {
        int digit = t.p[i] - '0';
        if (!is_digit(t.p[i]) || __builtin_mul_overflow(n, 10, &n) ||
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
        else if (is_digit(*p))
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
