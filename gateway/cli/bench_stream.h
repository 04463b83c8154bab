/* weir bench --split prequential: streams of requests over several seeds, told in a table. */
#ifndef GATEWAY_CLI_BENCH_STREAM_H
#define GATEWAY_CLI_BENCH_STREAM_H

#include "gateway/cli/bench_run.h"

/* Prints to standard output. how->seed counts from 0 to seeds - 1. floor: of the objective, as a
 * share of successes, which windows of 1,000 requests are held against; PRICE_NONE: none. */
void bench_stream_report(const struct bench_set *s, const struct beliefs_objective *o,
                         const struct bench_stream *how, int seeds, double floor);

#endif
