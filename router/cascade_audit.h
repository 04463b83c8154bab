/* What would other models have answered? A share of the finished requests of a route that judges
 * its answers is asked of every model of its cascade, in the background; a judge says which answers
 * are good, and the learner hears it: evidence of answers that nobody was served, chosen by chance
 * and not by what is believed.
 *
 * Never in the client's way: it begins when the reply is out, few at a time, within a daily budget,
 * and ends with the worker's drain. Fresh answers are kept under the request's id with "/audit"
 * behind it; the answer that was served is labelled under the request's own. threads: the worker's.
 */
#ifndef ROUTER_CASCADE_AUDIT_H
#define ROUTER_CASCADE_AUDIT_H

struct request;

/* The request is over and its body is still there: draws, and copies what is needed. */
void cascade_audit_plan(struct request *r);
/* The reply is out. */
void cascade_audit_begin(struct request *r);

#endif
