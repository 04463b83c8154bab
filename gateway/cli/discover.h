/* What the servers of a policy list, and which of it the policy does not have yet. Asks every
 * server over the network; starts none. Single-threaded. */
#ifndef GATEWAY_CLI_DISCOVER_H
#define GATEWAY_CLI_DISCOVER_H

#include <stdbool.h>

/* Prints YAML to paste into the policy, or JSON. Keys are read. Returns an enum exit_code: RUNTIME
 * when a server that ought to be there gave no list. */
int discover_print(const char *file, bool json);

#endif
