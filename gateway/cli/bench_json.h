/* What weir bench found, for programs. Single-threaded. */
#ifndef GATEWAY_CLI_BENCH_JSON_H
#define GATEWAY_CLI_BENCH_JSON_H

#include <jansson.h>
#include "gateway/cli/bench_figures.h"
#include "gateway/cli/bench_stream.h"

struct beliefs;

/* Cross-validation: figures as bench_figures.h has them, intervals as {value, low, high}, null
 * where they cannot be had; of each class what b believes of it. The caller's. */
json_t *bench_json(const struct bench_set *s, const struct bench_figures *f,
                   const struct beliefs *b);
/* Streams: figures of both ways as {mean, least, most} of the seeds (null where some seed has
 * none), their comparison as {value, low, high}, and where the router's runs lie. The caller's. */
json_t *bench_json_streams(const struct bench_streams *f);

#endif
