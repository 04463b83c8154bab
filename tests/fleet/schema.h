/* A smallest instance of a JSON schema, for tool arguments and structured output: every required
 * property (all of them when none is said to be required), enums by their first member, bounds
 * respected where they are simple. Pure. */
#ifndef FLEET_SCHEMA_H
#define FLEET_SCHEMA_H

#include "base/buf.h"
#include "base/json_scan.h"

/* Appends the instance to out. say is put where the schema has a string property that wants prose
 * ("answer", "text", "content" ...); other strings are a word of their own. schema must be
 * validated JSON. Depth is bounded: a recursive schema ends in null. */
void schema_instance(struct json_value schema, struct slice say, struct buf *out);

#endif
