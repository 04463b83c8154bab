/* The endpoints of one backend as one worker sees them: choice by outstanding work and latency,
 * limits in flight, passive health. The numbers in flight and the health verdicts are shared
 * between workers through struct endpoint_shared (atomics), so that a limit is a limit of the
 * process. Choice and health are pure given the clock value passed in.
 *
 * Choice ("power of two choices", Mitzenmacher 2001, with peak-EWMA cost as in Finagle): two
 * distinct healthy candidates at random, the one with the smaller (in_flight + 1) * ewma latency
 * wins. Health: an endpoint is ejected after `eject_after` consecutive transport failures or 5xx
 * for an exponentially growing time (1 s .. 60 s), then one probe request is let through. If all
 * are ejected the one whose ejection ends first is used (a fleet is never locked out by its own
 * health check). */
#ifndef BACKENDS_ENDPOINTS_H
#define BACKENDS_ENDPOINTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/rng.h"

struct endpoint_shared { /* one per endpoint and process, zero-initialised */
    _Atomic int64_t in_flight;
    _Atomic int64_t background; /* of them: requests of weir's own, which leave room for clients */
    _Atomic int64_t ewma_us;    /* of first-byte latency of successes; 0: unknown */
    _Atomic int64_t
        ewma_at_us; /* monotonic: when it was learnt; it halves every 5 s without news */
    _Atomic int64_t ejected_until_us; /* monotonic; 0: healthy */
    _Atomic int32_t failures;         /* consecutive */
    _Atomic int32_t ejections;        /* consecutive, for the exponential back-off */
    _Atomic int64_t requests, errors; /* totals, for /admin */
};

/* Lives as long as the process: endpoints keep their counts over policy reloads. Keyed by backend
 * name and endpoint URL. Thread-safe (control thread binds at policy load; look-ups are by pointer
 * afterwards). */
struct endpoint_registry;
struct endpoint_registry *endpoint_registry_new(void);
void endpoint_registry_free(struct endpoint_registry *r);
struct endpoint_shared *endpoint_registry_bind(struct endpoint_registry *r, const char *backend,
                                               const char *url);

/* Picks an index among n, or -1 when every endpoint is excluded (bit i of exclude_mask) or at
 * max_in_flight (-1: no limit). On success the endpoint's in_flight is already raised: pair with
 * endpoint_release. */
int endpoint_acquire(struct endpoint_shared *const *eps, int n, uint64_t exclude_mask,
                     int64_t max_in_flight, int64_t now_us, struct rng *rng);
/* The same for a conversation: the endpoint that rendezvous hashing (backends/rendezvous.h) gives
 * its prefix, as long as that one is healthy and not overloaded beside the others. hashes:
 * rendezvous_endpoint_hash of each. */
int endpoint_acquire_affine(struct endpoint_shared *const *eps, const uint64_t *hashes, int n,
                            uint64_t exclude_mask, int64_t max_in_flight, uint64_t prefix_hash,
                            int64_t now_us, struct rng *rng);
/* What came of it. first_byte_us -1 when none. err as in upstream_result or the classified HTTP
 * error. ERR_CLIENT_GONE neither helps nor harms. */
void endpoint_release(struct endpoint_shared *e, enum err err, int64_t first_byte_us,
                      int64_t now_us);
/* For a request of weir's own, on the endpoint `at` that it has acquired: it stays within the share
 * of the backend's room (n endpoints, max_in_flight each) that is not kept for clients: a quarter,
 * at least one. false: that share is taken; the endpoint is then still to be released. true: pair
 * with endpoint_background_leave, before the release. _has_room: would it be so now, if nobody else
 * came? No limit, no share. */
bool endpoint_background_has_room(struct endpoint_shared *const *eps, int n, int64_t max_in_flight);
bool endpoint_background_enter(struct endpoint_shared *const *eps, int n, int at,
                               int64_t max_in_flight);
void endpoint_background_leave(struct endpoint_shared *e);
bool endpoint_healthy(const struct endpoint_shared *e, int64_t now_us);

#endif
