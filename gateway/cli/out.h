/* What all commands write with: standard output whose failures are noticed, colours when a person
 * looks, and diagnostics. Single-threaded. */
#ifndef GATEWAY_CLI_OUT_H
#define GATEWAY_CLI_OUT_H

#include <jansson.h>
#include <stdio.h>
#include "base/buf.h"
#include "policies/policy_load.h"

#define OUT_BYTES ((size_t)64 << 20) /* bound of a buffer that is printed */

/* Escape sequences for f: "" unless it is a terminal, NO_COLOR is unset (no-color.org) and TERM is
 * not "dumb". */
enum out_style { OUT_PLAIN, OUT_BOLD, OUT_RED, OUT_YELLOW, OUT_GREEN };
const char *out_style(FILE *f, enum out_style s);

void out_slice(FILE *f, struct slice s);
void out_json(json_t *o); /* takes o over; to standard output, with a newline */
/* Of commands that print a table, or with this what it says by out_json. */
#define OUT_OPTION_JSON                                                                            \
    {                                                                                              \
        .name = "json", .help = "Write the figures as JSON."                                       \
    }
/* One line each, the kind and the file's place in colour. */
void out_diags(FILE *f, const struct diags *d);
/* Loads a policy for a command that needs one: its errors go to stderr. NULL when there are some.
 */
struct policy *out_load_policy(const char *file, bool secrets);

/* Flushes standard output. code, or EXIT_CODE_RUNTIME when something could not be written; says so.
 */
int out_finish(int code);

#endif
