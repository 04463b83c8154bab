/* Anthropic's error answers, both ways. Pure. Sources: Anthropic API reference (errors: HTTP
 * statuses and types; error shape with request_id), and the messages that its SDKs and agents act
 * upon. */
#ifndef BACKENDS_WIRE_ANTHROPIC_ERROR_H
#define BACKENDS_WIRE_ANTHROPIC_ERROR_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* What an Anthropic-like upstream's error answer means; as openai_error_classify, with the types
 * and sentences of this dialect first. status 0 or 200: an error event inside a stream. */
enum err anthropic_error_classify(int status, struct slice body);

/* error.type and the HTTP status a client of this dialect expects: its SDKs make typed exceptions
 * of the status (529 for an overloaded server). */
const char *anthropic_error_type(enum err e);
int anthropic_error_status(enum err e);

/* {"type":"error","error":{"type":..,"message":..},"request_id":..} for e; message "" or NULL:
 * err_text(e); param: the member at fault, or NULL; request_id empty: no such member. A prompt that
 * does not fit is told in the words by which agents know to compact; a thread that its server does
 * not have, with the code by which the SDKs know to send the whole conversation. */
enum err anthropic_error_body(enum err e, const char *message, const char *param,
                              struct slice request_id, struct buf *out) MUST_CHECK;

#endif
