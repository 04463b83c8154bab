/* Sums over log-probabilities. Owns nothing; fed by answer_signals for each piece of an answer, so
 * that the text of a token's record is walked once and only numbers are read from it. */
#include "backends/wire/token_logprobs.h"

#include <math.h>
#include "backends/wire/member.h"
#include "base/ascii.h"

#define MAX_ALTERNATIVES 20 /* OpenAI's limit of top_logprobs; more are not looked at */
#define LEAST_EXPONENT   (-11)

static double clamp(double l)
{
    return l > 0 ? 0 : l < TOKEN_LOGPROBS_FLOOR ? TOKEN_LOGPROBS_FLOOR : l;
}

/* ---- the histogram ---- */

/* Below bucket 0's lower edge everything is as good as certain; above the last one's upper edge as
 * good as impossible. */
static size_t bucket_of(double surprise)
{
    uint64_t bits;
    int64_t bucket;

    memcpy(&bits, &surprise, sizeof bits); /* >= 0: the exponent, and two bits of the fraction */
    bucket = (int64_t)(bits >> 50 & 0x3fff) - 4 * (1023 + LEAST_EXPONENT);
    return bucket < 0                         ? 0
           : bucket >= TOKEN_LOGPROBS_BUCKETS ? TOKEN_LOGPROBS_BUCKETS - 1
                                              : (size_t)bucket;
}

static double lower_edge(size_t bucket)
{
    return bucket == 0 ? 0 : ldexp(1 + (double)(bucket % 4) / 4, LEAST_EXPONENT + (int)bucket / 4);
}

double token_logprobs_quantile(const struct token_logprobs *t, double q)
{
    /* The q-quantile of l is the (1 - q)-quantile of -l. */
    double rank = (1 - q) * (double)t->count, before = 0;

    for (size_t i = 0; i < TOKEN_LOGPROBS_BUCKETS; i++) {
        double inside = t->histogram[i];

        if (inside > 0 && before + inside >= rank) {
            double low = lower_edge(i), high = lower_edge(i + 1);
            double at = low + (high - low) * (rank > before ? (rank - before) / inside : 0);

            return at > -t->min ? t->min : -at;
        }
        before += inside;
    }
    return t->min;
}

/* ---- tokens ---- */

static void slide(struct token_logprobs *t, double l)
{
    float *slot = &t->window[t->count % TOKEN_LOGPROBS_WINDOW];

    if (t->count >= TOKEN_LOGPROBS_WINDOW)
        t->window_sum -= (double)*slot;
    *slot = (float)l;
    t->window_sum += (double)*slot;
    if (t->count + 1 < TOKEN_LOGPROBS_WINDOW)
        return;
    if (t->count + 1 == TOKEN_LOGPROBS_WINDOW || t->window_sum < t->window_min)
        t->window_min = t->window_sum;
}

static void weigh(struct token_logprobs *t, double l, const double *others, size_t n)
{
    /* Single precision is plenty here, and twice as fast. */
    double best = TOKEN_LOGPROBS_FLOOR, mass = (double)expf((float)l), entropy = -mass * l, margin;

    for (size_t i = 0; i < n; i++) {
        double other = clamp(others[i]), p = (double)expf((float)other);

        best = other > best ? other : best;
        mass += p;
        entropy -= p * other;
    }
    if (mass < 1 - 1e-6)
        entropy -= (1 - mass) * (double)logf((float)(1 - mass));
    margin = l - best;
    if (t->with_alternatives == 0 || margin < t->margin_min)
        t->margin_min = margin;
    t->margin_sum += margin;
    t->entropy_sum += entropy;
    t->with_alternatives++;
}

void token_logprobs_add(struct token_logprobs *t, double logprob, const double *alternatives,
                        size_t others)
{
    double l = clamp(logprob);

    t->sum += l;
    if (l < t->min)
        t->min = l;
    t->histogram[bucket_of(-l)]++;
    slide(t, l);
    t->count++;
    if (others)
        weigh(t, l, alternatives, others);
}

double token_logprobs_mean(const struct token_logprobs *t)
{
    return t->sum / (double)t->count;
}

double token_logprobs_window_min(const struct token_logprobs *t)
{
    return t->count < TOKEN_LOGPROBS_WINDOW ? token_logprobs_mean(t)
                                            : t->window_min / TOKEN_LOGPROBS_WINDOW;
}

double token_logprobs_margin(const struct token_logprobs *t)
{
    return t->margin_sum / (double)t->with_alternatives;
}

double token_logprobs_entropy(const struct token_logprobs *t)
{
    return t->entropy_sum / (double)t->with_alternatives;
}

/* ---- JSON ---- */

