/* weir cache export and import: entries as lines of JSON, out of one weir and into another. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "gateway/cli/cache_client.h"
#include "gateway/cli/cmd_cache.h"
#include "gateway/cli/fetch.h"
#include "gateway/cli/out.h"
#include "gateway/cli/progress.h"

#define CHUNK_BYTES                                                                                \
    ((size_t)1 << 20) /* of lines that are sent together; one line may be longer                   \
                       */
#define CHUNK_LINES 500
#define LINE_BYTES  ((size_t)4 << 20) /* what the admin listener takes */

static int complain(const char *command, const char *file, const char *why)
{
    fprintf(stderr, "weir cache %s: %s: %s\n", command, file, why);
    return EXIT_CODE_RUNTIME;
}

/* What was named is not there. */
static int absent(const char *file)
{
    (void)complain("import", file, strerror(ENOENT));
    return EXIT_CODE_FOUND;
}

/* ---- export ---- */

struct exporting {
    FILE *out;
    struct progress progress;
    uint64_t lines;
    bool failed;
};

static bool on_lines(void *ctx, struct slice data)
{
    struct exporting *e = ctx;

    for (size_t i = 0; i < data.n; i++)
        e->lines += data.p[i] == '\n';
    progress_update(&e->progress, e->lines, 0);
    e->failed = fwrite(data.p, 1, data.n, e->out) != data.n;
    return !e->failed;
}

/* To the file, which appears under its name when it is whole. */
static int export_to(struct admin_client *c, const char *path, struct exporting *e,
                     const char *file)
{
    struct fetch_ask ask = {.base_url = c->url,
                            .path = path,
                            .api_key = c->key,
                            .total_ms = -1,
                            .on_data = on_lines,
                            .ctx = e};
    struct err_text t = {""};
    struct buf error;
    int status;

    buf_init(&error, FETCH_BYTES);
    enum err err = fetch(&ask, &error, &status, &t);
    progress_end(&e->progress);
    if (e->failed)
        c->code = complain("export", file, strerror(errno));
    else if (err != ERR_OK)
        c->code = complain("export", c->url, t.s);
    else if (status != 200)
        admin_client_complain(c, status, buf_slice(&error));
    buf_clear(&error);
    return c->code;
}

static int export_file(struct admin_client *c, const char *path, const char *file)
{
    size_t n = strlen(file) + sizeof ".part";
    char *part = mem_alloc(n);
    struct exporting e = {0};

    snprintf(part, n, "%s.part", file);
    e.out = fopen(part, "w");
    if (!e.out) {
        int code = complain("export", part, strerror(errno));
        free(part);
        return code;
    }
    progress_begin(&e.progress, "exported", PROGRESS_COUNT);
    int code = export_to(c, path, &e, part);
    if (fclose(e.out) != 0 && code == EXIT_CODE_OK)
        code = complain("export", part, strerror(errno));
    if (code == EXIT_CODE_OK && rename(part, file) != 0)
        code = complain("export", file, strerror(errno));
    if (code != EXIT_CODE_OK)
        unlink(part);
    else
        printf("%llu entries in %s\n", (unsigned long long)e.lines, file);
    free(part);
    return code;
}

static int run_export(const struct cli_args *a)
{
    const char *file = a->operand_count ? a->operands[0] : "-";
    struct admin_client c;
    size_t count;
    int code;

    admin_client_init(&c, a);
    json_t *where = cache_client_where(a, &count);
    char *path = cache_client_path("/admin/cache/export", where, NULL, NULL);
    if (strcmp(file, "-") == 0) {
        struct exporting e = {.out = stdout};
        progress_begin(&e.progress, "exported", PROGRESS_COUNT);
        code = export_to(&c, path, &e, "standard output");
    } else {
        code = export_file(&c, path, file);
    }
    free(path);
    json_decref(where);
    return code;
}

const struct cli_command cmd_cache_export = {
    .name = "cache export",
    .operands = "[FILE]",
    .max_operands = 1,
    .summary = "write entries as lines of JSON",
    .description = "Everything that is kept of each entry: question, answer, digests, vector "
                   "(base64), tags, times. To standard output without FILE; FILE appears when it "
                   "is whole. What is written meanwhile may be in it or not.",
    .options =
        (const struct cli_option[]){
            ADMIN_CLIENT_OPTION_URL,
            CACHE_CLIENT_CONDITIONS,
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir cache export --scope acme acme.jsonl", "One tenant's answers."},
            {"weir cache export | ssh other weir cache import -", "To another weir."},
            {0},
        },
    .run = run_export,
};

/* ---- import ---- */

struct importing {
    struct admin_client *c;
    const char *file;
    FILE *in;
    struct buf chunk;
    size_t line, first_line, lines; /* of the file: at hand, first of the chunk; of the chunk */
    json_t *sums;
    struct progress progress;
};

static void add_up(json_t *sums, json_t *answer)
{
    const char *key;
    json_t *n;

    json_object_foreach(answer, key, n)
    {
        json_object_set_new(
            sums, key,
            json_integer(json_integer_value(n) + json_integer_value(json_object_get(sums, key))));
    }
}

