/* What was spent on something on this day and in this month (UTC): two sums that begin anew by
 * themselves. They are asked before and booked after, so that a limit may be passed by what was
 * under way when it was reached. Any thread. */
#ifndef ROUTER_SPEND_H
#define ROUTER_SPEND_H

#include <stdatomic.h>
#include "base/money.h"

enum spend_period { SPEND_DAY, SPEND_MONTH, SPEND_PERIODS };

struct spend {        /* zeroed: nothing was spent */
    const char *name; /* in the ledger (router/spends.h); NULL: it is not kept there */
    struct spend_page {
        _Atomic int64_t period; /* its number, from 1970 on */
        _Atomic int64_t nanousd;
    } page[SPEND_PERIODS];
};

nanousd spend_in(struct spend *s, enum spend_period p, int64_t wall_us);
void spend_book(struct spend *s, nanousd cost, int64_t wall_us);

/* The number of the period that a time lies in, and the time when it began. */
int64_t spend_period_of(enum spend_period p, int64_t wall_us);
int64_t spend_period_begin_us(enum spend_period p, int64_t period);

#endif
