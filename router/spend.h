/* What was spent on something on this day and in this month (UTC): two sums that begin anew by
 * themselves. They are asked before and booked after, so that a limit may be passed by what was
 * under way when it was reached. Each sum has two parts: what was booked here, exact, and what was
 * last heard of other replicas (router/spends_share.h). Any thread. */
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
        _Atomic int64_t period_elsewhere, elsewhere; /* likewise, at other replicas */
    } page[SPEND_PERIODS];
};

nanousd spend_in(struct spend *s, enum spend_period p, int64_t wall_us); /* here and elsewhere */
nanousd spend_here(struct spend *s, enum spend_period p, int64_t wall_us);
void spend_book(struct spend *s, nanousd cost, int64_t wall_us);

/* For who shares sums with other replicas: the number of the page as it is, what was booked here if
 * it is that of `period` (else 0), and what others have spent in it, as heard by one thread. Within
 * a period that only grows: a store that has lost its sums gives nobody a new budget. */
int64_t spend_page_period(const struct spend *s, enum spend_period p);
nanousd spend_booked(const struct spend *s, enum spend_period p, int64_t period);
void spend_hear(struct spend *s, enum spend_period p, int64_t period, nanousd elsewhere);
/* What was booked here by an earlier process and is missing in the ledger. */
void spend_restore(struct spend *s, enum spend_period p, int64_t period, nanousd cost);

/* The number of the period that a time lies in, and the time when it began. */
int64_t spend_period_of(enum spend_period p, int64_t wall_us);
int64_t spend_period_begin_us(enum spend_period p, int64_t period);

#endif
