/* The language of policy files for editors and for readers, generated from policy_spec. Any thread.
 */
#ifndef POLICIES_POLICY_SCHEMA_H
#define POLICIES_POLICY_SCHEMA_H

#include "base/buf.h"

/* JSON Schema, draft 2020-12 (https://json-schema.org/draft/2020-12). Whatever it refuses the
 * parser refuses; the parser refuses more (references, contradictions). */
enum err policy_schema_write(struct buf *out) MUST_CHECK;
/* Markdown: a table per object. */
enum err policy_reference_write(struct buf *out) MUST_CHECK;

#endif
