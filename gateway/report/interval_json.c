/* Called by the reports for programs: pages_json.c, weir replay. */
#include "gateway/report/interval_json.h"

#include <math.h>

json_t *interval_json_number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

json_t *interval_json(struct interval i)
{
    json_t *o = json_object();

    json_object_set_new(o, "value", interval_json_number(i.value));
    json_object_set_new(o, "low", interval_json_number(i.low));
    json_object_set_new(o, "high", interval_json_number(i.high));
    return o;
}
