/* Which commands there are, how a command line is taken apart (getopt_long, driven by the command's
 * own table), and what is said when it is not understood. Called by main. */
#include "gateway/cli/cli.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/help.h"
#include "gateway/cli/out.h"
#include "policies/policy_names.h"

#define MAX_OPTIONS 32

const struct cli_command *const cli_commands[] = {
    &cmd_serve,    &cmd_check,   &cmd_explain,  &cmd_diff,     &cmd_schema, &cmd_models,
    &cmd_backends, &cmd_cache,   &cmd_model,    &cmd_distil,   &cmd_train,  &cmd_eval,
    &cmd_bench,    &cmd_beliefs, &cmd_embed,    &cmd_classify, &cmd_why,    &cmd_report,
    &cmd_top,      &cmd_replay,  &cmd_feedback, &cmd_version,  &cmd_help,   NULL,
};

/* Every command has it, so no command lists it. */
static const struct cli_option help_option = {
    .name = "help", .letter = 'h', .help = "Show the command's page and end."};

/* ---- asking what was given ---- */

const char *cli_next(const struct cli_args *a, const char *option, size_t *at)
{
    while (*at < a->given_count) {
        const struct cli_given *g = &a->given[(*at)++];
        if (strcmp(g->option->name, option) == 0)
            return g->value;
    }
    return NULL;
}

const char *cli_value(const struct cli_args *a, const char *option)
{
    const char *last = NULL, *v;
    for (size_t at = 0; (v = cli_next(a, option, &at));)
        last = v;
    return last;
}

bool cli_flag(const struct cli_args *a, const char *option)
{
    return cli_value(a, option) != NULL;
}

/* ---- complaints ---- */

static int complain(const struct cli_command *c, const char *what, const char *name,
                    const char *nearest)
{
    fprintf(stderr, "weir%s%s: %s", c ? " " : "", c ? c->name : "", what);
    if (name)
        fprintf(stderr, " '%s'", name);
    if (nearest)
        fprintf(stderr, "; did you mean '%s'?", nearest);
    fprintf(stderr, "\ntry 'weir help%s%s'\n", c ? " " : "", c ? c->name : "");
    return EXIT_CODE_USAGE;
}

const struct cli_command *cli_find(const char *name)
{
    struct names_nearest near;
    names_nearest_init(&near, slice_str(name));
    for (const struct cli_command *const *c = cli_commands; *c; c++) {
        if (strcmp((*c)->name, name) == 0)
            return *c;
        names_nearest_offer(&near, (*c)->name);
    }
    complain(NULL, "unknown command", name, near.best);
    return NULL;
}

const struct cli_command *cli_find_part(const struct cli_command *c, const char *word)
{
    struct names_nearest near;
    names_nearest_init(&near, slice_str(word));
    for (const struct cli_command *const *p = c->parts; *p; p++) {
        const char *name = (*p)->name + strlen(c->name) + 1;
        if (strcmp(name, word) == 0)
            return *p;
        names_nearest_offer(&near, name);
    }
    complain(c, "there is no", word, near.best);
    return NULL;
}

static int complain_long(const struct cli_command *c, const char *word)
{
    char *name = mem_strdup(slice_make(word, strcspn(word, "=")));
    struct names_nearest near;
    names_nearest_init(&near, slice_from(slice_str(name), 2)); /* behind the dashes */
    for (const struct cli_option *o = c->options; o->name; o++)
        names_nearest_offer(&near, o->name);
    char nearest[64];
    snprintf(nearest, sizeof nearest, "--%s", near.best ? near.best : "");
    int code = complain(c, "unknown option", name, near.best ? nearest : NULL);
    free(name);
    return code;
}

/* ---- parsing ---- */

/* The i-th option of the command; help behind the last. */
static const struct cli_option *option_at(const struct cli_command *c, int i)
{
    for (const struct cli_option *o = c->options; o->name; o++)
        if (i-- == 0)
            return o;
    return &help_option;
}

#define LONG_BASE                                                                                  \
    256 /* long options answer with this + their index, so that those without a letter can be told \
           apart */

static void build_getopt(const struct cli_command *c, struct option *longs, char *letters)
{
    int n = 0;
    const struct cli_option *o;
    *letters++ = ':'; /* a missing value is told apart from an unknown option */
    do {
        o = option_at(c, n);
        longs[n] = (struct option){o->name, o->argument ? required_argument : no_argument, NULL,
                                   LONG_BASE + n};
        n++;
        if (o->letter)
            *letters++ = (char)o->letter;
        if (o->letter && o->argument)
            *letters++ = ':';
    } while (o != &help_option);
    longs[n] = (struct option){0};
    *letters = '\0';
}

