/* What each route's audits have spent today (router/daily_cap.h), by the route's name: kept over
 * reloads. Owned and filled by control; workers only get at the caps, which never move. */
#ifndef ROUTER_AUDIT_CAPS_H
#define ROUTER_AUDIT_CAPS_H

struct audit_cap;
struct snapshot;

struct audit_caps { /* embedded; zeroed: none */
    struct audit_cap *first;
};

void audit_caps_clear(struct audit_caps *c);
/* Gives the snapshot's routes that audit their caps. Before it is shared. */
void audit_caps_serve(struct audit_caps *c, struct snapshot *s);

#endif
