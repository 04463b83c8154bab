/* Whether two answers say the same. Called once when a second model has answered, and for each
 * sample of one. */
#include "router/confidence.h"

#include "backends/wire/answer_signals.h"
#include "backends/wire/member.h"
#include "base/arena.h"
#include "base/json_same.h"
#include "router/final_answer.h"
#include "router/plain_text.h"

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

/* 1 or -1 by calls or JSON; 0: they are texts. */
static double compare_structure(const struct answer_signals *a, const struct answer_signals *b)
{
    struct slice x = buf_slice(&a->text), y = buf_slice(&b->text);
    struct json_value json_x, json_y;

    if (a->call_count || b->call_count)
        return same_calls(a, b) ? 1 : -1;
    if (is_json(x, &json_x) && is_json(y, &json_y))
        return same_json(x, y) ? 1 : -1;
    return 0;
}

double confidence_agreement(const struct answer_signals *a, const struct answer_signals *b)
{
    struct slice x = plain_text_core(buf_slice(&a->text)), y = plain_text_core(buf_slice(&b->text));
    struct final_answer end_x, end_y;
    double known;

    if (a->cut || b->cut)
        return 0;
    known = compare_structure(a, b);
    if (known != 0)
        return known;
    if (plain_text_same(x, y))
        return 1;
    end_x = final_answer_find(buf_slice(&a->text));
    end_y = final_answer_find(buf_slice(&b->text));
    if (end_x.kind != FINAL_NONE && end_y.kind != FINAL_NONE)
        return final_answer_same(&end_x, &end_y) ? 1 : -1;
    return x.n <= FINAL_ANSWER_SHORT_BYTES && y.n <= FINAL_ANSWER_SHORT_BYTES ? -1 : 0;
}

double confidence_repeats(const struct answer_signals *first, const struct answer_signals *again)
{
    double known = confidence_agreement(first, again);

    if (known != 0)
        return known > 0;
    return final_answer_likeness(buf_slice(&first->text), buf_slice(&again->text));
}
