/* weir help: the pages, and the manual page's source. */
#include "gateway/cli/cli.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/help.h"

static int help(const struct cli_args *a)
{
    if (cli_flag(a, "man")) {
        help_man();
    } else if (a->operand_count == 0) {
        help_program();
    } else {
        const struct cli_command *c = cli_find(a->operands[0]);
        if (c && a->operand_count == 2 && !c->parts) {
            fprintf(stderr, "weir help: '%s' has no parts\n", c->name);
            return EXIT_CODE_USAGE;
        }
        if (c && a->operand_count == 2)
            c = cli_find_part(c, a->operands[1]);
        if (!c)
            return EXIT_CODE_USAGE;
        help_command(c);
    }
    return EXIT_CODE_OK;
}

const struct cli_command cmd_help = {
    .name = "help",
    .operands = "[COMMAND [PART]]",
    .max_operands = 2,
    .summary = "show the page of a command",
    .description = "Without COMMAND the page of the program. 'weir COMMAND --help' shows the same "
                   "page as 'weir help COMMAND'.",
    .options =
        (const struct cli_option[]){
            {.name = "man",
             .help = "Write the manual page weir(1), which holds all commands, as troff source."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir help --man | man -l -", "Read the manual page without installing it:"}, {0}},
    .run = help,
};
