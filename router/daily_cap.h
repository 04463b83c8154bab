/* What may be spent on something in a day (UTC): a sum that begins anew at midnight. It is asked
 * before and booked after, so that a day may go over by what was under way when it was reached.
 * Any thread. */
#ifndef ROUTER_DAILY_CAP_H
#define ROUTER_DAILY_CAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include "base/money.h"

struct daily_cap {       /* zeroed: nothing was spent */
    _Atomic int64_t day; /* since 1970 */
    _Atomic int64_t spent_nanousd;
};

bool daily_cap_has_room(struct daily_cap *c, nanousd limit, int64_t wall_us);
void daily_cap_book(struct daily_cap *c, nanousd cost, int64_t wall_us);

#endif
