/* Writes JSON text piece by piece to the end of a buffer. All or nothing: when a piece does not
 * fit, json_pen_end takes back what was written since json_pen_begin. Pure; the caller keeps the
 * grammar. */
#ifndef BACKENDS_WIRE_JSON_PEN_H
#define BACKENDS_WIRE_JSON_PEN_H

#include <stdint.h>
#include "base/buf.h"

struct json_pen {
    struct buf *out;    /* borrowed */
    size_t start_bytes; /* that were in out before */
    enum err err;       /* of the first piece that did not fit; later pieces are not written */
};

void json_pen_begin(struct json_pen *pen, struct buf *out);
/* ERR_UPSTREAM_TOO_LARGE (or ERR_OVERLOADED without memory), and out as it was, when something did
 * not fit. */
enum err json_pen_end(struct json_pen *pen) MUST_CHECK;

void json_pen_raw(struct json_pen *pen, struct slice text);
/* Any UTF-8 as a JSON string, quotes included. */
void json_pen_string(struct json_pen *pen, struct slice text);
void json_pen_int(struct json_pen *pen, int64_t n);
/* JSON text of others that must stay on one line: line ends, which are white space there, become
 * spaces. */
void json_pen_line(struct json_pen *pen, struct slice json);

#define JSON_PEN(pen, literal) json_pen_raw((pen), SLICE(literal))

#endif
