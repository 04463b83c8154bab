/* The text of a JSON string value, decoded without a copy where nothing is escaped. Pure. */
#ifndef BACKENDS_WIRE_JSON_TEXT_H
#define BACKENDS_WIRE_JSON_TEXT_H

#include "base/buf.h"
#include "base/json_scan.h"

/* "" for anything but a string. *out lies in the value's own bytes, or in scratch, whose former
 * bytes are forgotten then. Fails as buf_reserve does. */
enum err json_text(struct json_value v, struct buf *scratch, struct slice *out) MUST_CHECK;

#endif
