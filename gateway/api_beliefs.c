/* What the process believes now. Owns nothing. Control thread; called by api_admin.c. */
#include "gateway/api_beliefs.h"

#include "gateway/admin_reply.h"
#include "gateway/api_admin.h"
#include "gateway/beliefs_json.h"
#include "gateway/control.h"
#include "router/decide/beliefs.h"
#include "router/learner.h"
#include "router/neighbours.h"

static void get_beliefs(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    struct learner *l = control_learner(api_admin_control(admin));
    struct beliefs *b = l ? learner_beliefs(l, NULL) : NULL;
    struct neighbours *n = l ? learner_neighbours(l) : NULL;

    (void)rest;
    admin_reply_json(x, 200, NULL, beliefs_json(b, n, l != NULL));
    neighbours_unref(n);
    beliefs_unref(b);
}

const struct admin_route api_beliefs_routes[] = {
    {"GET", "/admin/beliefs", ADMIN_ONLY, get_beliefs},
    {0},
};
