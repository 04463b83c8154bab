/* Weights out of a model's folder: every tensor that config.json implies, found by its name, with
 * its shape, converted to fp32 into one block. What the file holds beyond that is either known to
 * be of no use here (pooler, position_ids, the pre-training head) or refused. Called once per model
 * by encoder_open; the file's own bytes are gone when bert_model_open returns. */
#include "router/encoder/bert_model.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/arena.h"
#include "base/atomic_file.h"
#include "base/mem.h"
#include "router/encoder/bert_config.h"
#include "router/encoder/block.h"
#include "router/encoder/safetensors.h"
#include "router/encoder/wordpiece.h"

#define MAX_VOCABULARY_BYTES ((size_t)32 << 20)
/* Every matrix begins on a cache line. */
#define ALIGN_FLOATS (BLOCK_ALIGN_BYTES / sizeof(float))

/* What m->arena points to. */
struct store {
    struct arena small; /* layer table, prefix */
    char *vocab;        /* owned */
    float *weights;     /* owned; one block */
};

struct loading {
    const struct bert_config *config;
    struct bert_model *m;
    struct store *store;
    struct safetensors *file;
    const char *folder;
    const char *prefix; /* of the names: "" or "bert." */
    size_t used;        /* floats of the block */
    bool *used_tensors; /* [tensors of the file] */
    struct digest digest;
    struct err_text *t;
};

/* ---- names and shapes ---- */

/* rows 0: a vector. */
static enum err find(struct loading *l, const char *name, size_t rows, size_t columns,
                     const struct tensor **out)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", l->prefix, name);
    const struct tensor *x = safetensors_find(l->file, slice_str(full));
    if (!x) {
        err_say(l->t, "%s/model.safetensors: '%s' is missing", l->folder, full);
        return ERR_BAD_WEIGHTS;
    }
    bool fits = rows ? x->rank == 2 && x->shape[0] == rows && x->shape[1] == columns
                     : x->rank == 1 && x->shape[0] == columns;
    if (!fits) {
        err_say(l->t,
                "%s/model.safetensors: '%s' does not have the shape [%.0zu%s%zu] that "
                "config.json asks for",
                l->folder, full, rows, rows ? ", " : "", columns);
        return ERR_BAD_WEIGHTS;
    }
    l->used_tensors[x - safetensors_at(l->file, 0)] = true;
    *out = x;
    return ERR_OK;
}

static enum err read_into(struct loading *l, const char *name, size_t rows, size_t columns,
                          float *to)
{
    const struct tensor *x;
    struct err_text what;
    enum err e = find(l, name, rows, columns, &x);
    if (e == ERR_OK && (e = tensor_read_f32(x, to, &what)) != ERR_OK)
        err_say(l->t, "%s/model.safetensors: %.300s", l->folder, what.s);
    return e;
}

