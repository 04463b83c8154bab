/* A cost report as a page (Markdown or HTML with pictures) and as JSON. */
#ifndef GATEWAY_REPORT_PAGES_H
#define GATEWAY_REPORT_PAGES_H

#include <jansson.h>
#include "gateway/report/doc.h"
#include "gateway/report/figures.h"

struct pages_span {
    int64_t since_wall_us, until_wall_us;
};
void pages_write(struct doc *d, const struct figures *f, const struct pages_span *span);
json_t *pages_json(const struct figures *f, const struct pages_span *span); /* the caller's */

#endif
