/* weir why: what was done with a request, why, what it cost, and what became of it. */
#include "gateway/cli/cli.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/out.h"
#include "gateway/cli/story.h"

#define DEFAULT_LEDGER "weir-state/ledger.sqlite"

static int complain(enum err err, const char *id, const char *tenant, const struct err_text *t)
{
    if (err == ERR_NOT_FOUND && !t->s[0]) {
        fprintf(stderr, "weir why: the ledger has no request%s%s%s%s%s%s\n", id ? " " : "",
                id ? id : "", tenant ? " of tenant '" : "", tenant ? tenant : "", tenant ? "'" : "",
                id || tenant ? "" : " at all");
        return EXIT_CODE_FOUND;
    }
    fprintf(stderr, "weir why: %s\n", t->s);
    return EXIT_CODE_RUNTIME;
}

static int why(const struct cli_args *a)
{
    const char *file = cli_value(a, "ledger"), *id = a->operand_count ? a->operands[0] : NULL;
    const char *tenant = cli_value(a, "tenant");
    struct ledger_reader *reader = NULL;
    struct ledger_story story;
    struct err_text t = {""};
    struct arena arena;
    int code = EXIT_CODE_OK;
    enum err err = ledger_reader_open(file ? file : DEFAULT_LEDGER, &reader, &t);

    arena_init(&arena, 16384);
    if (err == ERR_OK)
        err = ledger_reader_story(reader, id, tenant, &arena, &story, &t);
    if (err != ERR_OK)
        code = complain(err, id, tenant, &t);
    else if (cli_flag(a, "json"))
        out_json(story_json(&story));
    else
        story_tell(stdout, &story);
    arena_clear(&arena);
    ledger_reader_close(reader);
    return code;
}

const struct cli_command cmd_why = {
    .name = "why",
    .operands = "[REQUEST_ID]",
    .max_operands = 1,
    .summary = "tell what was done with a request, and why",
    .description =
        "Tells the story of a request in a paragraph: what it was taken for, which models were "
        "asked in which order and why, how sure their answers were, what each cost, and what "
        "was said of the answer afterwards (POST /v1/feedback, validators, judges).\n\n"
        "The id is the reply's x-request-id; without one the newest request is told of. Reads the "
        "ledger's file and changes nothing; weir may be running.",
    .options =
        (const struct cli_option[]){
            {.name = "ledger",
             .argument = "FILE",
             .help = "The ledger: ledger.sqlite in the policy's server.state_dir; " DEFAULT_LEDGER
                     " when not given."},
            {.name = "tenant",
             .argument = "NAME",
             .help = "Only a request of this tenant; ids may repeat."},
            {.name = "json", .help = "Write all that the ledger has of it as JSON."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir why req_019a2c3e4f5061728394a5b6c7d8e9f0", "Why did this one cost so much?"},
            {"weir why --ledger /var/lib/weir/ledger.sqlite --json", "The newest, for a program."},
            {0},
        },
    .run = why,
};
