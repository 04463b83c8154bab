/* The events of a stream while they are rendered: a list that grows in the arena, and how many
 * pieces of the answer it has told so far. Pure. */
#ifndef FLEET_EVENTS_H
#define FLEET_EVENTS_H

#include "base/buf.h"
#include "tests/fleet/render.h"

struct events {
    const struct render *r;
    struct buf b; /* the event being written */
    struct reply_event *list;
    size_t n, cap, pieces; /* pieces sent so far, over all choices */
};

void events_init(struct events *e, const struct render *r);
/* Ends the event in e->b. name: of the SSE event (static), or NULL. */
void events_end(struct events *e, const char *name);
/* The pieces of the next event, taken off *rest. all_pieces: of the whole text, 0 = few. */
struct slice events_pieces(struct events *e, struct slice *rest, size_t all_pieces);
/* The list, in the arena; frees the rest. */
struct reply_event *events_done(struct events *e, size_t *n);

#endif