static const struct cli_option *option_of(const struct cli_command *c, int answer)
{
    if (answer >= LONG_BASE)
        return option_at(c, answer - LONG_BASE);
    for (const struct cli_option *o = c->options; o->name; o++)
        if (o->letter == answer)
            return o;
    return &help_option;
}

/* getopt_long answered ':' or '?'; optopt is the option if it is known, or an unknown letter, or 0.
 */
static int complain_option(const struct cli_command *c, int answer, const char *word)
{
    char name[64];
    if (answer == '?' && optopt == 0)
        return complain_long(c, word);
    if (answer == '?' && optopt < LONG_BASE) {
        snprintf(name, sizeof name, "-%c", optopt);
        return complain(c, "unknown option", name, NULL);
    }
    snprintf(name, sizeof name, "--%s", option_of(c, optopt)->name);
    return complain(c, answer == ':' ? "a value is missing for" : "no value is taken by", name,
                    NULL);
}

static int check_given(const struct cli_args *a)
{
    const struct cli_command *c = a->command;
    for (const struct cli_option *o = c->options; o->name; o++) {
        size_t count = 0;
        for (size_t i = 0; i < a->given_count; i++)
            count += a->given[i].option == o;
        char dashed[64];
        snprintf(dashed, sizeof dashed, "--%s", o->name);
        if (o->required && count == 0)
            return complain(c, "missing option", dashed, NULL);
        if (o->argument && !o->repeats && count > 1)
            return complain(c, "given more than once:", dashed, NULL);
    }
    if (a->operand_count < c->min_operands)
        return complain(c, "missing operand:", c->operands, NULL);
    if (c->max_operands >= 0 && a->operand_count > c->max_operands)
        return complain(c, "unexpected operand", a->operands[c->max_operands], NULL);
    return EXIT_CODE_OK;
}

/* The options of argv into a; *help tells whether the page was asked for. */
static int parse(struct cli_args *a, int argc, char **argv, bool *help)
{
    struct option longs[MAX_OPTIONS + 2];
    char letters[2 * MAX_OPTIONS + 4];
    build_getopt(a->command, longs, letters);
    opterr = 0;
    optind = 0; /* GNU: begin anew */
    int answer;
    while ((answer = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        if (answer == '?' || answer == ':')
            return complain_option(a->command, answer, argv[optind - 1]);
        const struct cli_option *o = option_of(a->command, answer);
        if (o == &help_option)
            *help = true;
        else
            a->given[a->given_count++] = (struct cli_given){o, o->argument ? optarg : ""};
    }
    a->operands = argv + optind;
    a->operand_count = argc - optind;
    return EXIT_CODE_OK;
}

static int run_part(const struct cli_command *c, int argc, char **argv);

/* argv[0] is the command's name. */
static int parse_and_run(const struct cli_command *c, int argc, char **argv)
{
    if (c->parts)
        return run_part(c, argc, argv);
    /* A word may be a cluster of letters: there are at most as many options as characters. */
    size_t room = 0;
    for (int i = 1; i < argc; i++)
        room += strlen(argv[i]);
    struct cli_args a = {.command = c, .given = mem_zalloc(room + 1, sizeof(struct cli_given))};
    bool help = false;
    int code = parse(&a, argc, argv, &help);
    if (code == EXIT_CODE_OK && help)
        help_command(c);
    else if (code == EXIT_CODE_OK && (code = check_given(&a)) == EXIT_CODE_OK)
        code = c->run(&a);
    free(a.given);
    return code;
}

static int run_part(const struct cli_command *c, int argc, char **argv)
{
    const struct cli_command *part;
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help_command(c);
        return EXIT_CODE_OK;
    }
    if (argc < 2 || argv[1][0] == '-')
        return complain(c, "what is to be done is missing:", c->operands, NULL);
    part = cli_find_part(c, argv[1]);
    return part ? parse_and_run(part, argc - 1, argv + 1) : EXIT_CODE_USAGE;
}

int cli_main(int argc, char **argv)
{
    /* A closed pipe and a limit of the file's size are failed writes, and are said. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    int code;
    if (argc < 2) {
        help_usage(stderr);
        return EXIT_CODE_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help_program();
        code = EXIT_CODE_OK;
    } else if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        char version[] = "version", *only[] = {version, NULL};
        code = parse_and_run(&cmd_version, 1, only);
    } else {
        if (argv[1][0] == '-')
            return complain(NULL, "a command is wanted before", argv[1], NULL);
        const struct cli_command *c = cli_find(argv[1]);
        code = c ? parse_and_run(c, argc - 1, argv + 1) : EXIT_CODE_USAGE;
    }
    return out_finish(code);
}
