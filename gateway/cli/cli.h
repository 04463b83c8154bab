/* The command line as data: each command is one file that exports one struct cli_command; parsing,
 * --help and the man page are generated from them. Single-threaded. */
#ifndef GATEWAY_CLI_CLI_H
#define GATEWAY_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

struct cli_option {
    const char *name;     /* long name; NULL ends a list */
    int letter;           /* short name; 0: none */
    const char *argument; /* what it takes, "FILE"; NULL: it is a flag */
    const char *help;     /* sentences */
    bool required, repeats;
};

struct cli_example {
    const char *command, *meaning; /* command NULL ends a list */
};

struct cli_args;

struct cli_command {
    const char *name;               /* of a part: with its command's before it, "cache ls" */
    const char *operands;           /* as the synopsis shows them: "FILE..." */
    int min_operands, max_operands; /* -1: any number */
    const char *summary;            /* "validate policy files" */
    const char *description;        /* paragraphs, separated by an empty line */
    const struct cli_option *options;
    const struct cli_example *examples;
    int (*run)(const struct cli_args *a); /* returns an enum exit_code */
    /* NULL: it has none; else the first operand names the one that runs, and this command has no
     * options of its own. Ends with NULL. */
    const struct cli_command *const *parts;
};

/* One command line, parsed. Strings are argv's. */
struct cli_given {
    const struct cli_option *option;
    const char *value;
};

struct cli_args {
    const struct cli_command *command;
    char **operands;
    int operand_count;
    struct cli_given *given; /* in the order of the command line */
    size_t given_count;
};

bool cli_flag(const struct cli_args *a, const char *option);
const char *cli_value(const struct cli_args *a, const char *option); /* the last one given; NULL */
/* The next value of a repeated option, NULL at the end; *at starts as 0. */
const char *cli_next(const struct cli_args *a, const char *option, size_t *at);

extern const struct cli_command *const cli_commands[]; /* ends with NULL */
const struct cli_command *
cli_find(const char *name); /* NULL + a message with the nearest name on stderr */

/* The same among c's parts; word is without c's name. */
const struct cli_command *cli_find_part(const struct cli_command *c, const char *word);

int cli_main(int argc, char **argv);

extern const struct cli_command cmd_backends, cmd_bench, cmd_beliefs, cmd_cache, cmd_check,
    cmd_classify, cmd_diff, cmd_distil, cmd_eval, cmd_embed, cmd_explain, cmd_help, cmd_model,
    cmd_models, cmd_replay, cmd_report, cmd_schema, cmd_serve, cmd_top, cmd_train, cmd_version,
    cmd_why, cmd_feedback;

#endif
