/* Owns nothing. Called on the workers, which share one cap. */
#include "router/daily_cap.h"

#define DAY_US INT64_C(86400000000)

/* Whoever first sees the new day empties the sum; what others book in that instant may be lost,
 * which is less than one answer's price. */
static void turn_page(struct daily_cap *c, int64_t wall_us)
{
    int64_t today = wall_us / DAY_US, then = atomic_load(&c->day);

    if (then < today && atomic_compare_exchange_strong(&c->day, &then, today))
        atomic_store(&c->spent_nanousd, 0);
}

bool daily_cap_has_room(struct daily_cap *c, nanousd limit, int64_t wall_us)
{
    turn_page(c, wall_us);
    return atomic_load(&c->spent_nanousd) < limit;
}

void daily_cap_book(struct daily_cap *c, nanousd cost, int64_t wall_us)
{
    turn_page(c, wall_us);
    atomic_fetch_add(&c->spent_nanousd, cost);
}
