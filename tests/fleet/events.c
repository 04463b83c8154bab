/* See events.h. Called by render.c and render_messages.c. */
#include "tests/fleet/events.h"

#include "tests/fleet/text.h"

#define EVENTS_MAX 8192 /* per text: a huge answer has larger events instead */

void events_init(struct events *e, const struct render *r)
{
    *e = (struct events){.r = r};
    buf_init(&e->b, MAX_TEXT_BYTES);
}

void events_end(struct events *e, const char *name)
{
    if (e->n == e->cap) {
        size_t cap = e->cap ? 2 * e->cap : 64;
        struct reply_event *list = ARENA_ARRAY(e->r->arena, struct reply_event, cap);
        if (e->n)
            memcpy(list, e->list, e->n * sizeof *list);
        e->list = list;
        e->cap = cap;
    }
    e->list[e->n++] =
        (struct reply_event){name, text_take(&e->b, e->r->arena),
                             e->pieces ? answer_tokens_after(e->r->answer, e->pieces) : 0};
}

struct slice events_pieces(struct events *e, struct slice *rest, size_t all_pieces)
{
    struct slice taken = {rest->p, 0};
    size_t wanted = (size_t)e->r->chunk_tokens, least = all_pieces / EVENTS_MAX;
    wanted = wanted > least ? wanted : least;
    for (size_t i = 0; i < wanted && rest->n; i++, e->pieces++)
        taken.n += answer_piece(rest).n;
    return taken;
}

struct reply_event *events_done(struct events *e, size_t *n)
{
    buf_clear(&e->b);
    *n = e->n;
    return e->list;
}
