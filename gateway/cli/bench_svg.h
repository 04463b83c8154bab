/* The quality-cost frontier as a picture: single models, their random mix, class routing and weir.
 * One self-contained SVG file. */
#ifndef GATEWAY_CLI_BENCH_SVG_H
#define GATEWAY_CLI_BENCH_SVG_H

#include "base/err.h"
#include "gateway/cli/bench_figures.h"

/* ERR_INTERNAL + t: the file cannot be written. */
enum err bench_svg(const char *path, const struct bench_set *s, const struct bench_figures *f,
                   struct err_text *t) MUST_CHECK;

#endif
