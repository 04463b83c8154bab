/* Entries of the cache as the admin API shows them. Pure. */
#ifndef GATEWAY_CACHE_JSON_H
#define GATEWAY_CACHE_JSON_H

#include <jansson.h>
#include "cache/cache_entry.h"

/* What is known of it, without the answer itself: of a page's head, too. */
json_t *cache_json_head(const struct cache_fields *f);
/* With the answer: "body", as JSON where it is JSON, and the digests. */
json_t *cache_json_entry(const struct cache_fields *f);

/* What changes when anything of a whole entry does: its ETag. */
#define CACHE_JSON_TAG_BYTES (2 * CACHE_SUM_BYTES + 1)
void cache_json_tag(const struct cache_fields *f, char out[static CACHE_JSON_TAG_BYTES]);
/* Such a tag, back into a checksum. */
bool cache_json_parse_tag(struct slice tag, uint8_t out[static CACHE_SUM_BYTES]);

/* Pieces of both. hex: 2 n digits and a NUL. */
json_t *cache_json_tags(const struct cache_fields *f);
json_t *cache_json_usage(const struct token_usage *u);
void cache_json_hex(const uint8_t *bytes, size_t n, char *out);

#endif
