/* weir version: which program this is. */
#include <event2/event.h>
#include "gateway/cli/cli.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/out.h"

static int version(const struct cli_args *a)
{
    if (cli_flag(a, "json"))
        out_json(json_pack("{s:s,s:{s:s,s:s}}", "version", WEIR_VERSION, "libraries", "libevent",
                           event_get_version(), "jansson", jansson_version_str()));
    else
        puts("weir " WEIR_VERSION);
    return EXIT_CODE_OK;
}

const struct cli_command cmd_version = {
    .name = "version",
    .operands = "",
    .summary = "show the version",
    .description = "Prints the program's name and version on one line.",
    .options =
        (const struct cli_option[]){
            {.name = "json",
             .help =
                 "Write a JSON object, with the versions of the event loop and the JSON library."},
            {0},
        },
    .examples = (const struct cli_example[]){{"weir version", "Which weir is this?"}, {0}},
    .run = version,
};
