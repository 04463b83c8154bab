/* Owns the way from a transformer to a table file. Called by cmd_distil.c and tests; threads of
 * parallel.h. */
#include "router/encoder/train/distil.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "router/encoder/safetensors.h"
#include "router/encoder/static_table_int.h"
#include "router/encoder/train/distil_report.h"
#include "router/encoder/train/eigen.h"
#include "router/encoder/train/parallel.h"
#include "router/encoder/train/token_bags.h"

enum {
    TOKENS_PER_PASS = 64, /* three ids each */
    TEXTS_PER_CALL = 64,
    REFIT_ITERATIONS = 40, /* the gradient is then below a thousandth of where it was */
};
#define SIF_A 1e-4 /* of the paper's best range, and model2vec's */

struct distilling {
    const struct distil_options *opt;
    const struct wordpiece *words; /* the teacher's */
    size_t pieces, width, dim;     /* width: the teacher's vectors */
    float *tokens;                 /* owned: [pieces][width], then [pieces][dim] */
    float *texts;                  /* owned: [text_count][width], unit length; then [..][dim] */
    bool *held_out;                /* owned: [text_count] */
    float *mean;                   /* owned: [width], of the texts that are fitted */
    double *basis;                 /* owned: [width][width], a row per component */
    struct token_bags bags;        /* of all texts */
    /* of the stage that runs */
    atomic_size_t next, done;
    _Atomic(enum err) err;
    struct err_text text[PARALLEL_MAX]; /* by part */
};

static const char *const stage_names[DISTIL_STAGES] = {
    [DISTIL_TOKENS] = "tokens through the model",
    [DISTIL_TEXTS] = "texts through the model",
    [DISTIL_PCA] = "principal components",
    [DISTIL_REFIT] = "refit",
};

const char *distil_stage_name(enum distil_stage s)
{
    return stage_names[s];
}

bool distil_held_out(struct slice text)
{
    return digest_of(text).bytes[0] % 5 == 0;
}

static void tell(const struct distilling *s, enum distil_stage stage, size_t done, size_t total)
{
    if (s->opt->progress)
        s->opt->progress(s->opt->ctx, stage, done, total);
}

/* ---- through the transformer ---- */

/* [UNK], [CLS], [unused7]: names, not language. */
static bool is_language(struct slice piece)
{
    return !(piece.n > 2 && piece.p[0] == '[' && piece.p[piece.n - 1] == ']');
}

static enum err encode_tokens(struct distilling *s, struct encoder_session *session, size_t first,
                              size_t count, float *scratch, struct err_text *t)
{
    int32_t ids[3 * TOKENS_PER_PASS], starts[TOKENS_PER_PASS + 1];
    int32_t cls = wordpiece_id(s->words, SLICE("[CLS]"));
    int32_t sep = wordpiece_id(s->words, SLICE("[SEP]"));
    for (size_t i = 0; i <= count; i++)
        starts[i] = (int32_t)(3 * i);
    for (size_t i = 0; i < count; i++) {
        ids[3 * i] = cls;
        ids[3 * i + 1] = (int32_t)(first + i);
        ids[3 * i + 2] = sep;
    }
    struct encoder_batch batch = {.ids = ids, .starts = starts, .count = (int)count};
    struct encoder_vectors v = {.embedding = scratch, .features = scratch + count * s->width};
    enum err err = encoder_run(session, &batch, &v, t);
    /* The features begin with the mean of the last layer, over all three outputs. */
    for (size_t i = 0; !err && i < count; i++)
        memcpy(s->tokens + (first + i) * s->width, v.features + 2 * i * s->width,
               s->width * sizeof(float));
    return err;
}

static enum err encode_texts(struct distilling *s, struct encoder_session *session, size_t first,
                             size_t count, float *scratch, struct err_text *t)
{
    (void)scratch;
    struct encoder_vectors v = {.embedding = s->texts + first * s->width};
    return encoder_embed(session, s->opt->texts + first, (int)count, &v, NULL, t);
}

