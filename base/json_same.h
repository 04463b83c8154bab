/* Do two JSON texts mean the same value? Members in any order, numbers by their value, strings
 * decoded: the rules are json_canonical.h's. (json_equal would be jansson's.) Pure. */
#ifndef BASE_JSON_SAME_H
#define BASE_JSON_SAME_H

#include "base/arena.h"
#include "base/digest.h"
#include "base/json_scan.h"

/* Equal values have equal digests, others (SHA-256) do not. v was validated; scratch grows with it.
 */
struct digest json_same_digest(struct json_value v, struct arena *scratch);
bool json_same(struct json_value a, struct json_value b, struct arena *scratch);

#endif
