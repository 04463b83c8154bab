/* JSON without a tree. One pass over the text with an explicit stack of one bit per level (object
 * or array). The time goes into strings, so only their inner loop has SIMD versions (json_run.c):
 * it runs to the next byte that means something (quote, backslash, control character, first byte of
 * a non-ASCII character) and leaves that byte to the plain code here.
 *
 * The rest of json_scan.h: json_iter.c walks validated text, json_string.c and json_number.c
 * decode. Owns nothing, allocates nothing, any thread. Called on every request body
 * (gateway/api_*), every answer and every stream chunk (backends/wire). */
#include "base/json_scan.h"

#include "base/ascii.h"
#include "base/json_scan_int.h"
#include "base/utf8.h"

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
            if (p + i == s->end || ascii_hex(p[i]) < 0)
                return fault(s, p + i), NULL;
        return p + 6;
    default:
        return fault(s, p + 1), NULL;
    }
}

/* Most strings are short and many are full of escapes: looking at the first 16 bytes here saves
 * them the call. */
static const char *run_on(const struct scan *s, const char *p)
{
    for (int i = 0; i < 2 && s->end - p >= 8; i++, p += 8) {
        size_t plain = json_plain_bytes8(p);
        if (plain < 8)
            return p + plain;
    }
    return s->run(p, s->end);
}

/* From the opening quote at s->p to behind the closing one. */
static bool scan_string(struct scan *s)
{
    const char *p = s->p + 1, *end = s->end;
    s->escaped = false;
    for (;;) {
        p = run_on(s, p);
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
    while (p < end && ascii_is_digit(*p))
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

/* What may stand at s->p. */
enum expect { EXPECT_VALUE, EXPECT_FIRST_ELEMENT, EXPECT_FIRST_KEY, EXPECT_KEY, EXPECT_NEXT };

static void report_member(struct scan *s)
{
    struct json_member *m = &s->member;
    m->end = (size_t)(s->p - s->start);
    m->value.text.n = (size_t)(s->p - m->value.text.p);
    m->value.type = json_type_of(*m->value.text.p);
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
