/* A policy with names that spend, and the sums that go with it. */
#ifndef TESTS_UNIT_ROUTER_SPENDS_NAMES_H
#define TESTS_UNIT_ROUTER_SPENDS_NAMES_H

#include "router/snapshot.h"

struct spends_names {
    struct spends spends;
    struct arena arena;
    struct snapshot snap;
    struct spend *acme, *idle, *audits; /* audits: of the route "sound" */
};

/* In place: the sums are borrowed. Zeroed before; spends may be filled already. */
void spends_names_make(struct spends_names *n);
void spends_names_clear(struct spends_names *n);

#endif
