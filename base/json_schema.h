/* Does a JSON value fit a JSON Schema (draft 2020-12)? What structured outputs and tools use of it
 * is understood; a keyword that is not makes the answer "unknown" where nothing else decides, never
 * a pass. Both texts are read in place: no tree, nothing compiled. Pure; any thread.
 *
 * Understood: true, false; type, enum, const; properties, required, additionalProperties,
 * patternProperties, propertyNames, minProperties, maxProperties, dependentRequired,
 * dependentSchemas; items (a list too: prefixItems of older drafts), prefixItems, contains,
 * minContains, maxContains, minItems, maxItems, uniqueItems; minimum, maximum, exclusiveMinimum,
 * exclusiveMaximum, multipleOf; minLength, maxLength, pattern; format date, time, date-time, uuid,
 * ipv4, email; allOf, anyOf, oneOf, not, if, then, else; $ref within the document (JSON Pointer).
 * Passed over, as they assert nothing: title, description, default, examples, $defs and the like.
 *
 * A schema may come from a peer: work is bounded by JSON_SCHEMA_MAX_STEPS, depth by
 * JSON_SCHEMA_MAX_DEPTH; beyond, the answer is unknown. Source: json-schema.org, "JSON Schema: A
 * Media Type for Describing JSON Documents" and "Validation", 2020-12. */
#ifndef BASE_JSON_SCHEMA_H
#define BASE_JSON_SCHEMA_H

#include "base/err.h"
#include "base/json_scan.h"

#define JSON_SCHEMA_MAX_STEPS 200000 /* a keyword of a value, a member or an element each */
#define JSON_SCHEMA_MAX_DEPTH 128    /* of schemas in schemas, references followed */

enum json_schema_result { JSON_SCHEMA_PASS, JSON_SCHEMA_FAIL, JSON_SCHEMA_UNKNOWN };

/* Both were validated as JSON. why (may be NULL): of a fail the place in value (a JSON Pointer, ""
 * is the whole) and what it breaks; of an unknown what could not be told. */
enum json_schema_result json_schema_check(struct json_value schema, struct json_value value,
                                          struct err_text *why);

#endif
