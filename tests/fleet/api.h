/* The endpoints of OpenAI and Anthropic: finds what a request wants and makes its reply. */
#ifndef FLEET_API_H
#define FLEET_API_H

#include "base/http1.h"
#include "tests/fleet/exchange.h"

/* Fills in x->model, faults, answer and reply. Counts the request in its model's tally. */
void api_answer(struct exchange *x, const struct http1_head *head, struct slice body);

#endif