static const double tens[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                              1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

/* Plain decimals to fifteen digits, which is more than a probability is worth; anything else the
 * exact way, at twenty times the price. */
static bool read_number(struct json_value v, double *out)
{
    size_t i = 0, digits = 0, places = 0;
    bool negative = v.text.n && v.text.p[0] == '-', fraction = false;
    double n = 0;

    if (v.type != JSON_NUMBER)
        return false;
    for (i = negative; i < v.text.n; i++) {
        char c = v.text.p[i];

        if (c == '.')
            fraction = true;
        else if (!ascii_is_digit(c) || (!fraction && digits == 15))
            return json_number(v, out);
        else if (digits < 15) {
            n = n * 10 + (c - '0');
            digits += n > 0;
            places += fraction;
            if (places > 15)
                return json_number(v, out);
        }
    }
    n /= tens[places];
    *out = negative ? -n : n;
    return true;
}

/* ---- a token's record, the usual way ---- */

/* {"token": "...", "logprob": -0.1, "bytes": [..], "top_logprobs": [{..}, ..]}. */
struct record {
    struct slice token;
    double l;
    bool told;
    size_t others;
    struct slice other_token[MAX_ALTERNATIVES];
    double other[MAX_ALTERNATIVES];
};

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (unsigned char)*p <= ' ')
        p++;
    return p;
}

/* From the opening quote to behind the closing one; NULL where something is escaped, or the text
 * ends. */
static const char *plain_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\')
            return NULL;
    return p < end ? p + 1 : NULL;
}

/* With what is escaped, to behind the closing quote. */
static const char *any_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        p += *p == '\\';
    return p < end ? p + 1 : NULL;
}

/* Numbers, null, true and false; NULL: it is something else. */
static const char *scalar_end(const char *p, const char *end)
{
    const char *from = p;

    while (p < end && *p != ',' && *p != '}' && *p != ']' && (unsigned char)*p > ' ')
        p++;
    return p < end && p > from && *from != '"' && *from != '{' && *from != '[' ? p : NULL;
}

/* An array of scalars. */
static const char *flat_array(const char *p, const char *end)
{
    const char *close = memchr(p, ']', (size_t)(end - p));

    if (!close || memchr(p + 1, '[', (size_t)(close - p) - 1) ||
        memchr(p + 1, '"', (size_t)(close - p) - 1) || memchr(p + 1, '{', (size_t)(close - p) - 1))
        return NULL;
    return close + 1;
}

static const char *read_record(const char *p, const char *end, struct record *r, bool inner);

static const char *read_alternatives(const char *p, const char *end, struct record *r)
{
    struct record one;

    for (p = skip_space(p + 1, end); p < end && *p == '{'; p = skip_space(p + 1, end)) {
        p = read_record(p, end, &one, true);
        if (!p)
            return NULL;
        if (one.told && r->others < MAX_ALTERNATIVES) {
            r->other_token[r->others] = one.token;
            r->other[r->others++] = one.l;
        }
        p = skip_space(p, end);
        if (p < end && *p == ']')
            break;
    }
    return p < end && *p == ']' ? p + 1 : NULL;
}

/* A member's value, from its first byte to behind its last. */
static const char *read_member(struct slice key, const char *p, const char *end, struct record *r,
                               bool inner)
{
    const char *from = p;

    if (slice_eq(key, SLICE("token")) && *p == '"') {
        p = any_string(p, end);
        if (p)
            r->token = slice_make(from, (size_t)(p - from));
        return p;
    }
    if (slice_eq(key, SLICE("logprob"))) {
        p = scalar_end(p, end);
        r->told =
            p && (*from == '-' || ascii_is_digit(*from)) &&
            read_number((struct json_value){JSON_NUMBER, slice_make(from, (size_t)(p - from))},
                        &r->l);
        return p;
    }
    if (!inner && *p == '[' && slice_eq(key, SLICE("top_logprobs")))
        return read_alternatives(p, end, r);
    return *p == '"' ? any_string(p, end) : *p == '[' ? flat_array(p, end) : scalar_end(p, end);
}

/* p: at its brace. To behind the closing one; NULL: not the usual shape, to be read the long way.
 */
static const char *read_record(const char *p, const char *end, struct record *r, bool inner)
{
    r->token = slice_make("", 0);
    r->told = false;
    r->others = 0;
    do {
        const char *key = skip_space(p + 1, end), *behind;

        if (key == end || *key != '"' || !(behind = plain_string(key, end)))
            return NULL;
        p = skip_space(skip_space(behind, end) + 1, end); /* the colon */
        if (p >= end)
            return NULL;
        p = read_member(slice_make(key + 1, (size_t)(behind - key) - 2), p, end, r, inner);
        if (!p)
            return NULL;
        p = skip_space(p, end);
    } while (p < end && *p == ',');
    return p < end && *p == '}' ? p + 1 : NULL;
}

