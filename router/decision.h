/* What is told of a request's decisions: in a header of its reply, and in the ledger. Pure but for
 * the request's arena; the worker's. */
#ifndef ROUTER_DECISION_H
#define ROUTER_DECISION_H

#include <stddef.h>

struct request;
struct ledger_decision;

/* "small 0.41, big 0.90: accepted": the judged answers in order, and why it ended there. NULL: no
 * answer was judged. */
const char *decision_header(struct request *r);
/* The plan's choices as rows; *count of them, 0 without a plan. In the request's arena. */
const struct ledger_decision *decision_rows(struct request *r, size_t *count);

/* The plan's choices into the metrics. */
void decision_count(struct request *r);

#endif
