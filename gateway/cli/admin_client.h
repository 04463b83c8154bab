/* The admin API of a running weir, for commands that ask it. Single-threaded. */
#ifndef GATEWAY_CLI_ADMIN_CLIENT_H
#define GATEWAY_CLI_ADMIN_CLIENT_H

#include <jansson.h>
#include "base/slice.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/exit.h"

struct admin_client {
    const char *command; /* "cache ls", for messages; borrowed, as the others are */
    const char *url, *key;
    bool json;
    int code; /* of enum exit_code: what the command ends with */
};

#define ADMIN_CLIENT_OPTION_URL                                                                    \
    {                                                                                              \
        .name = "url", .argument = "URL",                                                          \
        .help = "The admin listener; http://127.0.0.1:8081 when not given."                        \
    }
#define ADMIN_CLIENT_OPTIONS                                                                       \
    ADMIN_CLIENT_OPTION_URL,                                                                       \
    {                                                                                              \
        .name = "json", .help = "Write the admin API's answer as JSON."                            \
    }

void admin_client_init(struct admin_client *c, const struct cli_args *a);
/* The JSON of a good answer, the caller's; NULL: why was said, and c->code is set. body: taken
 * over; NULL: none. */
json_t *admin_client_ask(struct admin_client *c, const char *method, const char *path,
                         json_t *body);

/* Says why an answer of that status is not a good one, in the server's own words where it has some;
 * sets c->code. */
void admin_client_complain(struct admin_client *c, int status, struct slice answer);

/* A GET of path whose answer is printed: as it is with --json, else by print, which says with false
 * that this is not what it knows. Returns the exit code. */
int admin_client_print(const struct cli_args *a, const char *path,
                       bool (*print)(const json_t *answer, const struct cli_args *a));

/* Members of an answer; 0 and "" where there are none, or they are something else. */
long long admin_client_int(const json_t *o, const char *key);
double admin_client_number(const json_t *o, const char *key);
const char *admin_client_text(const json_t *o, const char *key);

#endif
