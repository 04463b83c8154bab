/* Why a request is refused, in the shape of the errors of its dialect. Plain data. */
#ifndef FLEET_REFUSAL_H
#define FLEET_REFUSAL_H

#include <stdint.h>
#include "base/buf.h"

enum dialect { DIALECT_OPENAI, DIALECT_ANTHROPIC };

struct refusal {
    int status;
    const char *param, *code; /* static; NULL = JSON null; of Anthropic's errors few have a code */
    char message[600];
    long long retry_after_s, retry_after_ms; /* -1 = no header */
};

void refusal_say(struct refusal *r, int status, const char *param, const char *code,
                 const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* {"error":{...}}, or {"type":"error","error":{...},"request_id":...}. The type follows from the
 * status, as it does with both APIs. */
void refusal_print(const struct refusal *r, enum dialect d, uint64_t serial, struct buf *out);

#endif
