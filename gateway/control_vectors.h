/* Stored questions whose vectors are another encoder's, or that were imported without one, are
 * encoded again in the background, so that they have neighbours under the encoder in force: after a
 * start, a change of the encoder and an import, one after the other, CONTROL_VECTORS_PER_S at most,
 * and only while the encoder has nothing else to do. What the encoder cannot read whole, and what
 * was kept for repeats only, stays without.
 *
 * The cache checks the fingerprint once more when the vector arrives: vectors of an encoder that
 * was replaced meanwhile are refused there, and the walk begins anew. Control thread. */
#ifndef GATEWAY_CONTROL_VECTORS_H
#define GATEWAY_CONTROL_VECTORS_H

#include <event2/event.h>
#include "base/mailbox.h"
#include "base/stats.h"
#include "cache/admin_job.h"

#define CONTROL_VECTORS_PER_S 5

struct snapshot;

struct control_vectors {             /* embedded in struct control */
    const struct snapshot *snapshot; /* borrowed: what serves; NULL: nothing, or it drains */
    struct mailbox *mailbox;         /* borrowed */
    struct event *tick;              /* owned */
    struct stats_cell *count;
    struct admin_job *page; /* owned: questions that want a vector; NULL: not asked for yet */
    size_t next;            /* of them */
    char cursor[ADMIN_CURSOR_BYTES];
    uint8_t fingerprint[CACHE_FINGERPRINT_BYTES]; /* of the encoder that this walk is for */
    bool walking;                                 /* not at the end yet */
    bool waiting;                                 /* for an answer of the cache or the encoder */
    bool anew;                                    /* from the first entry on, after that answer */
    uint64_t encoded;                             /* since the start */
};

bool control_vectors_init(struct control_vectors *v, struct event_base *base,
                          struct mailbox *mailbox, struct stats *stats);
/* The last message to it was delivered or discarded. */
void control_vectors_clear(struct control_vectors *v);
/* Another snapshot serves; NULL: none from here on. */
void control_vectors_serve(struct control_vectors *v, const struct snapshot *s);
/* There may be more to encode. */
void control_vectors_want(struct control_vectors *v);

#endif