struct encoding {
    struct distilling *s;
    enum distil_stage stage;
    size_t total, per_call;
    enum err (*encode)(struct distilling *s, struct encoder_session *session, size_t first,
                       size_t count, float *scratch, struct err_text *t);
};

/* Calls are always of the same rows, whoever makes them: what comes out does not depend on the
 * number of threads. */
static void encode_part(void *ctx, int part, int parts)
{
    const struct encoding *e = ctx;
    struct distilling *s = e->s;
    struct encoder_session *session = encoder_session_new(s->opt->teacher);
    float *scratch = mem_zalloc(e->per_call, 3 * s->width * sizeof(float));
    enum err err = ERR_OK;
    while (!err && !atomic_load(&s->err)) {
        size_t first = atomic_fetch_add(&s->next, e->per_call);
        if (first >= e->total)
            break;
        size_t count = e->total - first < e->per_call ? e->total - first : e->per_call;
        err = e->encode(s, session, first, count, scratch, &s->text[part]);
        size_t done = atomic_fetch_add(&s->done, count) + count;
        if (part == parts - 1)
            tell(s, e->stage, done, e->total);
    }
    if (err)
        atomic_store(&s->err, err);
    free(scratch);
    encoder_session_free(session);
}

static enum err encode_all(struct distilling *s, struct encoding e, struct err_text *t)
{
    atomic_store(&s->next, 0);
    atomic_store(&s->done, 0);
    tell(s, e.stage, 0, e.total);
    parallel_run(encode_part, &e, s->opt->threads);
    tell(s, e.stage, atomic_load(&s->done), e.total);
    enum err err = atomic_load(&s->err);
    for (int i = s->opt->threads - 1; err && i >= 0; i--)
        if (s->text[i].s[0])
            *t = s->text[i];
    return err;
}

static enum err run_teacher(struct distilling *s, struct err_text *t)
{
    s->tokens = mem_zalloc(s->pieces, s->width * sizeof(float));
    s->texts = mem_zalloc(s->opt->text_count, s->width * sizeof(float));
    enum err err = encode_all(
        s, (struct encoding){s, DISTIL_TOKENS, s->pieces, TOKENS_PER_PASS, encode_tokens}, t);
    if (!err)
        err = encode_all(
            s, (struct encoding){s, DISTIL_TEXTS, s->opt->text_count, TEXTS_PER_CALL, encode_texts},
            t);
    return err;
}

/* The tokens that the teacher saw of each text, without those that say nothing. */
static void collect_bags(struct distilling *s)
{
    size_t limit = (size_t)encoder_facts(s->opt->teacher).max_tokens - 2;
    limit = limit < STATIC_MAX_TOKENS ? limit : STATIC_MAX_TOKENS;
    token_bags_init(&s->bags);
    for (size_t i = 0; i < s->opt->text_count; i++) {
        int32_t ids[STATIC_MAX_TOKENS];
        size_t kept = 0;
        struct wordpiece_counts c = wordpiece_encode(s->words, s->opt->texts[i], false, ids, limit);
        for (size_t k = 0; k < c.tokens; k++)
            if (is_language(wordpiece_piece(s->words, ids[k])))
                ids[kept++] = ids[k];
        token_bags_add(&s->bags, ids, kept);
    }
}

/* ---- principal components ---- */

static void center_texts(struct distilling *s)
{
    double *sum = mem_zalloc(s->width, sizeof *sum);
    size_t fitted = 0;
    s->mean = mem_zalloc(s->width, sizeof *s->mean);
    for (size_t i = 0; i < s->opt->text_count; i++) {
        if (s->held_out[i])
            continue;
        fitted++;
        for (size_t d = 0; d < s->width; d++)
            sum[d] += (double)s->texts[i * s->width + d];
    }
    for (size_t d = 0; d < s->width; d++)
        s->mean[d] = (float)(sum[d] / (double)fitted);
    for (size_t i = 0; i < s->opt->text_count; i++)
        for (size_t d = 0; d < s->width; d++)
            s->texts[i * s->width + d] -= s->mean[d];
    free(sum);
}

