/* Which endpoint, and is it well? Owns the registry of shared counters; the choice itself is pure
 * but for the atomics. Called by the control thread (bind) and by every worker (acquire, release).
 *
 * The counters are relaxed atomics: each is right by itself, and a choice made on figures a
 * microsecond old is as good as any. Only the limit in flight and the probe after an ejection are
 * decided by compare-and-swap. */
#include "backends/endpoints.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "backends/rendezvous.h"
#include "base/list.h"
#include "base/mem.h"

#define EJECT_AFTER  3 /* consecutive failures */
#define EJECT_MIN_US INT64_C(1000000)
#define EJECT_MAX_US INT64_C(60000000)
/* An old figure loses weight: who was slow once gets another chance although nobody asks it any
 * more. */
#define EWMA_HALF_LIFE_US INT64_C(5000000)
/* How long a probe may take before another is let through. */
#define PROBE_WAIT_US INT64_C(1000000)
/* Peak-EWMA: a slow answer counts at once, quicker ones bring the figure down by an eighth of the
 * difference each. */
#define EWMA_SHIFT    3
#define MAX_ENDPOINTS 64 /* bits of the exclude mask */
/* Of a backend's room: what requests of weir's own may fill, one part in so many. */
#define BACKGROUND_PART 4

#define GET(field)        atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define ADD(field, n)     atomic_fetch_add_explicit(&(field), (n), memory_order_relaxed)

/* ---- registry ---- */

struct entry {
    struct list link;
    struct endpoint_shared shared;
    char *backend, *url; /* owned */
};

struct endpoint_registry {
    pthread_mutex_t lock;
    struct list entries;
};

struct endpoint_registry *endpoint_registry_new(void)
{
    struct endpoint_registry *r = mem_zalloc(1, sizeof *r);

    pthread_mutex_init(&r->lock, NULL);
    list_init(&r->entries);
    return r;
}

