/* weir serve: the gateway itself. */
#include "gateway/cli/cli.h"
#include "gateway/control.h"

static int serve(const struct cli_args *a)
{
    return control_run(&(struct control_options){
        .policy_file = cli_value(a, "config"),
        .port_file = cli_value(a, "port-file"),
    });
}

const struct cli_command cmd_serve = {
    .name = "serve",
    .operands = "",
    .summary = "run the gateway",
    .description = "Loads the policy, listens for clients (server.listen) and for the operator "
                   "(server.admin), and serves until it is told to end. It stays in the "
                   "foreground and logs to standard error in logfmt.\n\n"
                   "SIGHUP reads the policy file again and reopens the access log. SIGTERM and "
                   "SIGINT drain: no new connections, /readyz answers 503, requests in flight "
                   "have server.drain_ms to end, the ledger is written out. A second such signal "
                   "ends the process at once.\n\n"
                   "Without tenants in the policy weir listens on loopback addresses only.",
    .options =
        (const struct cli_option[]){
            {.name = "config",
             .letter = 'c',
             .argument = "FILE",
             .required = true,
             .help = "The policy file."},
            {.name = "port-file",
             .argument = "FILE",
             .help = "Once ready, write the addresses into FILE as two lines, listen=HOST:PORT and "
                     "admin=HOST:PORT. Useful with port 0, and as a sign of readiness: an old FILE "
                     "is removed at the start."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir serve -c weir.yaml", "Serve with the policy in weir.yaml:"},
            {0},
        },
    .run = serve,
};
