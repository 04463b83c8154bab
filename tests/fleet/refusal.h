/* Why a request is refused, in the shape of an OpenAI error. Plain data. */
#ifndef FLEET_REFUSAL_H
#define FLEET_REFUSAL_H

#include "base/buf.h"

struct refusal {
    int status;
    const char *type, *param, *code; /* static; NULL = JSON null */
    char message[600];
    long long retry_after_s, retry_after_ms; /* -1 = no header */
};

void refusal_say(struct refusal *r, int status, const char *param, const char *code,
                 const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* {"error":{...}} */
void refusal_print(const struct refusal *r, struct buf *out);

#endif
