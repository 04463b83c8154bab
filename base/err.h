/* One enum for everything that can go wrong, from one table (err.def). Errors are values: functions
 * that can fail return enum err, ERR_OK is 0. The table says, once, which HTTP status, retryability
 * and client text an error has. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#define MUST_CHECK __attribute__((warn_unused_result))

enum err {
#define ERR(name, status, retry, type, code, text) ERR_##name,
#include "base/err.def"
#undef ERR
    ERR_COUNT
};

enum err_retry { ERR_RETRY_NEVER, ERR_RETRY_SAME, ERR_RETRY_OTHER, ERR_RETRY_NEXT };

const char *err_name(
    enum err e); /* "UPSTREAM_RESET" in lower case: "upstream_reset"; for logs, metrics, ledger */
int err_http_status(enum err e); /* e.g. 502 */
enum err_retry err_retry(enum err e);
const char *err_openai_type(enum err e); /* error.type of the OpenAI error body */
const char *err_openai_code(enum err e); /* error.code, "" for null */
const char *err_text(enum err e);        /* one sentence for the client */

/* Where a message helps an operator beyond the enum: filled at the point of knowledge, always
 * NUL-terminated. */
struct err_text {
    char s[512];
};
void err_say(struct err_text *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))); /* t may be NULL */

#endif
