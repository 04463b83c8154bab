/* Sums over log-probabilities. Owns nothing; fed by answer_signals for each piece of an answer, so
 * that the text of a token's record is walked once and only numbers are read from it. */
#include "backends/wire/token_logprobs.h"

#include <math.h>
#include "backends/wire/member.h"

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
    int exponent, bucket;
    double mantissa = frexp(surprise, &exponent); /* 0.5..1; 0 for 0 */

    if (mantissa <= 0)
        return 0;
    bucket = 4 * (exponent - 1 - LEAST_EXPONENT) + (int)(8 * mantissa) - 4;
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
    double best = TOKEN_LOGPROBS_FLOOR, mass = exp(l), entropy = -mass * l, margin;

    for (size_t i = 0; i < n; i++) {
        double other = clamp(others[i]), p = exp(other);

        best = other > best ? other : best;
        mass += p;
        entropy -= p * other;
    }
    if (mass < 1 - 1e-9)
        entropy -= (1 - mass) * log1p(-mass);
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
        else if (c < '0' || c > '9' || (!fraction && digits == 15))
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

/* {"token": "...", "logprob": -0.1, ...}; alternatives, when there are any, in *top. */
static bool read_token(struct json_value token, struct slice *text, double *l,
                       struct json_value *top)
{
    struct json_iter it;
    struct json_member m;
    bool told = false;

    *text = SLICE("");
    if (token.type != JSON_OBJECT)
        return false;
    json_iter_init(&it, token);
    while (json_iter_next(&it, &m)) {
        if (member_is(&m, SLICE("logprob")))
            told = read_number(m.value, l);
        else if (member_is(&m, SLICE("token")))
            *text = m.value.text;
        else if (top && member_is(&m, SLICE("top_logprobs")))
            *top = m.value;
    }
    return told;
}

static void take_token(struct token_logprobs *t, struct json_value token)
{
    double l, others[MAX_ALTERNATIVES];
    struct slice chosen, text;
    struct json_value top = {0};
    struct json_iter it;
    struct json_member m;
    size_t n = 0;

    if (!read_token(token, &chosen, &l, &top))
        return;
    if (top.text.n && top.type == JSON_ARRAY) {
        json_iter_init(&it, top);
        while (n < MAX_ALTERNATIVES && json_iter_next(&it, &m))
            if (read_token(m.value, &text, &others[n], NULL) && !slice_eq(text, chosen))
                n++;
    }
    token_logprobs_add(t, l, others, n);
}

void token_logprobs_content(struct token_logprobs *t, struct json_value array)
{
    struct json_iter it;
    struct json_member m;

    if (array.text.n == 0 || array.type != JSON_ARRAY)
        return;
    json_iter_init(&it, array);
    while (json_iter_next(&it, &m))
        take_token(t, m.value);
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