static void take_record(struct token_logprobs *t, struct record *r)
{
    size_t n = 0;

    if (!r->told)
        return;
    for (size_t i = 0; i < r->others; i++)
        if (!slice_eq(r->other_token[i], r->token))
            r->other[n++] = r->other[i];
    token_logprobs_add(t, r->l, r->other, n);
}

/* ---- the long way: whatever a server may write ---- */

static bool read_token(struct json_value token, struct record *r, struct json_value *top)
{
    struct json_iter it;
    struct json_member m;

    r->token = slice_make("", 0);
    r->told = false;
    if (token.type != JSON_OBJECT)
        return false;
    json_iter_init(&it, token);
    while (json_iter_next(&it, &m)) {
        if (member_is(&m, SLICE("logprob")))
            r->told = read_number(m.value, &r->l);
        else if (member_is(&m, SLICE("token")) && m.value.type == JSON_STRING)
            r->token = m.value.text;
        else if (top && member_is(&m, SLICE("top_logprobs")))
            *top = m.value;
    }
    return r->told;
}

static void take_token(struct token_logprobs *t, struct json_value token)
{
    struct record r, one;
    struct json_value top = {0};
    struct json_iter it;
    struct json_member m;

    r.others = 0;
    if (!read_token(token, &r, &top))
        return;
    if (top.text.n && top.type == JSON_ARRAY) {
        json_iter_init(&it, top);
        while (r.others < MAX_ALTERNATIVES && json_iter_next(&it, &m))
            if (read_token(m.value, &one, NULL)) {
                r.other_token[r.others] = one.token;
                r.other[r.others++] = one.l;
            }
    }
    take_record(t, &r);
}

void token_logprobs_content(struct token_logprobs *t, struct json_value array)
{
    const char *end = array.text.p + array.text.n, *p;
    struct json_iter it;
    struct json_member m;
    struct record r;

    if (array.text.n == 0 || array.type != JSON_ARRAY)
        return;
    json_iter_init(&it, array);
    for (;;) {
        const char *from = skip_space(array.text.p + it.pos, end);

        if (from < end && *from == ',')
            from = skip_space(from + 1, end);
        p = from < end && *from == '{' ? read_record(from, end, &r, false) : NULL;
        if (p) {
            take_record(t, &r);
            it.pos = (size_t)(p - array.text.p);
        } else if (json_iter_next(&it, &m)) {
            take_token(t, m.value);
        } else {
            return;
        }
    }
}

/* {"token": -0.1, ...}, the chosen token among them or not. */
static size_t read_map(struct json_value map, struct slice chosen, double *others)
{
    struct json_iter it;
    struct json_member m;
    size_t n = 0;

    if (map.text.n == 0 || map.type != JSON_OBJECT)
        return 0;
    json_iter_init(&it, map);
    while (n < MAX_ALTERNATIVES && json_iter_next(&it, &m))
        if (read_number(m.value, &others[n]) &&
            !(chosen.n == m.key.n + 2 && memcmp(chosen.p + 1, m.key.p, m.key.n) == 0))
            n++;
    return n;
}

static bool next_of(struct json_iter *it, struct json_value *out)
{
    struct json_member m;

    *out = (struct json_value){0};
    if (!it->text.n || !json_iter_next(it, &m))
        return false;
    *out = m.value;
    return true;
}

static struct json_iter iter_of(struct json_value object, struct slice name)
{
    struct json_iter it = {0};
    struct json_member m;

    if (json_get(object, name, &m) && m.value.type == JSON_ARRAY)
        json_iter_init(&it, m.value);
    return it;
}

/* Three arrays of one length, a place for each token. */
static void read_columns(struct token_logprobs *t, struct json_value logprobs)
{
    struct json_iter numbers = iter_of(logprobs, SLICE("token_logprobs")),
                     tokens = iter_of(logprobs, SLICE("tokens")),
                     tops = iter_of(logprobs, SLICE("top_logprobs"));
    struct json_value number, token, top;
    double l, others[MAX_ALTERNATIVES];

    while (next_of(&numbers, &number)) {
        next_of(&tokens, &token);
        next_of(&tops, &top);
        if (read_number(number, &l))
            token_logprobs_add(t, l, others, read_map(top, token.text, others));
    }
}

void token_logprobs_read(struct token_logprobs *t, struct json_value logprobs)
{
    struct json_iter it;
    struct json_member m;
    bool chat = false;

    if (logprobs.text.n == 0 || logprobs.type != JSON_OBJECT)
        return;
    json_iter_init(&it, logprobs);
    while (json_iter_next(&it, &m)) {
        if (member_is(&m, SLICE("content")) || member_is(&m, SLICE("refusal"))) {
            token_logprobs_content(t, m.value);
            chat = true;
        }
    }
    if (!chat)
        read_columns(t, logprobs);
}
