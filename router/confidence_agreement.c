/* Whether two answers say the same. Called once when a second model has answered. */
#include "router/confidence.h"

#include <ctype.h>
#include "backends/wire/answer_signals.h"
#include "backends/wire/member.h"
#include "base/arena.h"
#include "base/json_same.h"

static bool is_edge(unsigned char c)
{
    return c < 0x80 && (isspace(c) || ispunct(c));
}

/* One character of a text without case, runs of white space one space; -1 at the end. */
static int next_folded(struct slice *s)
{
    unsigned char c;

    if (s->n == 0)
        return -1;
    c = (unsigned char)s->p[0];
    *s = slice_from(*s, 1);
    if (c >= 0x80 || !isspace(c))
        return c < 0x80 ? tolower(c) : c;
    while (s->n && (unsigned char)s->p[0] < 0x80 && isspace((unsigned char)s->p[0]))
        *s = slice_from(*s, 1);
    return ' ';
}

/* Without white space, quotes, full stops and the like around it: "**Paris.**" is Paris. A text of
 * nothing else stays as it is. */
static struct slice core(struct slice s)
{
    struct slice inside = s;

    while (inside.n && is_edge((unsigned char)inside.p[0]))
        inside = slice_from(inside, 1);
    while (inside.n && is_edge((unsigned char)inside.p[inside.n - 1]))
        inside.n--;
    return inside.n ? inside : s;
}

static bool same_text(struct slice a, struct slice b)
{
    int x, y;

    do {
        x = next_folded(&a);
        y = next_folded(&b);
    } while (x == y && x >= 0);
    return x == y;
}

/* An object or an array, whole. */
static bool is_json(struct slice text, struct json_value *out)
{
    struct slice inside = json_trim(text);

    if (inside.n == 0 || (inside.p[0] != '{' && inside.p[0] != '[') || !json_validate(inside, NULL))
        return false;
    *out = (struct json_value){inside.p[0] == '{' ? JSON_OBJECT : JSON_ARRAY, inside};
    return true;
}

static bool same_json(struct slice a, struct slice b)
{
    struct json_value x, y;
    struct arena scratch;
    bool same;

    if (!is_json(a, &x) || !is_json(b, &y))
        return slice_eq(a, b);
    arena_init(&scratch, 1024);
    same = json_same(x, y, &scratch);
    arena_clear(&scratch);
    return same;
}

static bool same_calls(const struct answer_signals *a, const struct answer_signals *b)
{
    if (a->call_count != b->call_count)
        return false;
    for (size_t i = 0; i < a->call_count; i++)
        if (!slice_eq(buf_slice(&a->calls[i].name), buf_slice(&b->calls[i].name)) ||
            !same_json(buf_slice(&a->calls[i].arguments), buf_slice(&b->calls[i].arguments)))
            return false;
    return true;
}

double confidence_agreement(const struct answer_signals *a, const struct answer_signals *b)
{
    struct slice x = core(buf_slice(&a->text)), y = core(buf_slice(&b->text));
    struct json_value json_x, json_y;

    if (a->cut || b->cut)
        return 0;
    if (a->call_count || b->call_count)
        return same_calls(a, b) ? 1 : -1;
    if (is_json(buf_slice(&a->text), &json_x) && is_json(buf_slice(&b->text), &json_y))
        return same_json(buf_slice(&a->text), buf_slice(&b->text)) ? 1 : -1;
    if (same_text(x, y))
        return 1;
    return x.n <= CONFIDENCE_SHORT_BYTES && y.n <= CONFIDENCE_SHORT_BYTES ? -1 : 0;
}
