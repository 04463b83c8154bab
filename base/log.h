/* logfmt lines to one file descriptor (stderr unless set), one write(2) per line, from any thread.
 *   time=2026-11-21T08:04:45.123Z level=info at=worker msg="listening" addr=127.0.0.1:8080
 * Values are quoted and escaped when they need it. Prompts and keys are never given to this module
 * by default. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include "base/slice.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_init(int fd, enum log_level level); /* fd borrowed for the life of the process */
bool log_enabled(enum log_level level);
enum log_level log_level_parse(struct slice s, bool *ok);

/* log_line(LOG_INFO, "worker", "listening", "addr=%s n=%d", addr, n): fmt gives further logfmt
 * pairs, already logfmt-safe; values that may hold anything go through log_quote. fmt may be NULL.
 */
void log_line(enum log_level level, const char *at, const char *msg, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A value as logfmt wants it, quoted if needed, cut to out_bytes with "..." ; returns out. */
const char *log_quote(struct slice value, char *out, size_t out_bytes);

#endif
