/* The gate's word: uses in the low bits, flags on top. Called by workers (users) and the launcher's
 * thread (keeper). */
#include "backends/gate.h"

#include <assert.h>
#include "base/clock.h"

#define OPEN       (UINT64_C(1) << 63)
#define WATCHED    (UINT64_C(1) << 62)
#define USES(word) ((int64_t)((word) & (WATCHED - 1)))

bool gate_enter(struct gate *g)
{
    uint64_t word = atomic_load_explicit(&g->word, memory_order_relaxed);

    do {
        if (!(word & OPEN))
            return false;
    } while (!atomic_compare_exchange_weak(&g->word, &word, word + 1));
    atomic_store_explicit(&g->last_use_us, clock_mono_us(), memory_order_relaxed);
    return true;
}

bool gate_leave(struct gate *g)
{
    uint64_t before;

    /* The time goes first: who sees that nobody is in also sees since when. */
    atomic_store_explicit(&g->last_use_us, clock_mono_us(), memory_order_relaxed);
    before = atomic_fetch_sub(&g->word, 1);
    assert(USES(before) > 0);
    return USES(before) == 1 && (before & WATCHED);
}

int64_t gate_uses(const struct gate *g)
{
    return USES(atomic_load(&g->word));
}

void gate_open(struct gate *g, bool watched)
{
    if (watched) {
        atomic_fetch_or(&g->word, OPEN | WATCHED);
    } else {
        atomic_fetch_and(&g->word, ~WATCHED);
        atomic_fetch_or(&g->word, OPEN);
    }
}

void gate_close(struct gate *g)
{
    /* In this order no last use can end unannounced. */
    atomic_fetch_or(&g->word, WATCHED);
    atomic_fetch_and(&g->word, ~OPEN);
}

bool gate_close_if_idle(struct gate *g)
{
    uint64_t word = atomic_load(&g->word);

    do {
        if (USES(word) > 0)
            return false;
    } while (!atomic_compare_exchange_weak(&g->word, &word, UINT64_C(0)));
    return true;
}