static float *take(struct loading *l, size_t floats)
{
    float *p = l->store->weights + l->used;
    l->used += (floats + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    return p;
}

/* One row of the table of tensors: where its numbers go, and its shape. */
struct part {
    const char *name; /* behind the layer's prefix */
    const float **to;
    size_t rows, columns;
};

static enum err read_parts(struct loading *l, const char *where, const struct part *parts,
                           size_t count)
{
    char name[128];
    for (size_t i = 0; i < count; i++) {
        const struct part *p = &parts[i];
        float *to = take(l, (p->rows ? p->rows : 1) * p->columns);
        snprintf(name, sizeof name, "%s%s", where, p->name);
        enum err e = read_into(l, name, p->rows, p->columns, to);
        if (e != ERR_OK)
            return e;
        *p->to = to;
    }
    return ERR_OK;
}

/* ---- the parts of the model ---- */

/* Query, key and value one below the other: one product instead of three. */
static enum err read_qkv(struct loading *l, const char *where, struct bert_layer *layer)
{
    static const char *const which[] = {"query", "key", "value"};
    size_t h = (size_t)l->config->hidden;
    float *weight = take(l, 3 * h * h), *bias = take(l, 3 * h);
    char name[128];
    enum err e = ERR_OK;
    for (size_t i = 0; i < 3 && e == ERR_OK; i++) {
        snprintf(name, sizeof name, "%sattention.self.%s.weight", where, which[i]);
        e = read_into(l, name, h, h, weight + i * h * h);
        snprintf(name, sizeof name, "%sattention.self.%s.bias", where, which[i]);
        if (e == ERR_OK)
            e = read_into(l, name, 0, h, bias + i * h);
    }
    layer->qkv_weight = weight;
    layer->qkv_bias = bias;
    return e;
}

static enum err read_layer(struct loading *l, int index, struct bert_layer *out)
{
    size_t h = (size_t)l->config->hidden, f = (size_t)l->config->feed_forward;
    const struct part parts[] = {
        {"attention.output.dense.weight", &out->out_weight, h, h},
        {"attention.output.dense.bias", &out->out_bias, 0, h},
        {"attention.output.LayerNorm.weight", &out->attn_gain, 0, h},
        {"attention.output.LayerNorm.bias", &out->attn_shift, 0, h},
        {"intermediate.dense.weight", &out->up_weight, f, h},
        {"intermediate.dense.bias", &out->up_bias, 0, f},
        {"output.dense.weight", &out->down_weight, h, f},
        {"output.dense.bias", &out->down_bias, 0, h},
        {"output.LayerNorm.weight", &out->ffn_gain, 0, h},
        {"output.LayerNorm.bias", &out->ffn_shift, 0, h},
    };
    char where[64];
    snprintf(where, sizeof where, "encoder.layer.%d.", index);
    enum err e = read_qkv(l, where, out);
    return e == ERR_OK ? read_parts(l, where, parts, sizeof parts / sizeof *parts) : e;
}

static enum err read_embeddings(struct loading *l)
{
    const struct bert_config *c = l->config;
    size_t h = (size_t)c->hidden, positions = (size_t)c->max_positions;
    const float *types;
    const struct part parts[] = {
        {"word_embeddings.weight", &l->m->word, (size_t)c->vocab_size, h},
        {"token_type_embeddings.weight", &types, (size_t)c->token_types, h},
        {"LayerNorm.weight", &l->m->embed_gain, 0, h},
        {"LayerNorm.bias", &l->m->embed_shift, 0, h},
    };
    enum err e = read_parts(l, "embeddings.", parts, sizeof parts / sizeof *parts);
    if (e != ERR_OK)
        return e;
    float *position = take(l, positions * h);
    e = read_into(l, "embeddings.position_embeddings.weight", positions, h, position);
    for (size_t i = 0; e == ERR_OK && i < positions; i++)
        for (size_t j = 0; j < h; j++)
            position[i * h + j] += types[j];
    l->m->position = position;
    return e;
}

/* Floats of the block: as read_embeddings and read_layer take them, each rounded up. */
static size_t block_floats(const struct bert_config *c)
{
    size_t h = (size_t)c->hidden, f = (size_t)c->feed_forward;
    size_t tables = (size_t)c->vocab_size + (size_t)c->token_types + (size_t)c->max_positions + 2;
    size_t layer = 4 * h * h + 2 * f * h + 9 * h + f;
    size_t pieces = 5 + 12 * (size_t)c->layers;
    return tables * h + layer * (size_t)c->layers + pieces * ALIGN_FLOATS;
}

/* ---- what else the file holds ---- */

static bool of_no_use(struct slice name)
{
    return slice_eq(name, SLICE("embeddings.position_ids")) ||
           slice_starts(name, SLICE("pooler.")) || slice_starts(name, SLICE("cls."));
}

/* A tensor that nobody knows is a part of the computation that would be left out. */
static enum err check_extras(const struct loading *l)
{
    struct slice prefix = slice_str(l->prefix);
    for (size_t i = 0; i < safetensors_count(l->file); i++) {
        struct slice name = safetensors_at(l->file, i)->name;
        struct slice bare = slice_starts(name, prefix) ? slice_from(name, prefix.n) : name;
        if (!l->used_tensors[i] && !of_no_use(bare)) {
            err_say(l->t, "%s/model.safetensors: '%.*s' is no part of a BERT encoder of %d layers",
                    l->folder, SLICE_ARG(name), l->config->layers);
            return ERR_BAD_WEIGHTS;
        }
    }
    return ERR_OK;
}

/* ---- the whole ---- */

static enum err read_weights(struct loading *l)
{
    enum err e = read_embeddings(l);
    struct bert_layer *layers = ARENA_ARRAY(&l->store->small, struct bert_layer, l->config->layers);
    for (int i = 0; e == ERR_OK && i < l->config->layers; i++)
        e = read_layer(l, i, &layers[i]);
    l->m->layer = layers;
    return e == ERR_OK ? check_extras(l) : e;
}

static enum err load_weights(struct loading *l)
{
    char path[4096];
    size_t bytes = block_floats(l->config) * sizeof(float);
    int n = snprintf(path, sizeof path, "%s/model.safetensors", l->folder);
    if (n < 0 || (size_t)n >= sizeof path) {
        err_say(l->t, "%.200s...: the path is too long", l->folder);
        return ERR_BAD_WEIGHTS;
    }
    enum err e = safetensors_open(path, &l->file, l->t);
    if (e != ERR_OK)
        return e;
    if (safetensors_find(l->file, SLICE("bert.embeddings.word_embeddings.weight")))
        l->prefix = "bert.";
    l->used_tensors = mem_zalloc(safetensors_count(l->file), sizeof *l->used_tensors);
    if (!(l->store->weights = block_new(bytes))) {
        err_say(l->t, "%s: no memory for %zu bytes of weights", l->folder, bytes);
        e = ERR_BAD_WEIGHTS;
    } else {
        e = read_weights(l);
    }
    l->digest = safetensors_digest(l->file);
    free(l->used_tensors);
    safetensors_free(l->file);
    return e;
}

/* Lines of vocab.txt; a last one may lack its newline. */
static size_t count_lines(struct slice text)
{
    size_t n = 0;
    for (const char *p = text.p, *end = p + text.n; p < end; n++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        p = newline ? newline + 1 : end;
    }
    return n;
}

static enum err load_vocabulary(struct loading *l)
{
    char path[4096];
    size_t bytes;
    snprintf(path, sizeof path, "%s/vocab.txt", l->folder);
    if (atomic_file_read(path, MAX_VOCABULARY_BYTES, &l->store->vocab, &bytes, l->t) != ERR_OK)
        return ERR_BAD_WEIGHTS;
    l->m->vocab = slice_make(l->store->vocab, bytes);
    size_t lines = count_lines(l->m->vocab);
    if (lines == (size_t)l->config->vocab_size)
        return ERR_OK;
    err_say(l->t, "%s: %zu lines, config.json's vocab_size is %d", path, lines,
            l->config->vocab_size);
    return ERR_BAD_WEIGHTS;
}

/* The last part of the folder's path, as a label. */
static void copy_name(const char *folder, char *out, size_t out_bytes)
{
    struct slice s = slice_str(folder);
    while (s.n > 1 && s.p[s.n - 1] == '/')
        s.n--;
    const char *slash = s.n ? memrchr(s.p, '/', s.n) : NULL;
    if (slash && s.n > 1)
        s = slice_from(s, (size_t)(slash + 1 - s.p));
    snprintf(out, out_bytes, "%.*s", SLICE_ARG(s));
}

static void copy_config(struct bert_model *m, struct store *store, const struct bert_config *c)
{
    m->layers = c->layers;
    m->hidden = c->hidden;
    m->heads = c->heads;
    m->feed_forward = c->feed_forward;
    m->vocab_size = c->vocab_size;
    m->max_positions = c->max_positions;
    m->layer_norm_eps = c->layer_norm_eps;
    m->activation = c->activation;
    m->pooling = c->pooling;
    m->normalize = c->normalize;
    m->max_tokens = c->max_tokens;
    m->prefix = arena_strdup(&store->small, slice_str(c->prefix));
    m->lower_case = c->lower_case;
    m->strip_accents = c->strip_accents;
    m->split_cjk = c->split_cjk;
}

static struct fingerprint space_of(const struct bert_model *m, struct digest weights)
{
    const struct wordpiece_options tokenizer = {m->lower_case, m->strip_accents, m->split_cjk};
    const struct fingerprint_parts parts = {
        .weights = weights,
        .tokenizer = wordpiece_digest(m->vocab, &tokenizer),
        .pooling = m->pooling == BERT_POOL_CLS ? "cls" : "mean",
        .normalize = m->normalize,
        .prefix = slice_str(m->prefix),
        .max_tokens = m->max_tokens,
    };
    return fingerprint_space(&parts);
}

void bert_model_free(struct bert_model *m)
{
    if (!m)
        return;
    struct store *store = m->arena;
    arena_clear(&store->small);
    free(store->vocab);
    free(store->weights);
    free(store);
    free(m);
}

void bert_model_drop_weights(struct bert_model *m)
{
    struct store *store = m->arena;
    free(store->weights);
    store->weights = NULL;
    m->word = m->position = m->embed_gain = m->embed_shift = NULL;
    m->layer = NULL;
}

enum err bert_model_open(const char *folder, struct bert_model **out, struct err_text *t)
{
    struct bert_config config;
    enum err e = bert_config_read(folder, &config, t);
    if (e != ERR_OK)
        return e;
    struct bert_model *m = mem_zalloc(1, sizeof *m);
    struct store *store = m->arena = mem_zalloc(1, sizeof *store);
    arena_init(&store->small, 4 << 10);
    copy_config(m, store, &config);
    copy_name(folder, m->name, sizeof m->name);
    struct loading l = {
        .config = &config, .m = m, .store = store, .folder = folder, .prefix = "", .t = t};
    e = load_vocabulary(&l);
    if (e == ERR_OK)
        e = load_weights(&l);
    if (e != ERR_OK) {
        bert_model_free(m);
        return e;
    }
    m->space = space_of(m, l.digest);
    *out = m;
    return ERR_OK;
}
