/* Owns an opened table: the tokens' vectors as bytes, where they lie in the file (or in the
 * program), and their scales. Called by the service, by heads and by the command line. The file is
 * safetensors:
 *
 *   rows    I8 [pieces][dim]   a token's vector, in units of
 *   scale   F32 [pieces]       its scale; 0: the token says nothing ([UNK], [unused7])
 *   vocab   U8 [bytes]         the vocabulary, as vocab.txt has it
 *
 * with the metadata format (STATIC_TABLE_FORMAT), teacher, teacher_space, lower_case, strip_accents
 * and split_cjk. What weights tokens differently (frequency) is in their lengths already, so a
 * text's vector is the plain sum of its tokens' vectors, made one long. Written by
 * train/distil.c. */
#include "router/encoder/static_table.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include "base/mem.h"
#include "router/encoder/safetensors.h"
#include "router/encoder/static_table_data.h"
#include "router/encoder/static_table_int.h"

struct static_table {
    struct safetensors *file;    /* owned */
    struct wordpiece *tokenizer; /* owned */
    const int8_t *rows;          /* in the file's bytes */
    float *scale;                /* owned: [pieces] */
    int dim;
    static_table_sum_fn sum; /* for this machine */
    struct fingerprint space;
};

/* ---- opening ---- */

static enum err read_option(const struct safetensors *f, struct slice key, bool *out,
                            struct err_text *t)
{
    struct slice v = safetensors_metadata(f, key);
    *out = slice_eq(v, SLICE("true"));
    if (*out || slice_eq(v, SLICE("false")))
        return ERR_OK;
    err_say(t, "static table: the metadata %.*s is '%.*s', not true or false", SLICE_ARG(key),
            SLICE_ARG(v));
    return ERR_BAD_WEIGHTS;
}

static enum err read_tokenizer(struct static_table *s, struct digest *digest, struct err_text *t)
{
    struct wordpiece_options opt;
    const struct tensor *vocab = safetensors_find(s->file, SLICE("vocab"));
    enum err err;
    if (!vocab || vocab->dtype != TENSOR_U8 || vocab->rank != 1) {
        err_say(t, "static table: no tensor vocab of U8 and rank 1");
        return ERR_BAD_WEIGHTS;
    }
    if ((err = read_option(s->file, SLICE("lower_case"), &opt.lower_case, t)) ||
        (err = read_option(s->file, SLICE("strip_accents"), &opt.strip_accents, t)) ||
        (err = read_option(s->file, SLICE("split_cjk"), &opt.split_cjk, t)))
        return err;
    *digest = wordpiece_digest(vocab->data, &opt);
    return wordpiece_new(vocab->data, &opt, &s->tokenizer, t);
}

static enum err read_rows(struct static_table *s, struct err_text *t)
{
    const struct tensor *rows = safetensors_find(s->file, SLICE("rows"));
    const struct tensor *scale = safetensors_find(s->file, SLICE("scale"));
    size_t pieces = wordpiece_size(s->tokenizer);
    if (!rows || rows->dtype != TENSOR_I8 || rows->rank != 2 || rows->shape[0] != pieces) {
        err_say(t, "static table: no tensor rows of I8 [%zu][dim]", pieces);
        return ERR_BAD_WEIGHTS;
    }
    if (rows->shape[1] == 0 || rows->shape[1] > STATIC_TABLE_MAX_DIM ||
        rows->shape[1] % STATIC_TABLE_DIM_STEP != 0) {
        err_say(t, "static table: vectors of %zu, not a multiple of %d up to %d", rows->shape[1],
                STATIC_TABLE_DIM_STEP, STATIC_TABLE_MAX_DIM);
        return ERR_BAD_WEIGHTS;
    }
    if (!scale || scale->dtype != TENSOR_F32 || scale->rank != 1 || scale->shape[0] != pieces) {
        err_say(t, "static table: no tensor scale of F32 [%zu]", pieces);
        return ERR_BAD_WEIGHTS;
    }
    s->rows = (const int8_t *)rows->data.p;
    s->dim = (int)rows->shape[1];
    s->sum = static_table_sum(NULL);
    s->scale = mem_zalloc(pieces, sizeof *s->scale);
    return tensor_read_f32(scale, s->scale, t);
}