/* "Line 3: ..." of a chunk, as a line of the file. */
static void complain_line(struct importing *m, const char *said)
{
    char *end;
    unsigned long long n = strncmp(said, "Line ", 5) == 0 ? strtoull(said + 5, &end, 10) : 0;

    if (n > 0)
        fprintf(stderr, "weir cache import: %s:%llu%s\n", m->file, m->first_line + n - 1, end);
    else
        fprintf(stderr, "weir cache import: %s\n", said);
}

static bool send_chunk(struct importing *m)
{
    struct fetch_ask ask = {.base_url = m->c->url,
                            .path = "/admin/cache/import",
                            .api_key = m->c->key,
                            .method = "POST",
                            .content_type = "application/x-ndjson",
                            .body = buf_slice(&m->chunk),
                            .total_ms = 120000};
    struct err_text t = {""};
    struct buf answer;
    int status;

    if (m->lines == 0)
        return true;
    buf_init(&answer, FETCH_BYTES);
    enum err err = fetch(&ask, &answer, &status, &t);
    json_t *o = err == ERR_OK ? json_loadb(buf_slice(&answer).p, buf_len(&answer), 0, NULL) : NULL;
    const char *said = json_string_value(json_object_get(json_object_get(o, "error"), "message"));
    if (err != ERR_OK) {
        m->c->code = complain("import", m->c->url, t.s);
    } else if (status == 400 && said) {
        complain_line(m, said);
        m->c->code = EXIT_CODE_FOUND;
    } else if (status != 200) {
        admin_client_complain(m->c, status, buf_slice(&answer));
    } else {
        add_up(m->sums, o);
    }
    json_decref(o);
    buf_clear(&answer);
    buf_reset(&m->chunk);
    m->lines = 0;
    m->first_line = m->line + 1;
    progress_update(&m->progress, m->line, 0);
    return m->c->code == EXIT_CODE_OK;
}

static bool add_line(struct importing *m, struct slice line)
{
    bool fits = buf_len(&m->chunk) + line.n <= CHUNK_BYTES && m->lines < CHUNK_LINES;

    if (line.n > LINE_BYTES - 1) {
        fprintf(stderr, "weir cache import: %s:%zu: longer than 4 MiB\n", m->file, m->line + 1);
        m->c->code = EXIT_CODE_FOUND;
        return false;
    }
    if (!fits && !send_chunk(m))
        return false;
    m->line++;
    m->lines++;
    return buf_append_slice(&m->chunk, line) == ERR_OK;
}

static int import_lines(struct importing *m)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    m->first_line = 1;
    progress_begin(&m->progress, "imported", PROGRESS_COUNT);
    while ((n = getline(&line, &cap, m->in)) >= 0)
        if (!add_line(m, slice_make(line, (size_t)n)))
            break;
    if (m->c->code == EXIT_CODE_OK && ferror(m->in))
        m->c->code = complain("import", m->file, strerror(errno));
    if (m->c->code == EXIT_CODE_OK)
        send_chunk(m);
    progress_end(&m->progress);
    free(line);
    return m->c->code;
}

static void print_sums(const struct importing *m)
{
    if (m->c->json)
        out_json(json_incref(m->sums));
    else
        printf("%lld stored, %lld were there already, %lld refused; %lld without their vector, "
               "which is another encoder's\n",
               admin_client_int(m->sums, "stored"), admin_client_int(m->sums, "kept"),
               admin_client_int(m->sums, "refused"), admin_client_int(m->sums, "without_vector"));
}

static int run_import(const struct cli_args *a)
{
    struct admin_client c;
    struct importing m = {.c = &c, .file = a->operands[0], .sums = json_object()};

    admin_client_init(&c, a);
    buf_init(&m.chunk, 2 * LINE_BYTES);
    m.in = strcmp(m.file, "-") == 0 ? stdin : fopen(m.file, "r");
    if (m.in)
        import_lines(&m);
    else if (errno == ENOENT)
        c.code = absent(m.file);
    else
        c.code = complain("import", m.file, strerror(errno));
    /* What was stored is stored, also when a later line is wrong. */
    if (m.in && (c.code == EXIT_CODE_OK || json_object_size(m.sums) > 0))
        print_sums(&m);
    if (m.in && m.in != stdin)
        fclose(m.in);
    buf_clear(&m.chunk);
    json_decref(m.sums);
    return c.code;
}

const struct cli_command cmd_cache_import = {
    .name = "cache import",
    .operands = "FILE",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "store entries that were exported",
    .description =
        "FILE is what 'weir cache export' wrote; - is standard input. Entries keep their ids and "
        "their expiry. Where the cache has an answer to the same question that is as new, that "
        "stays, so that importing a file twice changes nothing. A vector of another encoder is "
        "dropped: the entry is then found exactly, not by meaning. A line that is wrong is named, "
        "and nothing of its part of the file (500 lines at most) is stored.",
    .options = (const struct cli_option[]){ADMIN_CLIENT_OPTIONS, {0}},
    .examples =
        (const struct cli_example[]){{"weir cache import acme.jsonl", "What was exported."}, {0}},
    .run = run_import,
};
