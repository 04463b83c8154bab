/* Owns nothing. Called on the workers, which share the sums, on control when it fills and shows
 * them, and on the thread that shares them with other replicas. */
#include "router/spend.h"

#define DAY_US INT64_C(86400000000)

/* Years begin in March here, so that the leap day is a year's last; months of a year have
 * (153 m + 2) / 5 days before them (Hinnant, "chrono-compatible low-level date algorithms"). */
enum { DAYS_OF_400_YEARS = 146097, DAYS_FROM_MARCH_0 = 719468 };

static int64_t month_of_day(int64_t day)
{
    int64_t z = day + DAYS_FROM_MARCH_0, era = z / DAYS_OF_400_YEARS, of_era;
    int64_t year, of_year, march;

    of_era = z - era * DAYS_OF_400_YEARS;
    year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    of_year = of_era - (365 * year + year / 4 - year / 100);
    march = (5 * of_year + 2) / 153; /* 0: March */
    return (era * 400 + year - 1970) * 12 + march + 2;
}

static int64_t first_day_of_month(int64_t month)
{
    int64_t since_march = month - 2 + 1970 * 12, year = since_march / 12, march = since_march % 12;

    return year * 365 + year / 4 - year / 100 + year / 400 + (153 * march + 2) / 5 -
           DAYS_FROM_MARCH_0;
}

int64_t spend_period_of(enum spend_period p, int64_t wall_us)
{
    int64_t day = wall_us / DAY_US;

    return p == SPEND_DAY ? day : month_of_day(day);
}

int64_t spend_period_begin_us(enum spend_period p, int64_t period)
{
    return (p == SPEND_DAY ? period : first_day_of_month(period)) * DAY_US;
}

/* Whoever first sees the new period empties the sum; what others book in that instant may be lost,
 * which is less than one answer's price. A clock that goes back gives nothing. */
static void turn_page(struct spend_page *page, int64_t now)
{
    int64_t then = atomic_load(&page->period);

    if (then < now && atomic_compare_exchange_strong(&page->period, &then, now))
        atomic_store(&page->nanousd, 0);
}

nanousd spend_here(struct spend *s, enum spend_period p, int64_t wall_us)
{
    turn_page(&s->page[p], spend_period_of(p, wall_us));
    return atomic_load(&s->page[p].nanousd);
}

/* Of another period nothing was heard yet. */
nanousd spend_in(struct spend *s, enum spend_period p, int64_t wall_us)
{
    const struct spend_page *page = &s->page[p];
    nanousd here = spend_here(s, p, wall_us);

    if (atomic_load(&page->period_elsewhere) != atomic_load(&page->period))
        return here;
    return money_add(here, atomic_load(&page->elsewhere));
}

void spend_book(struct spend *s, nanousd cost, int64_t wall_us)
{
    for (int p = 0; p < SPEND_PERIODS; p++) {
        turn_page(&s->page[p], spend_period_of((enum spend_period)p, wall_us));
        atomic_fetch_add(&s->page[p].nanousd, cost);
    }
}

int64_t spend_page_period(const struct spend *s, enum spend_period p)
{
    return atomic_load(&s->page[p].period);
}

nanousd spend_booked(const struct spend *s, enum spend_period p, int64_t period)
{
    const struct spend_page *page = &s->page[p];

    return atomic_load(&page->period) == period ? atomic_load(&page->nanousd) : 0;
}

void spend_hear(struct spend *s, enum spend_period p, int64_t period, nanousd elsewhere)
{
    struct spend_page *page = &s->page[p];
    bool known = atomic_load(&page->period_elsewhere) == period;

    if (known && atomic_load(&page->elsewhere) >= elsewhere)
        return;
    if (!known)
        atomic_store(&page->period_elsewhere, -1);
    atomic_store(&page->elsewhere, elsewhere);
    atomic_store(&page->period_elsewhere, period);
}

void spend_restore(struct spend *s, enum spend_period p, int64_t period, nanousd cost)
{
    struct spend_page *page = &s->page[p];

    turn_page(page, period);
    if (atomic_load(&page->period) == period)
        atomic_fetch_add(&page->nanousd, cost);
}
