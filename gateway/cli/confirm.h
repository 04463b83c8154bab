/* What cannot be undone is asked about first: on a terminal by a question, and nowhere else than on
 * a terminal without --yes. Single-threaded. */
#ifndef GATEWAY_CLI_CONFIRM_H
#define GATEWAY_CLI_CONFIRM_H

#include <stdbool.h>

/* Asks on standard error and reads one line of standard input, which must be `phrase` ("y" also as
 * "yes"). false: it was not, or there is no terminal; why was said. yes: --yes was given. */
bool confirm(const char *command, bool yes, const char *question, const char *phrase);

#endif