struct covariance {
    const struct distilling *s;
    double *sum; /* [width][width] */
};

static void covariance_part(void *ctx, int part, int parts)
{
    const struct covariance *c = ctx;
    const struct distilling *s = c->s;
    size_t n = s->width, first = n * (size_t)part / (size_t)parts;
    size_t end = n * ((size_t)part + 1) / (size_t)parts;
    for (size_t i = 0; i < s->opt->text_count; i++) {
        const float *y = s->texts + i * n;
        for (size_t d = s->held_out[i] ? end : first; d < end; d++)
            for (size_t k = 0; k < n; k++)
                c->sum[d * n + k] += (double)y[d] * (double)y[k];
    }
}

static void find_components(struct distilling *s)
{
    size_t n = s->width;
    struct covariance c = {s, mem_zalloc(n * n, sizeof(double))};
    double *values = mem_zalloc(n, sizeof *values);
    tell(s, DISTIL_PCA, 0, 2);
    parallel_run(covariance_part, &c, s->opt->threads);
    tell(s, DISTIL_PCA, 1, 2);
    s->basis = mem_zalloc(n * n, sizeof(double));
    eigen_symmetric(c.sum, n, values, s->basis);
    tell(s, DISTIL_PCA, 2, 2);
    free(values);
    free(c.sum);
}

/* in[count][width] -> out[count][dim], in place: rows only become shorter. */
static void project(const struct distilling *s, float *rows, size_t count)
{
    double *out = mem_zalloc(s->dim, sizeof *out);
    for (size_t i = 0; i < count; i++) {
        const float *in = rows + i * s->width;
        for (size_t d = 0; d < s->dim; d++) {
            double sum = 0;
            for (size_t k = 0; k < s->width; k++)
                sum += s->basis[d * s->width + k] * (double)in[k];
            out[d] = sum;
        }
        for (size_t d = 0; d < s->dim; d++)
            rows[i * s->dim + d] = (float)out[d];
    }
    free(out);
}

/* ---- where tokens begin ---- */

static void center_tokens(struct distilling *s, size_t *language)
{
    double *sum = mem_zalloc(s->width, sizeof *sum);
    *language = 0;
    for (size_t i = 0; i < s->pieces; i++) {
        if (!is_language(wordpiece_piece(s->words, (int32_t)i)))
            continue;
        ++*language;
        for (size_t d = 0; d < s->width; d++)
            sum[d] += (double)s->tokens[i * s->width + d];
    }
    for (size_t i = 0; i < s->pieces; i++)
        for (size_t d = 0; d < s->width; d++)
            s->tokens[i * s->width + d] -= (float)(sum[d] / (double)*language);
    free(sum);
}

/* Frequent tokens say less: the vocabulary is in order of frequency, by and large. */
static void weigh_tokens(struct distilling *s)
{
    double zipf = 0;
    for (size_t i = 0; i < s->pieces; i++)
        zipf += 1 / (double)(i + 2);
    for (size_t i = 0; i < s->pieces; i++) {
        bool language = is_language(wordpiece_piece(s->words, (int32_t)i));
        double p = 1 / (double)(i + 2) / zipf, weight = language ? SIF_A / (SIF_A + p) : 0;
        for (size_t d = 0; d < s->dim; d++)
            s->tokens[i * s->dim + d] *= (float)weight;
    }
}

/* One factor for all tokens, which brings the texts' means nearest to the texts' vectors. */
static void scale_tokens(struct distilling *s)
{
    float *mean = mem_zalloc(s->dim, sizeof *mean);
    double with_text = 0, with_itself = 0;
    for (size_t i = 0; i < s->opt->text_count; i++) {
        if (s->held_out[i])
            continue;
        token_bags_mean(&s->bags, i, s->tokens, s->dim, mean);
        for (size_t d = 0; d < s->dim; d++) {
            with_text += (double)mean[d] * (double)s->texts[i * s->dim + d];
            with_itself += (double)mean[d] * (double)mean[d];
        }
    }
    float by = with_itself > 0 ? (float)(with_text / with_itself) : 1;
    for (size_t i = 0; i < s->pieces * s->dim; i++)
        s->tokens[i] *= by;
    free(mean);
}

