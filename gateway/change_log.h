/* Who changed what and when, in a file that only grows: one JSON object a line, each with the
 * SHA-256 of the line before it, so that a line that was changed or taken out shows. One thread;
 * appending blocks for one small write. */
#ifndef GATEWAY_CHANGE_LOG_H
#define GATEWAY_CHANGE_LOG_H

#include <jansson.h>
#include <stddef.h>
#include "base/err.h"

struct change_log;

struct change_log *change_log_new(const char *path); /* copied; opened when it is needed */
void change_log_free(struct change_log *l);          /* NULL is fine */
/* Can a change be recorded? To be asked before it is made. ERR_INTERNAL with t. */
enum err change_log_ready(struct change_log *l, struct err_text *t) MUST_CHECK;
/* Takes record over; "at" and "before" are added. ERR_INTERNAL with t. */
enum err change_log_append(struct change_log *l, json_t *record, struct err_text *t) MUST_CHECK;
/* The newest `most` records, the oldest of them first, and whether each names the one before it:
 * {"changes": [...], "whole": true}. Looks at the last CHANGE_LOG_TAIL_BYTES only. NULL with t. */
#define CHANGE_LOG_TAIL_BYTES ((size_t)1 << 20)
json_t *change_log_tail(struct change_log *l, size_t most, struct err_text *t);

#endif
