/* The ledger read from end to end for reports and replays: every request of a span of time with its
 * attempts, decisions and outcomes. In pages, each a read transaction of milliseconds, so that a
 * running weir is never held up and its write-ahead log can be emptied. One thread. */
#ifndef ROUTER_LEDGER_SCAN_H
#define ROUTER_LEDGER_SCAN_H

#include "router/ledger_read.h"

/* Requests that were received from since on and before until, Unix microseconds, in the order in
 * which they were booked, weir's own (purpose) among them. Outcomes of an audit are those of its
 * fresh answer. A story is valid during visit; its checks are not counted. */
struct ledger_scan {
    int64_t since_wall_us, until_wall_us;
    void (*visit)(void *ctx, const struct ledger_story *s);
    void *ctx;
};
enum err ledger_scan(struct ledger_reader *r, const struct ledger_scan *how,
                     struct err_text *t) MUST_CHECK; /* ERR_INTERNAL */

/* What is known of a model's answer in the story: the newest word of each source that was not
 * taken back; of those the one that weighs most, then the newest. NULL: nobody said. (The views
 * outcomes_now and request_outcomes say the same in SQL.) */
const struct ledger_outcome *ledger_outcome_of(const struct ledger_story *s, const char *model);

#endif
