/* Hashes and one comparison loop; called by workers when they choose an endpoint. The hashes are
 * not keyed: whoever crafts prompts that all fall on one endpoint gains nothing, because the bound
 * on loads sends the surplus elsewhere. */
#include "backends/rendezvous.h"

#include <endian.h>

/* Odd constants with well-mixed bits; the finaliser is that of splitmix64 (Steele, Lea & Flood
 * 2014), which also ends each step of the chain. */
#define SEED     UINT64_C(0x9E3779B97F4A7C15)
#define MULTIPLY UINT64_C(0xBF58476D1CE4E5B9)
#define FINISH   UINT64_C(0x94D049BB133111EB)

/* The bound's c = 1.25 as a fraction. */
#define BOUND_UP   5
#define BOUND_DOWN 4

static uint64_t mix(uint64_t h)
{
    h = (h ^ (h >> 30)) * MULTIPLY;
    h = (h ^ (h >> 27)) * FINISH;
    return h ^ (h >> 31);
}

/* n <= 8 bytes. Little-endian whatever the machine: fleets agree about their endpoints. */
static uint64_t load(const char *p, size_t n)
{
    uint64_t v = 0;

    if (n)
        memcpy(&v, p, n);
    return le64toh(v);
}

/* What is left of n bytes; short names as a whole. */
static uint64_t hash_rest(uint64_t h, struct slice s, uint64_t n)
{
    for (; s.n >= 8; s = slice_from(s, 8))
        h = mix(h + SEED + load(s.p, 8) * MULTIPLY);
    /* The length goes in, too: "a" and "a\0" differ, and so do two messages and one of both. */
    return mix(h + SEED + load(s.p, s.n) * MULTIPLY + n);
}

/* Messages are long: sixteen bytes at a time by the halves of one wide product, as wyhash has it
 * (Wang Yi 2019), wait for one multiplication where mix for every eight waits for four. */
static uint64_t fold(uint64_t h, const char *p)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)(h ^ load(p, 8) ^ SEED) * (load(p + 8, 8) ^ MULTIPLY);

    return h + ((uint64_t)product ^ (uint64_t)(product >> 64));
}

static uint64_t hash_message(uint64_t h, struct slice s)
{
    uint64_t n = s.n;

    for (; s.n >= 16; s = slice_from(s, 16))
        h = fold(h, s.p);
    return hash_rest(h, s, n);
}

void rendezvous_prefix_init(struct rendezvous_prefix *p, struct slice salt)
{
    *p = (struct rendezvous_prefix){.hash = hash_message(SEED, salt)};
}

void rendezvous_prefix_add(struct rendezvous_prefix *p, struct slice message, bool from_user)
{
    if (p->closed)
        return;
    if (message.n > RENDEZVOUS_MESSAGE_BYTES)
        message.n = RENDEZVOUS_MESSAGE_BYTES;
    p->hash = hash_message(p->hash, message);
    p->messages++;
    p->closed = from_user || p->messages == RENDEZVOUS_MESSAGES;
}

uint64_t rendezvous_endpoint_hash(struct slice url)
{
    return hash_rest(~SEED, url, url.n);
}

uint64_t rendezvous_weight(uint64_t prefix_hash, uint64_t endpoint_hash)
{
    return mix(mix(prefix_hash + SEED) ^ endpoint_hash);
}

int rendezvous_pick(uint64_t prefix_hash, const struct rendezvous_endpoint *eps, size_t n)
{
    int64_t usable = 0, in_flight = 1, room; /* 1: the request itself */
    uint64_t best_weight = 0;
    int best = -1;

    for (size_t i = 0; i < n; i++) {
        if (eps[i].usable) {
            usable++;
            in_flight += eps[i].in_flight;
        }
    }
    if (usable == 0)
        return -1;
    room = (BOUND_UP * in_flight + BOUND_DOWN * usable - 1) / (BOUND_DOWN * usable);
    for (size_t i = 0; i < n; i++) {
        uint64_t weight = rendezvous_weight(prefix_hash, eps[i].hash);

        if (!eps[i].usable || eps[i].in_flight >= room)
            continue;
        if (best < 0 || weight > best_weight) {
            best = (int)i;
            best_weight = weight;
        }
    }
    return best;
}
