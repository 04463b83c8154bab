/* An entry of the cache as one line of JSON, in files that are exported and imported: everything
 * that is kept of it, byte for byte (the vector's halves in base64, little endian). Pure. */
#ifndef GATEWAY_CACHE_LINE_H
#define GATEWAY_CACHE_LINE_H

#include <jansson.h>
#include "cache/cache_entry.h"

#define CACHE_LINE_VERSION 1

json_t *cache_line_json(const struct cache_fields *f);
/* ERR_BAD_REQUEST with why, which names the member. *out: a reference of source "import", of the
 * generation 0. */
enum err cache_line_parse(struct slice line, struct cache_entry **out,
                          struct err_text *why) MUST_CHECK;

#endif
