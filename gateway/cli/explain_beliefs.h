/* What weir believes of the models that a request would be put to, for weir explain: which it would
 * ask in which order, with which chances. Asks a running one's admin listener, or reads what one
 * has learned out of its file. Single-threaded. */
#ifndef GATEWAY_CLI_EXPLAIN_BELIEFS_H
#define GATEWAY_CLI_EXPLAIN_BELIEFS_H

#include <jansson.h>
#include <stdio.h>
#include "gateway/cli/cli.h"
#include "policies/policy.h"

struct explain_beliefs {
    const struct policy_route *route; /* borrowed */
    struct slice class_name;          /* borrowed; empty: none */
    json_t *answer;                   /* owned: as of /admin/beliefs; NULL: nobody knows */
    const json_t *context;            /* in it: of the route and class; NULL: why says why not */
    bool own_class;                   /* it is the class's, not that of all others */
    char why[512];
};

/* Of --url. Returns the exit code; when it is not EXIT_CODE_OK it was said why. */
int explain_beliefs_ask(struct explain_beliefs *e, const struct cli_args *a,
                        const struct policy_route *route, struct slice class_name);
/* Out of the policy's state directory, as a weir that serves the policy would have them. What
 * stands in the way is told in `why`. */
void explain_beliefs_read(struct explain_beliefs *e, struct policy *p,
                          const struct policy_route *route, struct slice class_name);
void explain_beliefs_clear(struct explain_beliefs *e); /* all zero is fine */

void explain_beliefs_tell(const struct explain_beliefs *e, FILE *f);
/* {"version", "why", "context"}: the caller's. */
json_t *explain_beliefs_json(const struct explain_beliefs *e);

#endif