/* ---- refit ---- */

static void on_refit(void *ctx, size_t done, size_t total)
{
    tell(ctx, DISTIL_REFIT, done, total);
}

static void refit(struct distilling *s)
{
    struct token_bags bags;
    float *target = mem_zalloc(s->opt->text_count, s->dim * sizeof(float));
    token_bags_init(&bags);
    for (size_t i = 0; i < s->opt->text_count; i++) {
        if (s->held_out[i])
            continue;
        memcpy(target + bags.count * s->dim, s->texts + i * s->dim, s->dim * sizeof(float));
        token_bags_add(&bags, s->bags.ids + s->bags.starts[i],
                       s->bags.starts[i + 1] - s->bags.starts[i]);
    }
    tell(s, DISTIL_REFIT, 0, REFIT_ITERATIONS);
    token_bags_fit(&(struct token_fit){
        .bags = &bags,
        .target = target,
        .table = s->tokens,
        .tokens = s->pieces,
        .dim = s->dim,
        .ridge = s->opt->ridge,
        .iterations = REFIT_ITERATIONS,
        .threads = s->opt->threads,
        .tick = on_refit,
        .tick_ctx = s,
    });
    token_bags_clear(&bags);
    free(target);
}

/* ---- the file ---- */

static void quantise(const struct distilling *s, int8_t *rows, float *scale)
{
    for (size_t i = 0; i < s->pieces; i++) {
        float *row = s->tokens + i * s->dim, top = 0;
        for (size_t d = 0; d < s->dim; d++)
            top = fmaxf(top, fabsf(row[d]));
        scale[i] = top / 127;
        for (size_t d = 0; d < s->dim; d++) {
            rows[i * s->dim + d] = top > 0 ? (int8_t)lrintf(row[d] / scale[i]) : 0;
            row[d] =
                (float)rows[i * s->dim + d] * scale[i]; /* what is measured is what is shipped */
        }
    }
}

/* The vocabulary as a file again; heap. */
static struct slice vocabulary(const struct distilling *s)
{
    size_t bytes = 0, at = 0;
    for (size_t i = 0; i < s->pieces; i++)
        bytes += wordpiece_piece(s->words, (int32_t)i).n + 1;
    char *text = mem_alloc(bytes);
    for (size_t i = 0; i < s->pieces; i++) {
        struct slice piece = wordpiece_piece(s->words, (int32_t)i);
        memcpy(text + at, piece.p, piece.n);
        at += piece.n;
        text[at++] = '\n';
    }
    return slice_make(text, bytes);
}

static struct slice truth(bool b)
{
    return b ? SLICE("true") : SLICE("false");
}

static enum err write_table(const struct distilling *s, const char *path, const int8_t *rows,
                            const float *scale, struct err_text *t)
{
    struct encoder_facts teacher = encoder_facts(s->opt->teacher);
    struct wordpiece_options words = *wordpiece_options_of(s->words);
    struct slice vocab = vocabulary(s);
    char space[FINGERPRINT_TEXT_BYTES], ridge[32];
    fingerprint_text(teacher.space, space);
    snprintf(ridge, sizeof ridge, "%g", s->opt->ridge);
    const struct tensor tensors[] = {
        {.name = SLICE("rows"),
         .dtype = TENSOR_I8,
         .rank = 2,
         .shape = {s->pieces, s->dim},
         .count = s->pieces * s->dim,
         .data = slice_make((const char *)rows, s->pieces * s->dim)},
        {.name = SLICE("scale"),
         .dtype = TENSOR_F32,
         .rank = 1,
         .shape = {s->pieces},
         .count = s->pieces,
         .data = slice_make((const char *)scale, s->pieces * sizeof *scale)},
        {.name = SLICE("vocab"),
         .dtype = TENSOR_U8,
         .rank = 1,
         .shape = {vocab.n},
         .count = vocab.n,
         .data = vocab},
    };
    const struct tensor_pair metadata[] = {
        {SLICE("format"), SLICE(STATIC_TABLE_FORMAT)},
        {SLICE("teacher"), slice_str(teacher.model)},
        {SLICE("teacher_space"), slice_str(space)},
        {SLICE("quantisation"), SLICE("int8, a scale per token")},
        {SLICE("ridge"), slice_str(ridge)},
        {SLICE("lower_case"), truth(words.lower_case)},
        {SLICE("strip_accents"), truth(words.strip_accents)},
        {SLICE("split_cjk"), truth(words.split_cjk)},
    };
    enum err err = safetensors_write(path, tensors, sizeof tensors / sizeof *tensors, metadata,
                                     sizeof metadata / sizeof *metadata, t);
    free((void *)(uintptr_t)vocab.p);
    return err;
}