/* Takes the file over. */
static enum err open_file(struct safetensors *file, struct static_table **out, struct err_text *t)
{
    struct static_table *s = mem_zalloc(1, sizeof *s);
    struct digest tokenizer;
    enum err err = ERR_OK;
    s->file = file;
    if (!slice_eq(safetensors_metadata(file, SLICE("format")), SLICE(STATIC_TABLE_FORMAT))) {
        err_say(t, "static table: the metadata format is not '" STATIC_TABLE_FORMAT "'");
        err = ERR_BAD_WEIGHTS;
    }
    if (err || (err = read_tokenizer(s, &tokenizer, t)) || (err = read_rows(s, t))) {
        static_table_free(s);
        return err;
    }
    s->space = fingerprint_space(&(struct fingerprint_parts){
        .weights = safetensors_digest(file),
        .tokenizer = tokenizer,
        .pooling = "mean",
        .normalize = true,
        .max_tokens = STATIC_MAX_TOKENS,
    });
    *out = s;
    return ERR_OK;
}

enum err static_table_open(const char *path, struct static_table **out, struct err_text *t)
{
    struct safetensors *file;
    enum err err = safetensors_open(path, &file, t);
    return err ? err : open_file(file, out, t);
}

enum err static_table_parse(struct slice bytes, struct static_table **out, struct err_text *t)
{
    struct safetensors *file;
    enum err err = safetensors_parse(bytes, &file, t);
    return err ? err : open_file(file, out, t);
}

static struct static_table *builtin;

static void open_builtin(void)
{
    struct err_text t;
    enum err err = static_table_parse(static_table_data(), &builtin, &t);
    assert(!err && "the table inside the program is whole");
    (void)err;
}

const struct static_table *static_table_builtin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_builtin);
    return builtin;
}

void static_table_free(struct static_table *s)
{
    if (!s)
        return;
    wordpiece_free(s->tokenizer);
    safetensors_free(s->file);
    free(s->scale);
    free(s);
}

int static_table_dim(const struct static_table *s)
{
    return s->dim;
}

struct fingerprint static_table_space(const struct static_table *s)
{
    return s->space;
}

const struct wordpiece *static_table_tokenizer(const struct static_table *s)
{
    return s->tokenizer;
}

/* ---- a text ---- */

enum { LANES = STATIC_TABLE_DIM_STEP, ROWS_AHEAD = 6, LINE_BYTES = 64 };

/* out[dim] = the sum of the tokens' vectors, made one long; false when it has no length. Every lane
 * is summed in the tokens' order and products are not fused into sums (-std=c11 sees to that), so
 * that all instruction sets give the same bits. */
static inline __attribute__((always_inline)) bool
sum_rows(const struct static_table *s, const int32_t *ids, size_t count, float *restrict out)
{
    size_t dim = (size_t)s->dim;
    float lane[LANES] = {0}, square = 0;
    memset(out, 0, dim * sizeof *out);
    for (size_t i = 0; i < count; i++) {
        const int8_t *row = s->rows + (size_t)ids[i] * dim;
        float scale = s->scale[ids[i]];
        if (i + ROWS_AHEAD < count)
            for (size_t d = 0; d < dim; d += LINE_BYTES)
                __builtin_prefetch(s->rows + (size_t)ids[i + ROWS_AHEAD] * dim + d);
        for (size_t d = 0; d < dim; d++)
            out[d] += scale * (float)row[d];
    }
    for (size_t d = 0; d < dim; d += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] += out[d + j] * out[d + j];
    for (size_t j = 0; j < LANES; j++)
        square += lane[j];
    if (!(square > 0))
        return false;
    float by = 1 / sqrtf(square);
    for (size_t d = 0; d < dim; d++)
        out[d] *= by;
    return true;
}

static bool sum_portable(const struct static_table *s, const int32_t *ids, size_t count, float *out)
{
    return sum_rows(s, ids, count, out);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static bool sum_avx2(const struct static_table *s,
                                                     const int32_t *ids, size_t count, float *out)
{
    return sum_rows(s, ids, count, out);
}

__attribute__((target("avx512f,avx512bw"))) static bool
sum_avx512(const struct static_table *s, const int32_t *ids, size_t count, float *out)
{
    return sum_rows(s, ids, count, out);
}
#endif

static_table_sum_fn static_table_sum(const char *isa)
{
#if defined(__x86_64__)
    if ((!isa || !strcmp(isa, "avx512")) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw"))
        return sum_avx512;
    if ((!isa || !strcmp(isa, "avx2")) && __builtin_cpu_supports("avx2"))
        return sum_avx2;
#endif
    return !isa || !strcmp(isa, "portable") ? sum_portable : NULL;
}

bool static_table_embed(const struct static_table *s, struct slice text, float *out,
                        struct wordpiece_counts *counts)
{
    int32_t ids[STATIC_MAX_TOKENS];
    struct wordpiece_counts c = wordpiece_encode(s->tokenizer, text, false, ids, STATIC_MAX_TOKENS);
    if (counts)
        *counts = c;
    return s->sum(s, ids, c.tokens, out);
}
