/* weir cache eval: labelled pairs of questions, an encoder and the gates: what would be served by
 * meaning, and how much of it would be right? Offline. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/atomic_file.h"
#include "base/mem.h"
#include "cache/guard.h"
#include "gateway/cli/cmd_cache.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/jsonl.h"
#include "gateway/cli/out.h"
#include "gateway/cli/pchr.h"
#include "gateway/cli/progress.h"
#include "gateway/cli/training.h"
#include "policies/policy_value.h"
#include "router/encoder/cosine.h"
#include "router/encoder/train/parallel.h"

#define SVG_BYTES ((size_t)4 << 20)
#define BATCH     64 /* texts that a thread takes at a time */

static const double cuts[] = {0.99, 0.98, 0.97, 0.95, 0.925, 0.9, 0.875, 0.85, 0.8, 0.75, 0.7};
static const double errors[] = {0.001, 0.005, 0.01, 0.02, 0.05};

/* ---- pairs ---- */

struct pairs {
    struct slice *texts; /* a and b of each, owned */
    bool *right;
    size_t count, cap;
};

static void pairs_clear(struct pairs *p)
{
    for (size_t i = 0; i < 2 * p->count; i++)
        free((void *)(uintptr_t)p->texts[i].p);
    free(p->texts);
    free(p->right);
}

/* "label": 1 or true where the answer to one is right for the other. -1: it says nothing such. */
static int label_of(const json_t *row)
{
    const json_t *v = json_object_get(row, "label");

    if (json_is_boolean(v))
        return json_is_true(v);
    return json_is_integer(v) && (json_integer_value(v) | 1) == 1 ? (int)json_integer_value(v) : -1;
}

static enum err add_pair(struct pairs *p, json_t *row, const char *file, size_t line,
                         struct err_text *t)
{
    const json_t *a = json_object_get(row, "a"), *b = json_object_get(row, "b");
    int label = label_of(row);

    if (!json_is_string(a) || !json_is_string(b) || label < 0) {
        err_say(t, "%s:%zu: \"a\" and \"b\" must be strings, \"label\" 0, 1, false or true", file,
                line);
        return ERR_BAD_REQUEST;
    }
    if (p->count == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 1024;
        p->texts = mem_resize(p->texts, 2 * p->cap, sizeof *p->texts);
        p->right = mem_resize(p->right, p->cap, sizeof *p->right);
    }
    struct slice sa = slice_str(json_string_value(a)), sb = slice_str(json_string_value(b));
    p->texts[2 * p->count] = slice_make(mem_strdup(sa), sa.n);
    p->texts[2 * p->count + 1] = slice_make(mem_strdup(sb), sb.n);
    p->right[p->count++] = label == 1;
    return ERR_OK;
}

static enum err read_pairs(struct pairs *p, const char *file, size_t most, struct err_text *t)
{
    struct jsonl *f = jsonl_open(file, t);
    enum err err = f ? ERR_OK : ERR_BAD_REQUEST;
    json_t *row = NULL;

    while (err == ERR_OK && p->count < most && (err = jsonl_next(f, &row, t)) == ERR_OK && row) {
        err = add_pair(p, row, file, jsonl_line(f), t);
        json_decref(row);
    }
    jsonl_close(f);
    if (err == ERR_OK && p->count == 0) {
        err_say(t, "%s: there are no pairs in it", file);
        err = ERR_BAD_REQUEST;
    }
    return err;
}

/* ---- scores ---- */

struct scores {
    struct pchr plain, gated;
    size_t refused_right[GUARD_COUNT], refused_wrong[GUARD_COUNT]; /* by each gate alone */
    size_t right, wrong;                                           /* pairs of either label */
};

static bool gates(const struct pairs *p, size_t i, struct scores *s)
{
    struct guard_facts a, b;
    bool refused = false;

    guard_read(p->texts[2 * i], &a);
    guard_read(p->texts[2 * i + 1], &b);
    for (unsigned g = 0; g < GUARD_COUNT; g++)
        if (guard_refuses(&a, &b, 1u << g) >= 0) {
            *(p->right[i] ? &s->refused_right[g] : &s->refused_wrong[g]) += 1;
            refused = true;
        }
    return refused;
}

static void score(const struct pairs *p, const float *x, size_t dim, struct scores *s)
{
    struct pchr_pair *pairs = mem_zalloc(p->count, sizeof *pairs);

    *s = (struct scores){.right = 0};
    for (size_t i = 0; i < p->count; i++) {
        pairs[i].score = cosine(x + 2 * i * dim, x + (2 * i + 1) * dim, dim);
        pairs[i].right = p->right[i];
        s->right += p->right[i];
    }
    s->wrong = p->count - s->right;
    for (size_t i = 0; i < p->count; i++)
        pairs[i].refused = gates(p, i, s);
    struct pchr_pair *all = mem_alloc(p->count * sizeof *all);
    memcpy(all, pairs, p->count * sizeof *all);
    for (size_t i = 0; i < p->count; i++)
        all[i].refused = false;
    pchr_init(&s->plain, all, p->count);
    pchr_init(&s->gated, pairs, p->count);
    free(all);
    free(pairs);
}

