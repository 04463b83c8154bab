/* A page is a sequence of sections, paragraphs, terms and literal lines; two ways to write each:
 * plain text of 80 columns for a terminal, man(7) macros for troff. Called by cli_main and
 * cmd_help. */
#include "gateway/cli/help.h"

#include <string.h>
#include "gateway/cli/exit.h"
#include "gateway/cli/out.h"

#define COLUMNS 80

struct page {
    bool man;
};

static const struct cli_option program_options[] = {
    {.name = "help", .letter = 'h', .help = "Show this page and end."},
    {.name = "version", .letter = 'V', .help = "Show the version and end."},
    {0},
};

/* ---- the two ways to write ---- */

/* Text as troff wants it: no escapes, no request at the start of a line, hyphens that can be
 * copied. */
static void troff_text(const char *s, size_t n)
{
    if (n > 0 && (s[0] == '.' || s[0] == '\''))
        fputs("\\&", stdout);
    for (size_t i = 0; i < n; i++)
        switch (s[i]) {
        case '\\':
            fputs("\\e", stdout);
            break;
        case '-':
            fputs("\\-", stdout);
            break;
        default:
            putchar(s[i]);
            break;
        }
}

/* Words of one paragraph, broken before COLUMNS. column: what is on the line already; 0: nothing,
 * not even the indent. */
static void wrap(const char *s, size_t n, int indent, int column)
{
    for (const char *end = s + n; s < end;) {
        size_t word = 0;
        while (s + word < end && s[word] != ' ')
            word++;
        if (column <= indent)
            column += printf("%*s%.*s", indent - column, "", (int)word, s);
        else if (column + 1 + (int)word <= COLUMNS)
            column += printf(" %.*s", (int)word, s);
        else
            column = printf("\n%*s%.*s", indent, "", (int)word, s) - 1;
        s += word;
        while (s < end && *s == ' ')
            s++;
    }
    putchar('\n');
}

static void section(const struct page *p, const char *title)
{
    if (p->man)
        printf(".SH %s\n", title);
    else
        printf("%s%s%s\n", out_style(stdout, OUT_BOLD), title, out_style(stdout, OUT_PLAIN));
}

static void end_section(const struct page *p)
{
    if (!p->man)
        putchar('\n');
}

/* Paragraphs, separated by empty lines. */
static void text(const struct page *p, const char *s, int indent)
{
    while (*s) {
        const char *gap = strstr(s, "\n\n");
        size_t n = gap ? (size_t)(gap - s) : strlen(s);
        if (p->man) {
            troff_text(s, n);
            putchar('\n');
        } else {
            wrap(s, n, indent, 0);
        }
        if (!gap)
            break;
        fputs(p->man ? ".PP\n" : "\n", stdout);
        s = gap + 2;
    }
}

static void term(const struct page *p, const char *name, const char *meaning)
{
    if (p->man) {
        fputs(".TP\n.B ", stdout);
        troff_text(name, strlen(name));
        putchar('\n');
        text(p, meaning, 0);
    } else {
        int column = printf("%7s%s", "", name);
        if (column >= 13) {
            putchar('\n');
            column = 0;
        }
        wrap(meaning, strlen(meaning), 14, column);
    }
}

static void literal(const struct page *p, const char *line)
{
    if (p->man) {
        fputs(".nf\n.RS\n", stdout);
        troff_text(line, strlen(line));
        fputs("\n.RE\n.fi\n", stdout);
    } else {
        printf("%11s%s\n", "", line);
    }
}

/* ---- parts ---- */

static void synopsis_line(const struct page *p, const struct cli_command *c)
{
    char line[512];
    int n = snprintf(line, sizeof line, "weir %s", c->name);
    for (const struct cli_option *o = c->options; o->name; o++)
        n +=
            snprintf(line + n, sizeof line - (size_t)n,
                     o->required ? " --%s%s%s%s" : " [--%s%s%s]%s", o->name, o->argument ? " " : "",
                     o->argument ? o->argument : "", o->repeats ? "..." : "");
    snprintf(line + n, sizeof line - (size_t)n, "%s%s", c->operands[0] ? " " : "", c->operands);
    if (p->man) {
        troff_text(line, strlen(line));
        fputs("\n.br\n", stdout);
    } else {
        wrap(line, strlen(line), 7, 0);
    }
}

/* What a command consists of. */
static void parts(const struct page *p, const struct cli_command *c)
{
    section(p, "PARTS");
    for (const struct cli_command *const *part = c->parts; *part; part++)
        term(p, (*part)->name, (*part)->summary);
    text(p, "'weir help COMMAND PART' says more.", 7);
    end_section(p);
}

static void options(const struct page *p, const struct cli_option *o)
{
    for (; o->name; o++) {
        char name[96], letter[8] = "";
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(name, sizeof name, "%s--%s%s%s", letter, o->name, o->argument ? " " : "",
                 o->argument ? o->argument : "");
        term(p, name, o->help);
    }
}

static void examples(const struct page *p, const struct cli_example *e)
{
    for (; e->command; e++) {
        text(p, e->meaning, 7);
        literal(p, e->command);
        if (p->man)
            fputs(".PP\n", stdout);
    }
}

static void exit_status(const struct page *p)
{
    static const struct {
        int status;
        const char *meaning;
    } codes[] = {
#define EXIT_CODE(name, status, meaning) {status, meaning},
        EXIT_CODES(EXIT_CODE)
#undef EXIT_CODE
    };
    section(p, "EXIT STATUS");
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        char status[16];
        snprintf(status, sizeof status, "%d", codes[i].status);
        term(p, status, codes[i].meaning);
    }
    term(p, "128 + N",
         "serve: a second SIGTERM or SIGINT (signal number N) ended it at once, as a shell "
         "reports it.");
    end_section(p);
}

