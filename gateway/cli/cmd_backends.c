/* weir backends: the fleet of a running weir: endpoints with load and health, and the servers that
 * weir started itself. */
#include <string.h>
#include "gateway/cli/admin_client.h"
#include "gateway/cli/out.h"

static void print_server(const json_t *server, bool with_log)
{
    long long pid = admin_client_int(server, "pid"),
              retry_ms = admin_client_int(server, "retry_in_ms");
    printf("    server %s for %lld s", admin_client_text(server, "state"),
           admin_client_int(server, "since_ms") / 1000);
    if (pid)
        printf(", pid %lld, %lld MB", pid, admin_client_int(server, "rss_bytes") >> 20);
    if (retry_ms)
        printf(", not started again for %lld s", (retry_ms + 999) / 1000);
    printf(": %lld in flight, %lld waiting, %lld starts, %lld failures\n",
           admin_client_int(server, "in_flight"), admin_client_int(server, "waiting"),
           admin_client_int(server, "starts"), admin_client_int(server, "failures"));
    if (json_is_string(json_object_get(server, "last_error")))
        printf("    last error: %s\n", admin_client_text(server, "last_error"));
    if (with_log && json_is_string(json_object_get(server, "log_tail")))
        printf("%s\n", admin_client_text(server, "log_tail"));
}

/* What the server's own list of models says. */
static void print_models(const json_t *models)
{
    const json_t *listed = json_object_get(models, "listed"),
                 *problems = json_object_get(models, "problems");
    if (!json_is_object(models) || !json_is_string(json_object_get(models, "asked")))
        return;
    if (json_is_string(json_object_get(models, "error")))
        printf("      its list of models was not read: %s\n", admin_client_text(models, "error"));
    else
        printf("      it lists %zu model%s\n", json_array_size(listed),
               json_array_size(listed) == 1 ? "" : "s");
    for (size_t i = 0; i < json_array_size(problems); i++)
        printf("      %swarning:%s %s\n", out_style(stdout, OUT_YELLOW),
               out_style(stdout, OUT_PLAIN), json_string_value(json_array_get(problems, i)));
}

/* Health is what requests found out; of a server that does not run there is none. */
static const char *health(const json_t *e, const json_t *server)
{
    if (json_is_object(server) && strcmp(admin_client_text(server, "state"), "ready") != 0)
        return admin_client_text(server, "state");
    return json_is_true(json_object_get(e, "healthy")) ? "healthy" : "ejected";
}

static void print_endpoint(const json_t *e, const json_t *server)
{
    printf("    %-28s %-8s %5lld in flight %9lld requests %7lld errors %8lld us to first byte\n",
           admin_client_text(e, "endpoint"), health(e, server), admin_client_int(e, "in_flight"),
           admin_client_int(e, "requests"), admin_client_int(e, "errors"),
           admin_client_int(e, "latency_us"));
    print_models(json_object_get(e, "models"));
}

static bool print_backends(const json_t *answer, const struct cli_args *a)
{
    bool with_log = cli_flag(a, "log");
    const json_t *list = json_object_get(answer, "backends");
    if (!json_is_array(list))
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *b = json_array_get(list, i), *endpoints = json_object_get(b, "endpoints"),
                     *server = json_object_get(b, "server");
        printf("%s%s%s\n", out_style(stdout, OUT_BOLD), admin_client_text(b, "name"),
               out_style(stdout, OUT_PLAIN));
        for (size_t e = 0; e < json_array_size(endpoints); e++)
            print_endpoint(json_array_get(endpoints, e), server);
        if (json_is_object(server))
            print_server(server, with_log);
    }
    return true;
}

static int backends(const struct cli_args *a)
{
    return admin_client_print(a, "/admin/backends", print_backends);
}

const struct cli_command cmd_backends = {
    .name = "backends",
    .operands = "",
    .summary = "show the fleet of a running weir",
    .description =
        "Endpoints with their load and health, what the policy says of models against the "
        "servers' own lists (`discover:` in the policy), and of servers that weir "
        "starts itself "
        "(`command:` in the policy) the state, memory and last error. Asks the admin "
        "listener.",
    .options =
        (const struct cli_option[]){
            ADMIN_CLIENT_OPTIONS,
            {.name = "log", .help = "Also print the end of what each started server wrote."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir backends --url http://127.0.0.1:8081", "How is the fleet?"},
            {0},
        },
    .run = backends,
};
