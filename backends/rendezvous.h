/* Which endpoint holds the KV cache of this conversation? Rendezvous hashing (highest random
 * weight, Thaler & Ravishankar 1998) on the beginning of the conversation, with bounded loads
 * (Mirrokni, Thorup & Zadimoghaddam 2016): the endpoint with the highest weight serves, unless it
 * already has more than its share of what is in flight; then the next highest does. An endpoint
 * that comes or goes moves only the conversations it wins or had. Pure; any thread. */
#ifndef BACKENDS_RENDEZVOUS_H
#define BACKENDS_RENDEZVOUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/slice.h"

/* What names a conversation: a chain of hashes over the raw bytes of its first messages, up to and
 * with the user's first one. Later messages do not count, so every turn has the hash of the first
 * turn. Each message counts with its first RENDEZVOUS_MESSAGE_BYTES only: conversations about the
 * same long document share its cache, and the hot path does not hash megabytes. */
struct rendezvous_prefix {
    uint64_t hash;
    size_t messages; /* that went in */
    bool closed;     /* what follows does not count any more */
};

#define RENDEZVOUS_MESSAGES      8
#define RENDEZVOUS_MESSAGE_BYTES 4096

/* salt: the model, so that two models' conversations are spread independently; may be empty. */
void rendezvous_prefix_init(struct rendezvous_prefix *p, struct slice salt);
/* One message (or a prompt that is no list of messages) as it stands in the request, in order;
 * from_user closes the prefix after it, as does the RENDEZVOUS_MESSAGES-th message. */
void rendezvous_prefix_add(struct rendezvous_prefix *p, struct slice message, bool from_user);

/* The weight of one endpoint for one prefix. */
uint64_t rendezvous_weight(uint64_t prefix_hash, uint64_t endpoint_hash);
/* The identity of an endpoint: stable over restarts and over the order in the policy. */
uint64_t rendezvous_endpoint_hash(struct slice url);

struct rendezvous_endpoint {
    uint64_t hash;     /* rendezvous_endpoint_hash */
    int64_t in_flight; /* requests now */
    bool usable;       /* healthy, not excluded, not at its own limit */
};

/* Picks an index, or -1 when none is usable. An endpoint is passed over while it has at least
 * ceil(c * (all in flight + 1) / usable endpoints), c = 1.25; at least one always has room. */
int rendezvous_pick(uint64_t prefix_hash, const struct rendezvous_endpoint *eps, size_t n);

#endif