static void environment(const struct page *p)
{
    section(p, "ENVIRONMENT");
    term(p, "variables named by the policy",
         "key_env and tenants' env entries are read when a policy is loaded. Their values are "
         "never logged or printed.");
    term(p, "WEIR_API_KEY",
         "The key that 'weir models --url', 'weir backends' and 'weir cache' send, when the server "
         "wants one.");
    term(p, "WEIR_MODELS", "The folder of the encoder's models; see 'weir help model'.");
    term(p, "PIP_INDEX_URL, HF_ENDPOINT, SSL_CERT_FILE",
         "Where 'weir model fetch' looks for models, and the certificates it trusts.");
    term(p, "NO_COLOR",
         "When set and not empty, nothing is coloured. Colour is used on terminals only.");
    end_section(p);
}

static void files(const struct page *p)
{
    section(p, "FILES");
    term(p, "STATE/ledger.sqlite",
         "Every request and attempt with its cost. STATE is server.state_dir of the policy.");
    term(p, "STATE/policies/",
         "Each policy that served, as SERIAL-VERSION.yaml, and index.jsonl with serial, version, "
         "time and origin.");
    term(p, "MODELS/NAME/",
         "A model in the layout of sentence-transformers, with weir.json: source and digests. "
         "MODELS is WEIR_MODELS, ~/.local/share/weir/models or /var/lib/weir/models.");
    term(p, "STATE/cache.sqlite",
         "The answers that the cache keeps, where the policy names no Redis.");
    term(p, "STATE/cache_changes.jsonl",
         "Who changed what in the cache and when: a file that only grows, each line with the "
         "SHA-256 of the line before it.");
    term(p, "STATE/lock", "Held while a process uses the directory.");
    end_section(p);
}

static void program_intro(const struct page *p)
{
    section(p, "NAME");
    text(p, "weir - a gateway in front of a fleet of language models", 7);
    end_section(p);
    section(p, "SYNOPSIS");
    text(p, "weir COMMAND [OPTION]... [OPERAND]...", 7);
    end_section(p);
    section(p, "DESCRIPTION");
    text(p,
         "weir answers the API that OpenAI clients speak and hands each request to a model of the "
         "fleet that the operator describes in one YAML file, the policy. It counts what every "
         "attempt costs.\n\n"
         "The policy is read again on SIGHUP, when the file changes, and by the admin API. A file "
         "with a fault is never served: the policy that serves goes on, and the log, the metrics "
         "and /readyz say so.",
         7);
    end_section(p);
}

/* ---- pages ---- */

void help_usage(FILE *f)
{
    fputs("usage: weir COMMAND [OPTION]... [OPERAND]...\n\n", f);
    for (const struct cli_command *const *c = cli_commands; *c; c++)
        fprintf(f, "  %-9s %s\n", (*c)->name, (*c)->summary);
    fputs("\n'weir help COMMAND' says more.\n", f);
}

void help_program(void)
{
    const struct page p = {.man = false};
    program_intro(&p);
    section(&p, "COMMANDS");
    for (const struct cli_command *const *c = cli_commands; *c; c++)
        term(&p, (*c)->name, (*c)->summary);
    end_section(&p);
    section(&p, "OPTIONS");
    options(&p, program_options);
    end_section(&p);
    exit_status(&p);
    environment(&p);
    files(&p);
    section(&p, "EXAMPLES");
    for (const struct cli_command *const *c = cli_commands; *c; c++)
        examples(&p, (*c)->examples);
}

void help_command(const struct cli_command *c)
{
    const struct page p = {.man = false};
    char name[128];
    snprintf(name, sizeof name, "weir %s - %s", c->name, c->summary);
    section(&p, "NAME");
    text(&p, name, 7);
    end_section(&p);
    section(&p, "SYNOPSIS");
    synopsis_line(&p, c);
    end_section(&p);
    section(&p, "DESCRIPTION");
    text(&p, c->description, 7);
    end_section(&p);
    if (c->parts)
        parts(&p, c);
    if (c->options->name) {
        section(&p, "OPTIONS");
        options(&p, c->options);
        end_section(&p);
    }
    exit_status(&p);
    environment(&p);
    files(&p);
    section(&p, "EXAMPLES");
    examples(&p, c->examples);
}

static void man_command(const struct page *p, const struct cli_command *c)
{
    printf(".SS weir %s\n", c->name);
    synopsis_line(p, c);
    puts(".PP");
    text(p, c->description, 7);
    options(p, c->options);
}

void help_man(void)
{
    const struct page p = {.man = true};
    puts(".\\\" Generated by 'weir help --man'.");
    printf(".TH WEIR 1 \"\" \"weir %s\" \"User Commands\"\n", WEIR_VERSION);
    program_intro(&p);
    section(&p, "COMMANDS");
    for (const struct cli_command *const *c = cli_commands; *c; c++) {
        man_command(&p, *c);
        for (const struct cli_command *const *part = (*c)->parts; part && *part; part++)
            man_command(&p, *part);
    }
    section(&p, "OPTIONS");
    options(&p, program_options);
    exit_status(&p);
    environment(&p);
    files(&p);
    section(&p, "EXAMPLES");
    for (const struct cli_command *const *c = cli_commands; *c; c++)
        examples(&p, (*c)->examples);
}