/* Texts to vectors on all cores; each part takes the next few. */
struct encoding {
    const struct training *w;
    const struct slice *texts;
    size_t count, dim;
    float *x; /* [count][dim] */
    atomic_size_t next, done;
    atomic_int err;
    struct err_text *t; /* of whoever fails first */
    struct progress progress;
};

static enum err embed_some(const struct encoding *e, struct encoder_session *session, size_t at,
                           size_t n, struct err_text *t)
{
    struct encoder_vectors v = {.embedding = e->x + at * e->dim};

    if (session)
        return encoder_embed(session, e->texts + at, (int)n, &v, NULL, t);
    for (size_t i = 0; i < n; i++)
        static_table_embed(e->w->source.table, e->texts[at + i], v.embedding + i * e->dim, NULL);
    return ERR_OK;
}

static void encode_part(void *ctx, int part, int parts)
{
    struct encoding *e = ctx;
    struct encoder_session *session = e->w->encoder ? encoder_session_new(e->w->encoder) : NULL;
    struct err_text t;
    size_t at;

    while (atomic_load(&e->err) == ERR_OK && (at = atomic_fetch_add(&e->next, BATCH)) < e->count) {
        size_t n = e->count - at < BATCH ? e->count - at : BATCH;
        enum err err = embed_some(e, session, at, n, &t);
        if (err != ERR_OK && atomic_exchange(&e->err, (int)err) == ERR_OK)
            *e->t = t;
        size_t done = atomic_fetch_add(&e->done, n) + n;
        if (part == parts - 1) /* that one runs on the caller's thread */
            progress_update(&e->progress, done, e->count);
    }
    encoder_session_free(session);
}

static enum err encode(const struct training *w, const struct pairs *p, struct scores *s,
                       struct err_text *t)
{
    struct encoding e = {.w = w, .texts = p->texts, .count = 2 * p->count, .t = t};

    e.dim = w->encoder ? (size_t)encoder_facts(w->encoder).dim
                       : (size_t)static_table_dim(w->source.table);
    e.x = mem_alloc((e.count * e.dim + 1) * sizeof *e.x);
    progress_begin(&e.progress, "encoding texts", PROGRESS_COUNT);
    parallel_run(encode_part, &e, w->threads);
    progress_end(&e.progress);
    enum err err = (enum err)atomic_load(&e.err);
    if (err == ERR_OK)
        score(p, e.x, e.dim, s);
    free(e.x);
    return err;
}

/* ---- what is said ---- */

static json_t *point_json(struct pchr_point at)
{
    return json_pack("{s:f,s:f,s:f}", "cut", at.cut, "hits", at.hits, "precision", at.precision);
}

static json_t *curve_json(const struct pchr *p)
{
    json_t *at_cuts = json_array(), *best = json_array();

    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++)
        json_array_append_new(at_cuts, point_json(pchr_at(p, cuts[i])));
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        json_t *o = point_json(pchr_best(p, errors[i]));
        json_object_set_new(o, "max_error", json_real(errors[i]));
        json_array_append_new(best, o);
    }
    return json_pack("{s:f,s:o,s:o}", "area", p->area, "cuts", at_cuts, "best", best);
}

static void print_json(const struct scores *s, const char *model)
{
    json_t *guards = json_object();

    for (int g = 0; g < GUARD_COUNT; g++)
        json_object_set_new(guards, guard_name((enum guard)g),
                            json_pack("{s:I,s:I}", "caught", (json_int_t)s->refused_wrong[g],
                                      "lost", (json_int_t)s->refused_right[g]));
    out_json(json_pack("{s:s,s:I,s:I,s:o,s:o,s:o}", "model", model, "pairs",
                       (json_int_t)(s->right + s->wrong), "right", (json_int_t)s->right, "plain",
                       curve_json(&s->plain), "guarded", curve_json(&s->gated), "guards", guards));
}

static void print_row(const char *name, struct pchr_point a, struct pchr_point b)
{
    printf("%-14s %6.2f %% %8.2f %%      %6.2f %% %8.2f %%\n", name, 100 * a.hits,
           100 * a.precision, 100 * b.hits, 100 * b.precision);
}

