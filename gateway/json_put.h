/* Members of a JSON object, one call each, so that keys and values stay side by side. Nothing here
 * fails for what a value holds: text that is not UTF-8 keeps what can be kept. Pure. */
#ifndef GATEWAY_JSON_PUT_H
#define GATEWAY_JSON_PUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/slice.h"

json_t *json_put_slice(struct slice s); /* a '?' for each byte that is not UTF-8 */
json_t *json_put_string(const char *s); /* null for NULL */

void json_put(json_t *object, const char *key, json_t *value); /* takes value over; NULL: null */
void json_put_text(json_t *object, const char *key, const char *s);
void json_put_int(json_t *object, const char *key, int64_t n);
void json_put_bool(json_t *object, const char *key, bool b);
void json_put_share(json_t *object, const char *key, double x);       /* below 0, not known: null */
void json_put_time(json_t *object, const char *key, int64_t wall_us); /* RFC 3339 */

#endif
