/* A GET of the admin API of a running weir, for commands that print what it says. */
#ifndef GATEWAY_CLI_ADMIN_GET_H
#define GATEWAY_CLI_ADMIN_GET_H

#include <jansson.h>
#include "gateway/cli/cli.h"

#define ADMIN_GET_OPTIONS                                                                          \
    {.name = "url",                                                                                \
     .argument = "URL",                                                                            \
     .help = "The admin listener; http://127.0.0.1:8081 when not given."},                         \
    {                                                                                              \
        .name = "json", .help = "Write the admin API's answer as JSON."                            \
    }

/* Asks --url (key: WEIR_API_KEY) for path, and has its JSON printed: as it is with --json, else by
 * print, which says with false that this is not what it knows. Complaints go to standard error
 * behind "weir COMMAND:". Returns the exit code. */
int admin_get_print(const struct cli_args *a, const char *command, const char *path,
                    bool (*print)(const json_t *answer, const struct cli_args *a));

#endif
