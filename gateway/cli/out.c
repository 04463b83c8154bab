/* Output of the commands. stdio's buffer is the only state: an error of any earlier write is found
 * by out_finish, which cli_main calls for every command. */
#include "gateway/cli/out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "gateway/cli/exit.h"
#include "router/classifier.h"

const char *out_style(FILE *f, enum out_style s)
{
    static const char *const codes[] = {"\033[0m", "\033[1m", "\033[1;31m", "\033[1;33m",
                                        "\033[32m"};
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    if ((no_color && *no_color) || !term || strcmp(term, "dumb") == 0 || !isatty(fileno(f)))
        return "";
    return codes[s];
}

void out_slice(FILE *f, struct slice s)
{
    fwrite(s.p, 1, s.n, f);
}

void out_json(json_t *o)
{
    if (!o || json_dumpf(o, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) != 0)
        fprintf(stderr, "weir: the answer cannot be written as JSON\n");
    fputc('\n', stdout);
    json_decref(o);
}

void out_diags(FILE *f, const struct diags *d)
{
    char line[4096];
    for (size_t i = 0; i < d->count; i++) {
        bool error = d->items[i].severity == DIAG_ERROR;
        const char *word = error ? "error:" : "warning:";
        diag_format(&d->items[i], line, sizeof line);
        const char *at = strstr(line, word);
        if (!at) {
            fprintf(f, "%s\n", line);
            continue;
        }
        fprintf(f, "%s%.*s%s%s%s%s%s\n", out_style(f, OUT_BOLD), (int)(at - line), line,
                out_style(f, OUT_PLAIN), out_style(f, error ? OUT_RED : OUT_YELLOW), word,
                out_style(f, OUT_PLAIN), at + strlen(word));
    }
}

struct policy *out_load_policy(const char *file, bool secrets)
{
    const struct policy_load_options opt = {.resolve_secrets = secrets,
                                            .labels_fn = classifier_labels};
    struct diags d;
    struct policy *p;
    diags_init(&d);
    enum err e = policy_load_file(file, &opt, &d, &p);
    if (e != ERR_OK)
        out_diags(stderr, &d);
    diags_clear(&d);
    return e == ERR_OK ? p : NULL;
}

int out_finish(int code)
{
    errno = 0;
    bool failed = ferror(stdout) != 0;
    if (fflush(stdout) != 0)
        failed = true;
    if (!failed)
        return code;
    fprintf(stderr, "weir: standard output could not be written%s%s\n", errno ? ": " : "",
            errno ? strerror(errno) : "");
    return EXIT_CODE_RUNTIME;
}
