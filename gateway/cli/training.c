/* Shared steps of cmd_train and cmd_eval. */
#include "gateway/cli/training.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "base/mem.h"
#include "gateway/cli/out.h"
#include "gateway/cli/progress.h"
#include "router/encoder/model_store.h"
#include "router/encoder/train/parallel.h"

#define DIAGRAMS 16 /* of models, at most */

void training_init(struct training *w)
{
    *w = (struct training){.threads = parallel_cores()};
    rows_init(&w->rows);
}

void training_clear(struct training *w)
{
    rows_clear(&w->rows);
    encoder_free(w->encoder);
    free(w->x);
    w->x = NULL;
    w->encoder = NULL;
}

static bool refuse(const struct cli_args *a, const char *name, const char *what, double least,
                   double most)
{
    fprintf(stderr, "weir %s: --%s %s: a %s from %.16g to %.16g is wanted\n", a->command->name,
            name, cli_value(a, name), what, least, most);
    return false;
}

bool training_number(const struct cli_args *a, const char *name, double least, double most,
                     double *out)
{
    const char *text = cli_value(a, name);
    char *end;
    if (!text)
        return true;
    double d = strtod(text, &end);
    if (end == text || *end || !(d >= least && d <= most))
        return refuse(a, name, "number", least, most);
    *out = d;
    return true;
}

bool training_whole(const struct cli_args *a, const char *name, double least, double most,
                    double *out)
{
    double d = *out;
    if (!training_number(a, name, least, most, &d))
        return false;
    if (cli_value(a, name) && d != floor(d))
        return refuse(a, name, "whole number", least, most);
    *out = d;
    return true;
}

enum err training_read(struct training *w, const struct cli_args *a, const char *option,
                       struct err_text *t)
{
    const struct rows_options opt = {
        .class_key = cli_value(a, "class-key"),
        .out_of_scope = cli_value(a, "out-of-scope"),
    };
    size_t at = 0;
    enum err e = ERR_OK;
    for (const char *path; e == ERR_OK && (path = cli_next(a, option, &at));)
        e = rows_read(&w->rows, path, &opt, t);
    return e;
}

enum err training_open(struct training *w, const char *model, const char *precision,
                       struct err_text *t)
{
    char folder[MODEL_STORE_PATH_BYTES];
    if (strcmp(model, "static") == 0) {
        if (precision) {
            err_say(t, "the static table has no other precision");
            return ERR_BAD_REQUEST;
        }
        w->source.table = static_table_builtin();
    } else {
        enum err e = model_store_find(model, folder, sizeof folder, t);
        struct encoder_options opt = {.folder = folder, .device = ENCODER_CPU, .precision = -1};
        for (int p = 0; precision && p < ENCODER_PRECISIONS; p++)
            if (strcmp(precision, encoder_precision_name((enum encoder_precision)p)) == 0)
                opt.precision = p;
        if (e == ERR_OK && precision && opt.precision < 0) {
            err_say(t, "there is no precision '%s'", precision);
            e = ERR_BAD_REQUEST;
        }
        if (e == ERR_OK)
            e = encoder_open(&opt, &w->encoder, t);
        if (e != ERR_OK)
            return e;
        w->source.encoder = w->encoder;
    }
    w->features = feature_source_width(&w->source);
    return ERR_OK;
}

struct shown {
    struct progress progress;
    size_t count;
};

static void on_progress(void *ctx, size_t done)
{
    struct shown *s = ctx;
    progress_update(&s->progress, done, s->count);
}

enum err training_encode(struct training *w, struct err_text *t)
{
    size_t n = w->rows.count;
    struct shown shown = {.count = n};
    struct slice *texts = mem_alloc((n + 1) * sizeof *texts);
    for (size_t i = 0; i < n; i++)
        texts[i] = w->rows.row[i].text;
    w->x = mem_resize(NULL, n * w->features + 1, sizeof *w->x);
    progress_begin(&shown.progress, "encoding texts", PROGRESS_COUNT);
    enum err e = row_features(&w->source, texts, n, w->x, w->threads, on_progress, &shown, t);
    progress_end(&shown.progress);
    free(texts);
    return e;
}

/* ---- reports ---- */

char *training_file_names(const struct cli_args *a, const char *option)
{
    size_t at = 0, room = 1;
    const char *path;
    while ((path = cli_next(a, option, &at)))
        room += strlen(path) + 2;
    char *names = mem_zalloc(room, 1);
    struct buf b;
    buf_init(&b, room + 2);
    at = 0;
    enum err e = ERR_OK;
    while (e == ERR_OK && (path = cli_next(a, option, &at))) {
        const char *base = strrchr(path, '/');
        e = buf_printf(&b, "%s%s", buf_len(&b) ? ", " : "", base ? base + 1 : path);
    }
    memcpy(names, buf_slice(&b).p, buf_len(&b) < room ? buf_len(&b) : room - 1);
    buf_clear(&b);
    return names;
}

static enum err write_file(const char *dir, const char *name, const struct buf *b,
                           struct err_text *t)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    bool good = f && fwrite(buf_slice(b).p, 1, buf_len(b), f) == buf_len(b);
    int why = errno;
    if (f && fclose(f) != 0) {
        why = errno;
        good = false;
    }
    if (good)
        return ERR_OK;
    err_say(t, "%s: %s", path, strerror(why));
    return ERR_INTERNAL;
}

static enum err write_diagram(const char *dir, const struct report_facts *f, size_t model,
                              struct err_text *t)
{
    char name[64] = "reliability.svg";
    struct buf b;
    if (model != REPORT_CLASS)
        snprintf(name, sizeof name, "success-%zu.svg", model + 1);
    buf_init(&b, REPORT_MAX_BYTES);
    enum err e = report_svg(f, model, &b);
    if (e == ERR_OK)
        e = write_file(dir, name, &b, t);
    buf_clear(&b);
    return e;
}

static enum err write_folder(const char *dir, const struct report_facts *f, struct err_text *t)
{
    struct buf b;
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        err_say(t, "%s: %s", dir, strerror(errno));
        return ERR_INTERNAL;
    }
    buf_init(&b, REPORT_MAX_BYTES);
    enum err e = report_markdown(f, &b);
    if (e == ERR_OK)
        e = write_file(dir, "report.md", &b, t);
    buf_reset(&b);
    if (e == ERR_OK)
        e = report_json(f, false, &b);
    if (e == ERR_OK)
        e = write_file(dir, "report.json", &b, t);
    buf_clear(&b);
    if (e == ERR_OK && f->e->classes.rows)
        e = write_diagram(dir, f, REPORT_CLASS, t);
    for (size_t i = 0; e == ERR_OK && i < f->e->models && i < DIAGRAMS; i++)
        e = write_diagram(dir, f, i, t);
    return e;
}

enum err training_report(const struct cli_args *a, const struct report_facts *f, struct err_text *t)
{
    const char *dir = cli_value(a, "report");
    struct buf b;
    buf_init(&b, REPORT_MAX_BYTES);
    enum err e = cli_flag(a, "json") ? report_json(f, false, &b) : report_summary(f, &b);
    if (e == ERR_OK) {
        out_slice(stdout, buf_slice(&b));
        if (cli_flag(a, "json"))
            fputc('\n', stdout);
    } else {
        err_say(t, "the report is too large");
    }
    buf_clear(&b);
    return e == ERR_OK && dir ? write_folder(dir, f, t) : e;
}
