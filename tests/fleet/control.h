/* The fleet's own endpoints under /fleet/: stats, log, inflight, faults, reset. JSON in and out; no
 * key is asked for. */
#ifndef FLEET_CONTROL_H
#define FLEET_CONTROL_H

#include "base/http1.h"
#include "tests/fleet/exchange.h"

bool control_owns(struct slice target);
void control_answer(struct exchange *x, const struct http1_head *head, struct slice body);

#endif
