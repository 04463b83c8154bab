/* What two texts, their vectors and a model's word tell about whether they say the same. Pure. */
#include "router/judge.h"

#include <ctype.h>
#include "backends/wire/member.h"
#include "base/arena.h"
#include "base/json_canonical.h"
#include "cache/guard.h"

/* Measured on nobody's traffic but by what they must not do: two answers that a reader would tell
 * apart are above SAME only where a gate keeps them apart; paraphrases hardly ever fall below
 * DIFFERENT. What lies between is for a model. */
#define SAME_COSINE      0.95
#define DIFFERENT_COSINE 0.20
#define SHORT_BYTES      160 /* of an answer that its numbers are the point of */

/* Order and overlap say little about two answers: lists come in any order. */
#define ANSWER_GUARDS                                                                              \
    (1u << GUARD_NUMBERS | 1u << GUARD_UNITS | 1u << GUARD_DATES | 1u << GUARD_NEGATION |          \
     1u << GUARD_NAMES)

const char *judge_verdict_name(enum judge_verdict v)
{
    static const char *const names[] = {"unknown", "same", "different"};
    return names[v];
}

const char *judge_by_name(enum judge_by b)
{
    static const char *const names[] = {"nobody", "text", "vectors", "model"};
    return names[b];
}

static bool is_edge(char c)
{
    return isspace((unsigned char)c) || c == '.' || c == '!' || c == '"' || c == '\'' || c == '*' ||
           c == '`';
}

static struct slice without_edges(struct slice s)
{
    while (s.n > 0 && is_edge(s.p[0]))
        s = slice_from(s, 1);
    while (s.n > 0 && is_edge(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* The next character, with runs of blanks as one and letters small; -1 at the end. */
static int next_char(struct slice *s)
{
    char c;

    if (s->n == 0)
        return -1;
    c = s->p[0];
    *s = slice_from(*s, 1);
    if (!isspace((unsigned char)c))
        return tolower((unsigned char)c);
    while (s->n > 0 && isspace((unsigned char)s->p[0]))
        *s = slice_from(*s, 1);
    return ' ';
}

static bool equal_words(struct slice a, struct slice b)
{
    int x, y;

    a = without_edges(a);
    b = without_edges(b);
    do {
        x = next_char(&a);
        y = next_char(&b);
    } while (x == y && x >= 0);
    return x == y;
}

static bool canonical(struct slice text, struct digest *out)
{
    struct slice s = json_trim(text);
    struct digest_stream *d;
    struct json_canonical c;
    struct arena a;

    if (s.n == 0 || (s.p[0] != '{' && s.p[0] != '[') || !json_validate(s, NULL))
        return false;
    arena_init(&a, 4096);
    d = digest_stream_new();
    json_canonical_init(&c, &a, d, NULL, NULL);
    json_canonical_value(&c, (struct json_value){s.p[0] == '{' ? JSON_OBJECT : JSON_ARRAY, s});
    json_canonical_flush(&c);
    *out = digest_stream_end(d);
    arena_clear(&a);
    return true;
}

static int gate_between(struct slice a, struct slice b, unsigned gates)
{
    struct guard_facts x, y;

    guard_read(a, &x);
    guard_read(b, &y);
    return guard_refuses(&x, &y, gates);
}

enum judge_verdict judge_texts(struct slice a, struct slice b)
{
    struct digest x, y;

    if (equal_words(a, b))
        return JUDGE_SAME;
    if (canonical(a, &x) && canonical(b, &y))
        return digest_eq(x, y) ? JUDGE_SAME : JUDGE_UNKNOWN;
    if (a.n <= SHORT_BYTES && b.n <= SHORT_BYTES && gate_between(a, b, 1u << GUARD_NUMBERS) >= 0)
        return JUDGE_DIFFERENT;
    return JUDGE_UNKNOWN;
}

enum judge_verdict judge_vectors(double cosine, struct slice a, struct slice b)
{
    if (cosine >= SAME_COSINE && gate_between(a, b, ANSWER_GUARDS) < 0)
        return JUDGE_SAME;
    return cosine < DIFFERENT_COSINE ? JUDGE_DIFFERENT : JUDGE_UNKNOWN;
}

/* The one object in the reply, whatever stands around it (a fence, a sentence). */
enum judge_verdict judge_reply(struct slice text)
{
    const char *from = text.n ? memchr(text.p, '{', text.n) : NULL;
    const char *to = text.p + text.n;
    struct json_value v;
    struct json_member same;

    if (!from)
        return JUDGE_UNKNOWN;
    while (to > from && to[-1] != '}')
        to--;
    v = (struct json_value){JSON_OBJECT, slice_make(from, (size_t)(to - from))};
    if (!json_validate(v.text, NULL) || !json_get(v, SLICE("same"), &same))
        return JUDGE_UNKNOWN;
    return same.value.type == JSON_TRUE    ? JUDGE_SAME
           : same.value.type == JSON_FALSE ? JUDGE_DIFFERENT
                                           : JUDGE_UNKNOWN;
}
