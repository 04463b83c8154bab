/* Help pages, laid out like manual pages, and the manual page itself: both from the tables of cli.h
 * and exit.h, so that they cannot disagree with what is parsed. To standard output. */
#ifndef GATEWAY_CLI_HELP_H
#define GATEWAY_CLI_HELP_H

#include <stdio.h>
#include "gateway/cli/cli.h"

void help_usage(FILE *f);                       /* the commands, one line each */
void help_program(void);                        /* weir --help */
void help_command(const struct cli_command *c); /* weir help COMMAND */
void help_man(void);                            /* troff source of weir(1), every command in it */

#endif