void endpoint_registry_free(struct endpoint_registry *r)
{
    if (!r)
        return;
    LIST_FOREACH_SAFE (it, &r->entries) {
        struct entry *e = CONTAINER_OF(it, struct entry, link);

        free(e->backend);
        free(e->url);
        free(e);
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
}

struct endpoint_shared *endpoint_registry_bind(struct endpoint_registry *r, const char *backend,
                                               const char *url)
{
    struct entry *e = NULL;

    pthread_mutex_lock(&r->lock);
    LIST_FOREACH (it, &r->entries) {
        e = CONTAINER_OF(it, struct entry, link);
        if (strcmp(e->backend, backend) == 0 && strcmp(e->url, url) == 0)
            break;
        e = NULL;
    }
    if (!e) {
        e = mem_zalloc(1, sizeof *e);
        e->backend = mem_strdup(slice_str(backend));
        e->url = mem_strdup(slice_str(url));
        list_push_back(&r->entries, &e->link);
    }
    pthread_mutex_unlock(&r->lock);
    return &e->shared;
}

/* ---- choice ---- */

/* Raises in_flight unless the limit is reached. */
static bool enter(struct endpoint_shared *e, int64_t max_in_flight)
{
    int64_t n = GET(e->in_flight);

    do {
        if (max_in_flight >= 0 && n >= max_in_flight)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&e->in_flight, &n, n + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    ADD(e->requests, 1);
    return true;
}

static bool has_room(const struct endpoint_shared *e, int64_t max_in_flight)
{
    return max_in_flight < 0 || GET(e->in_flight) < max_in_flight;
}

/* Latency as believed now; 0: unknown. */
static int64_t latency_us(const struct endpoint_shared *e, int64_t now_us)
{
    int64_t halvings = (now_us - GET(e->ewma_at_us)) / EWMA_HALF_LIFE_US, us = GET(e->ewma_us);

    if (us <= 0)
        return 0;
    us = halvings <= 0 ? us : us >> (halvings < 40 ? halvings : 40);
    return us > 0 ? us : 1;
}

/* Is b the cheaper one? Cost is the work ahead of a new request: (in flight + 1) x latency. An
 * endpoint without a figure is asked once at once, so that it gets one; until then it is taken to
 * be as quick as the other, lest everybody rush there. */
static bool is_cheaper(const struct endpoint_shared *b, const struct endpoint_shared *a,
                       int64_t now_us)
{
    int64_t load_a = GET(a->in_flight) + 1, load_b = GET(b->in_flight) + 1;
    int64_t us_a = latency_us(a, now_us), us_b = latency_us(b, now_us);

    if (us_a == 0 && load_a == 1)
        return false;
    if (us_b == 0 && load_b == 1)
        return true;
    if (us_a == 0 || us_b == 0)
        us_a = us_b = 1;
    return (double)load_b * (double)us_b < (double)load_a * (double)us_a;
}

bool endpoint_healthy(const struct endpoint_shared *e, int64_t now_us)
{
    return GET(e->ejected_until_us) <= now_us;
}

/* An endpoint whose ejection has ended lets one request try: whoever moves the end on has the
 * probe. One more failure then ejects again. */
static bool claim_probe(struct endpoint_shared *e, int64_t now_us)
{
    int64_t until_us = GET(e->ejected_until_us);

    if (until_us == 0 || until_us > now_us ||
        !atomic_compare_exchange_strong_explicit(&e->ejected_until_us, &until_us,
                                                 now_us + PROBE_WAIT_US, memory_order_relaxed,
                                                 memory_order_relaxed))
        return false;
    SET(e->failures, EJECT_AFTER - 1);
    return true;
}

static int cheaper_of_two(struct endpoint_shared *const *eps, const int *healthy, int n,
                          int64_t now_us, struct rng *rng)
{
    int a = (int)rng_below(rng, (uint64_t)n), b;

    if (n == 1)
        return healthy[0];
    b = (int)rng_below(rng, (uint64_t)n - 1);
    if (b >= a)
        b++;
    return is_cheaper(eps[healthy[b]], eps[healthy[a]], now_us) ? healthy[b] : healthy[a];
}

/* One attempt to choose; -1 when nothing is left in the mask. */
static int choose(struct endpoint_shared *const *eps, int n, uint64_t usable, int64_t now_us,
                  struct rng *rng)
{
    int healthy[MAX_ENDPOINTS], count = 0, first_back = -1;

    for (int i = 0; i < n; i++) {
        if (!(usable >> i & 1))
            continue;
        int64_t until_us = GET(eps[i]->ejected_until_us);

        if (until_us == 0)
            healthy[count++] = i;
        else if (claim_probe(eps[i], now_us))
            return i;
        else if (first_back < 0 || until_us < GET(eps[first_back]->ejected_until_us))
            first_back = i;
    }
    return count ? cheaper_of_two(eps, healthy, count, now_us, rng) : first_back;
}

int endpoint_acquire(struct endpoint_shared *const *eps, int n, uint64_t exclude_mask,
                     int64_t max_in_flight, int64_t now_us, struct rng *rng)
{
    uint64_t usable = 0;

    if (n > MAX_ENDPOINTS)
        n = MAX_ENDPOINTS;
    for (int i = 0; i < n; i++) {
        if (!(exclude_mask >> i & 1) && has_room(eps[i], max_in_flight))
            usable |= UINT64_C(1) << i;
    }
    while (usable) {
        int i = choose(eps, n, usable, now_us, rng);

        if (enter(eps[i], max_in_flight))
            return i;
        usable &= ~(UINT64_C(1) << i); /* another worker took the last place */
    }
    return -1;
}

int endpoint_acquire_affine(struct endpoint_shared *const *eps, const uint64_t *hashes, int n,
                            uint64_t exclude_mask, int64_t max_in_flight, uint64_t prefix_hash,
                            int64_t now_us, struct rng *rng)
{
    struct rendezvous_endpoint candidates[MAX_ENDPOINTS];
    int i;

    if (n > MAX_ENDPOINTS)
        n = MAX_ENDPOINTS;
    for (i = 0; i < n; i++)
        candidates[i] = (struct rendezvous_endpoint){
            .hash = hashes[i],
            .in_flight = atomic_load_explicit(&eps[i]->in_flight, memory_order_relaxed),
            .usable = !(exclude_mask >> i & 1) && has_room(eps[i], max_in_flight) &&
                      endpoint_healthy(eps[i], now_us)};
    i = rendezvous_pick(prefix_hash, candidates, (size_t)n);
    if (i >= 0 && enter(eps[i], max_in_flight))
        return i;
    /* None is well, or another worker took the last place: as without affinity. */
    return endpoint_acquire(eps, n, exclude_mask, max_in_flight, now_us, rng);
}

/* ---- requests of weir's own ---- */

static int64_t background_room(int n, int64_t max_in_flight)
{
    int64_t part = max_in_flight < INT64_MAX / MAX_ENDPOINTS ? n * max_in_flight / BACKGROUND_PART
                                                             : max_in_flight / BACKGROUND_PART;

    return part > 0 ? part : 1;
}

/* Sequentially consistent: of two that enter at the same time on different endpoints at least one
 * sees the other. */
static int64_t background_count(struct endpoint_shared *const *eps, int n)
{
    int64_t count = 0;

    for (int i = 0; i < n; i++)
        count += atomic_load(&eps[i]->background);
    return count;
}

bool endpoint_background_has_room(struct endpoint_shared *const *eps, int n, int64_t max_in_flight)
{
    return max_in_flight < 0 || background_count(eps, n) < background_room(n, max_in_flight);
}

bool endpoint_background_enter(struct endpoint_shared *const *eps, int n, int at,
                               int64_t max_in_flight)
{
    atomic_fetch_add(&eps[at]->background, 1);
    if (max_in_flight < 0 || background_count(eps, n) <= background_room(n, max_in_flight))
        return true;
    atomic_fetch_sub(&eps[at]->background, 1);
    return false;
}

void endpoint_background_leave(struct endpoint_shared *e)
{
    atomic_fetch_sub(&e->background, 1);
}

/* ---- what came of it ---- */

static void learn_latency(struct endpoint_shared *e, int64_t us, int64_t now_us)
{
    int64_t old = latency_us(e, now_us);

    if (us <= 0)
        us = 1;
    SET(e->ewma_us, us >= old ? us : old + (us - old) / (1 << EWMA_SHIFT));
    SET(e->ewma_at_us, now_us);
}

static void eject(struct endpoint_shared *e, int64_t now_us)
{
    int32_t times = ADD(e->ejections, 1);
    int64_t for_us = EJECT_MIN_US;

    while (times-- > 0 && for_us < EJECT_MAX_US)
        for_us *= 2;
    SET(e->ejected_until_us, now_us + (for_us < EJECT_MAX_US ? for_us : EJECT_MAX_US));
}

/* Does this outcome speak against the endpoint? A refused or oversized prompt, a bad key, a rate
 * limit and a client that went away do not; they say nothing about its health either way. */
static bool is_failure(enum err err)
{
    switch ((int)err) {
    case ERR_UPSTREAM_CONNECT:
    case ERR_UPSTREAM_DNS:
    case ERR_UPSTREAM_TLS:
    case ERR_UPSTREAM_CONNECT_TIMEOUT:
    case ERR_UPSTREAM_RESET:
    case ERR_UPSTREAM_PROTOCOL:
    case ERR_UPSTREAM_CUT:
    case ERR_UPSTREAM_FIRST_BYTE_TIMEOUT:
    case ERR_UPSTREAM_IDLE_TIMEOUT:
    case ERR_UPSTREAM_OVERLOADED:
    case ERR_UPSTREAM_SERVER_ERROR:
        return true;
    default:
        return false;
    }
}

/* An answer of any kind proves that it is alive. */
static bool is_alive(enum err err)
{
    switch ((int)err) {
    case ERR_OK:
    case ERR_SUPERSEDED: /* it was answering */
    case ERR_UPSTREAM_AUTH:
    case ERR_UPSTREAM_QUOTA:
    case ERR_UPSTREAM_NOT_FOUND:
    case ERR_UPSTREAM_CONTEXT_LENGTH:
    case ERR_UPSTREAM_CONTENT_FILTER:
    case ERR_UPSTREAM_THINKING:
    case ERR_UPSTREAM_LOGPROBS:
    case ERR_UPSTREAM_REJECTED:
    case ERR_UPSTREAM_RATE_LIMITED:
        return true;
    default:
        return false;
    }
}

void endpoint_release(struct endpoint_shared *e, enum err err, int64_t first_byte_us,
                      int64_t now_us)
{
    ADD(e->in_flight, -1);
    if (err == ERR_OK && first_byte_us >= 0)
        learn_latency(e, first_byte_us, now_us);
    if (is_alive(err)) {
        SET(e->failures, 0);
        SET(e->ejections, 0);
        SET(e->ejected_until_us, 0);
    } else if (is_failure(err)) {
        ADD(e->errors, 1);
        /* exactly: what was in flight when it was ejected may fail too, and must not eject it again
         * and again */
        if (ADD(e->failures, 1) + 1 == EJECT_AFTER)
            eject(e, now_us);
    }
}
