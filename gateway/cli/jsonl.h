/* Lines of JSON out of a file, compressed by gzip or not; "-" is standard input. Single-threaded.
 */
#ifndef GATEWAY_CLI_JSONL_H
#define GATEWAY_CLI_JSONL_H

#include <jansson.h>
#include <stddef.h>
#include "base/err.h"

struct jsonl;

/* NULL with t. path is borrowed. */
struct jsonl *jsonl_open(const char *path, struct err_text *t);
void jsonl_close(struct jsonl *f); /* NULL is fine */
/* The next object, the caller's: *o NULL at the end. Empty lines are skipped. ERR_BAD_REQUEST with
 * t, which begins with file and line. */
enum err jsonl_next(struct jsonl *f, json_t **o, struct err_text *t) MUST_CHECK;
size_t jsonl_line(const struct jsonl *f); /* of the last one, from 1 */

#endif
