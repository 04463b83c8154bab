/* Figures with their interval, for programs: {"value", "low", "high"}; null where nothing is known.
 * Pure. */
#ifndef GATEWAY_REPORT_INTERVAL_JSON_H
#define GATEWAY_REPORT_INTERVAL_JSON_H

#include <jansson.h>
#include "router/report/interval.h"

json_t *interval_json(struct interval i);
json_t *interval_json_number(double v); /* null for what is no finite number */

#endif
