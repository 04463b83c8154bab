/* Tool calls and their results. Owns nothing; called by the writers of requests, once each. */
#include "backends/wire/tool_pairs.h"

#include <stdlib.h>
#include <string.h>

struct call {
    const struct chat_message *message;
    const struct chat_part *part;
    size_t order;    /* in the turn */
    size_t answered; /* of the first of equal ids: how many of them are */
};

/* The calls of the assistant's turn that is open. */
struct turn {
    struct call *calls; /* with room for all of the chat */
    size_t count, pending;
    bool sorted; /* by id: results are looked up */
    bool closed; /* the other side has spoken */
};

static int by_id(const void *a, const void *b)
{
    const struct call *x = a, *y = b;
    struct slice s = x->part->id, t = y->part->id;
    size_t shorter = s.n < t.n ? s.n : t.n;
    int order = shorter ? memcmp(s.p, t.p, shorter) : 0;

    if (order == 0)
        order = (s.n > t.n) - (s.n < t.n);
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

static bool fault(struct tool_pairs_fault *out, const struct chat_message *m,
                  const struct chat_part *p, const char *why)
{
    *out = (struct tool_pairs_fault){.message = m, .part = p, .why = why};
    return false;
}

static void open_turn(struct turn *t)
{
    t->count = t->pending = 0;
    t->sorted = t->closed = false;
}

static void add_calls(struct turn *t, const struct chat_message *m)
{
    for (const struct chat_part *p = m->parts; p; p = p->next)
        if (p->kind == CHAT_PART_TOOL_CALL) {
            t->calls[t->count] = (struct call){.message = m, .part = p, .order = t->count};
            t->count++;
            t->pending++;
        }
}

/* The first call of that id; NULL: none. */
static struct call *find(struct turn *t, struct slice id)
{
    size_t low = 0, high = t->count;
    const struct chat_part wanted = {.id = id};
    const struct call key = {.part = &wanted}; /* order 0: before all of its id */

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_id(&t->calls[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->count && slice_eq(t->calls[low].part->id, id) ? &t->calls[low] : NULL;
}

static bool same_id(const struct call *a, const struct call *b)
{
    return slice_eq(a->part->id, b->part->id);
}

static bool sort(struct turn *t, enum tool_pairs_by by, struct tool_pairs_fault *out)
{
    if (t->sorted)
        return true;
    t->sorted = true;
    if (t->count > 1)
        qsort(t->calls, t->count, sizeof *t->calls, by_id);
    for (size_t i = 1; by == TOOL_PAIRS_BY_TURN && i < t->count; i++)
        if (same_id(&t->calls[i - 1], &t->calls[i]))
            return fault(out, t->calls[i].message, t->calls[i].part,
                         "Another call of the turn has this id.");
    return true;
}

/* Before the conversation goes on. */
static bool all_answered(struct turn *t, enum tool_pairs_by by, struct tool_pairs_fault *out)
{
    const struct call *first = NULL;
    size_t answered = 0; /* of this id, from here on */

    if (t->pending == 0)
        return true;
    if (!sort(t, by, out))
        return false;
    for (size_t i = 0; i < t->count; i++) {
        if (i == 0 || !same_id(&t->calls[i - 1], &t->calls[i]))
            answered = t->calls[i].answered;
        if (answered > 0)
            answered--;
        else if (!first || t->calls[i].order < first->order)
            first = &t->calls[i];
    }
    return fault(out, first->message, first->part, "No result of this tool call follows it.");
}

static bool answer(struct turn *t, enum tool_pairs_by by, const struct chat_message *m,
                   const struct chat_part *result, struct tool_pairs_fault *out)
{
    struct call *call;
    size_t i;

    if (!sort(t, by, out))
        return false;
    call = t->closed ? NULL : find(t, result->id);
    if (!call)
        return fault(out, m, result, "It is the result of no tool call right before it.");
    i = (size_t)(call - t->calls) + call->answered;
    if (i >= t->count || !same_id(call, &t->calls[i]))
        return fault(out, m, result, "The tool call has its result already.");
    call->answered++;
    t->pending--;
    return true;
}

/* A message of the side that answers. OpenAI's writer puts the results of one message before the
 * rest of it, so that only a rest closes the turn. */
static bool take_answers(struct turn *t, enum tool_pairs_by by, const struct chat_message *m,
                         struct tool_pairs_fault *out)
{
    bool rest = false;

    for (const struct chat_part *p = m->parts; p; p = p->next) {
        rest |= p->kind != CHAT_PART_TOOL_RESULT;
        if (p->kind == CHAT_PART_TOOL_RESULT && !answer(t, by, m, p, out))
            return false;
    }
    if (!rest || by == TOOL_PAIRS_BY_TURN)
        return true;
    t->closed = true;
    return all_answered(t, by, out);
}

static size_t count_calls(const struct chat *c)
{
    size_t count = 0;

    for (const struct chat_message *m = c->messages; m; m = m->next)
        for (const struct chat_part *p = m->parts; p; p = p->next)
            count += p->kind == CHAT_PART_TOOL_CALL;
    return count;
}

bool tool_pairs_match(const struct chat *c, enum tool_pairs_by by, struct arena *a,
                      struct tool_pairs_fault *out)
{
    size_t most = count_calls(c);
    struct turn t = {.calls = most ? ARENA_ARRAY(a, struct call, most) : NULL};
    bool assistant_before = false;

    for (const struct chat_message *m = c->messages; m; m = m->next) {
        bool assistant = m->role == CHAT_ASSISTANT;

        if (m->role == CHAT_SYSTEM || m->role == CHAT_DEVELOPER) {
            if (by == TOOL_PAIRS_BY_MESSAGE && !all_answered(&t, by, out))
                return false;
            continue;
        }
        if (assistant && !(assistant_before && by == TOOL_PAIRS_BY_TURN)) {
            if (!all_answered(&t, by, out))
                return false;
            open_turn(&t);
        }
        assistant_before = assistant;
        if (assistant)
            add_calls(&t, m);
        else if (!take_answers(&t, by, m, out))
            return false;
    }
    return all_answered(&t, by, out);
}
