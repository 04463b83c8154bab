/* The texts a command works on: its operands, or the lines of standard input as they come.
 * Single-threaded. */
#ifndef GATEWAY_CLI_LINES_H
#define GATEWAY_CLI_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include "base/slice.h"
#include "gateway/cli/cli.h"

struct lines {
    const struct cli_args *args;
    int next;   /* operand */
    char *line; /* owned: of standard input */
    size_t line_cap;
    bool failed; /* standard input could not be read */
};

/* No operand, or "-": lines of standard input, without their ends. */
void lines_init(struct lines *l, const struct cli_args *a);
bool lines_next(struct lines *l, struct slice *text); /* valid until the next call */
void lines_clear(struct lines *l);

#endif