static void print_table(const struct scores *s, const char *model)
{
    const char *bold = out_style(stdout, OUT_BOLD), *plain = out_style(stdout, OUT_PLAIN);
    size_t n = s->right + s->wrong;
    char name[40];

    printf("%zu pairs, %zu of them alike; %s\n\n", n, s->right, model);
    printf("%s%-14s %8s %10s      %8s %10s%s\n", bold, "COSINE FROM", "HITS", "RIGHT", "GUARDED",
           "RIGHT", plain);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        snprintf(name, sizeof name, "%.3f", cuts[i]);
        print_row(name, pchr_at(&s->plain, cuts[i]), pchr_at(&s->gated, cuts[i]));
    }
    printf("\n%s%-14s %8s %10s      %8s %10s%s\n", bold, "WRONG UP TO", "HITS", "FROM COS",
           "GUARDED", "FROM COS", plain);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        struct pchr_point a = pchr_best(&s->plain, errors[i]), b = pchr_best(&s->gated, errors[i]);
        printf("%.1f %% of all    %6.2f %% %10.3f      %6.2f %% %10.3f\n", 100 * errors[i],
               100 * a.hits, a.cut, 100 * b.hits, b.cut);
    }
    printf("%-14s %8.3f %10s      %8.3f\n", "area", s->plain.area, "", s->gated.area);
    printf("\n%s%-14s %18s %18s%s\n", bold, "GUARD", "CAUGHT, OF UNLIKE", "LOST, OF ALIKE", plain);
    for (int g = 0; g < GUARD_COUNT; g++)
        printf("%-14s %16.1f %% %16.1f %%\n", guard_name((enum guard)g),
               s->wrong ? 100.0 * (double)s->refused_wrong[g] / (double)s->wrong : 0,
               s->right ? 100.0 * (double)s->refused_right[g] / (double)s->right : 0);
}

static enum err draw(const struct scores *s, const char *path, const char *title,
                     struct err_text *t)
{
    const struct pchr_series series[] = {{"cosine alone", &s->plain}, {"with guards", &s->gated}};
    struct buf svg;

    buf_init(&svg, SVG_BYTES);
    enum err e = pchr_svg(series, 2, title, &svg);
    err_say(t, "%s", err_text(e));
    if (e == ERR_OK)
        e = atomic_file_write(path, 0644, buf_slice(&svg), t);
    buf_clear(&svg);
    return e;
}

static int complain(const struct err_text *t, int code)
{
    fprintf(stderr, "weir cache eval: %s\n", t->s);
    return code;
}

static int report(const struct cli_args *a, const struct scores *s, const char *model)
{
    const char *svg = cli_value(a, "svg"), *slash = strrchr(a->operands[0], '/');
    char title[300];
    struct err_text t;

    if (cli_flag(a, "json"))
        print_json(s, model);
    else
        print_table(s, model);
    snprintf(title, sizeof title, "%.120s, %.120s", slash ? slash + 1 : a->operands[0], model);
    if (svg && draw(s, svg, title, &t) != ERR_OK)
        return complain(&t, EXIT_CODE_RUNTIME);
    return EXIT_CODE_OK;
}

static int eval(const struct cli_args *a)
{
    const char *model = cli_value(a, "model"), *limit = cli_value(a, "limit"), *hint;
    int64_t most = INT64_MAX;
    struct pairs p = {0};
    struct training w;
    struct scores s;
    struct err_text t;
    int code = EXIT_CODE_OK;

    if (limit && (value_int(slice_str(limit), &most, &hint) || most < 1)) {
        fprintf(stderr, "weir cache eval: --limit %s: a whole number from 1 on is wanted\n", limit);
        return EXIT_CODE_USAGE;
    }
    model = model ? model : TRAINING_DEFAULT_MODEL;
    training_init(&w);
    if (read_pairs(&p, a->operands[0], (size_t)most, &t) != ERR_OK)
        code = complain(&t, EXIT_CODE_FOUND);
    else if (training_open(&w, model, cli_value(a, "precision"), &t) != ERR_OK ||
             encode(&w, &p, &s, &t) != ERR_OK)
        code = complain(&t, EXIT_CODE_RUNTIME);
    else {
        code = report(a, &s, feature_source_name(&w.source));
        pchr_clear(&s.plain);
        pchr_clear(&s.gated);
    }
    training_clear(&w);
    pairs_clear(&p);
    return code;
}

const struct cli_command cmd_cache_eval = {
    .name = "cache eval",
    .operands = "PAIRS",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "say what labelled pairs of questions would hit, and how much of it rightly",
    .description =
        "PAIRS is a file of lines of JSON, compressed by gzip or not, with \"a\", \"b\" and "
        "\"label\": 1 where the answer to one is right for the other. Each pair is encoded, and "
        "for "
        "cuts on the cosine it prints the share of pairs that would be served and how many of "
        "those "
        "rightly, without and with the guards; the most hits for a share of wrong ones; and what "
        "each guard alone catches and loses. No server is asked. What is served in the end is "
        "decided by more than the cosine; this compares encoders and guards.",
    .options =
        (const struct cli_option[]){
            {.name = "model",
             .letter = 'm',
             .argument = "MODEL",
             .help =
                 "A fetched model (see weir model), a folder, or static: the table inside weir. "
                 "Default: " TRAINING_DEFAULT_MODEL "."},
            {.name = "precision", .argument = "WORD", .help = "fp32, int8 or fp16."},
            {.name = "limit", .argument = "N", .help = "The first N pairs only."},
            {.name = "svg", .argument = "FILE", .help = "Draw precision over hits."},
            OUT_OPTION_JSON,
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir cache eval pairs.jsonl.gz --svg pairs.svg", "A table and a drawing."}, {0}},
    .run = eval,
};