/* ---- all of it ---- */

static enum err check(const struct distil_options *opt, size_t fitted, struct err_text *t)
{
    struct encoder_facts f = encoder_facts(opt->teacher);
    if (opt->dim < STATIC_TABLE_DIM_STEP || opt->dim > f.dim ||
        opt->dim % STATIC_TABLE_DIM_STEP != 0) {
        err_say(t, "a table of %d dimensions: a multiple of %d up to the model's %d is possible",
                opt->dim, STATIC_TABLE_DIM_STEP, f.dim);
        return ERR_BAD_REQUEST;
    }
    if (!(opt->ridge > 0) || !isfinite(opt->ridge)) {
        err_say(t, "the ridge must be above 0");
        return ERR_BAD_REQUEST;
    }
    if (fitted < (size_t)opt->dim) {
        err_say(t, "%zu texts to fit %d dimensions: there must be more texts than dimensions",
                fitted, opt->dim);
        return ERR_BAD_REQUEST;
    }
    return ERR_OK;
}

static void measure(const struct distilling *s, double *rank, double *neighbours)
{
    struct distil_quality q = {.bags = &s->bags,
                               .texts = s->texts,
                               .tokens = s->tokens,
                               .held_out = s->held_out,
                               .dim = s->dim};
    distil_measure(&q, s->opt->threads, rank, neighbours);
}

static enum err make_table(struct distilling *s, const char *path, struct distil_report *report,
                           struct err_text *t)
{
    enum err err = run_teacher(s, t);
    if (err)
        return err;
    collect_bags(s);
    center_texts(s);
    find_components(s);
    center_tokens(s, &report->tokens);
    project(s, s->texts, s->opt->text_count);
    project(s, s->tokens, s->pieces);
    weigh_tokens(s);
    scale_tokens(s);
    measure(s, &report->rank_before, &report->neighbours);
    refit(s);
    int8_t *rows = mem_zalloc(s->pieces, s->dim);
    float *scale = mem_zalloc(s->pieces, sizeof *scale);
    quantise(s, rows, scale);
    measure(s, &report->rank, &report->neighbours);
    err = write_table(s, path, rows, scale, t);
    free(rows);
    free(scale);
    return err;
}

enum err distil(const struct distil_options *opt, const char *path, struct distil_report *report,
                struct err_text *t)
{
    struct distilling s = {.opt = opt, .words = encoder_tokenizer(opt->teacher)};
    assert(opt->threads >= 1 && opt->threads <= PARALLEL_MAX);
    *report = (struct distil_report){0};
    s.pieces = wordpiece_size(s.words);
    s.width = (size_t)encoder_facts(opt->teacher).dim;
    s.dim = (size_t)opt->dim;
    s.held_out = mem_zalloc(opt->text_count + 1, sizeof *s.held_out);
    for (size_t i = 0; i < opt->text_count; i++) {
        s.held_out[i] = distil_held_out(opt->texts[i]);
        report->held_out += s.held_out[i];
    }
    report->fitted = opt->text_count - report->held_out;
    enum err err = check(opt, report->fitted, t);
    if (!err)
        err = make_table(&s, path, report, t);
    token_bags_clear(&s.bags);
    free(s.tokens);
    free(s.texts);
    free(s.held_out);
    free(s.mean);
    free(s.basis);
    return err;
}
