/* Owns, per tier: the heads (weir's own, or a file's) and the centroids of the declared classes.
 * Pure once built, but for classifier_labels and building, which read files. Called by control and
 * the commands (building), by router/classify.c on workers. */
#include "router/classifier.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "base/mem.h"
#include "router/encoder/background.h"
#include "router/encoder/bert_model.h"
#include "router/encoder/centroids.h"
#include "router/encoder/features.h"
#include "router/encoder/heads.h"
#include "router/encoder/model_store.h"
#include "router/encoder/static_table.h"

#define MAX_DIM          4096 /* of an embedding: sizes what is on the stack */
#define MAX_LABELS       1024
#define IN_SCOPE_FROM    0.05f /* of the head's score: one in twenty of its own kind is refused */
#define USUAL_STRICTNESS 1.0
#define ENCODE_AT_ONCE   16 /* between two looks at classifier_options.stop */

/* What one centroid stands for. */
struct declared {
    const char *name;
    const char **examples; /* those that have a direction, as the centroid counts them */
};

struct tier {
    bool present;
    size_t dim;                  /* of the embedding */
    const struct heads *heads;   /* NULL: none for this space */
    struct heads *owned;         /* heads, when they come from a file */
    struct centroids *centroids; /* NULL: no class is declared, or none that this tier can tell */
    struct declared *declared;   /* parallel to the centroids */
};

struct classifier {
    _Atomic int refs;
    struct arena arena; /* owns the copies below */
    struct policy_class *classes;
    size_t class_count;
    struct tier tiers[CLASSIFIER_TIERS];
    const char *heads_file;  /* NULL: weir's own */
    struct stat heads_stat;  /* when it was read */
    struct fingerprint full; /* of the encoder; all zero: none */
};

const char *classifier_tier_name(enum classifier_tier t)
{
    return t == CLASSIFIER_FULL ? "full" : "static";
}

const char *classified_by_name(enum classified_by by)
{
    switch (by) {
    case CLASSIFIED_NOT:
        return "none";
    case CLASSIFIED_BY_EXAMPLES:
        return "examples";
    case CLASSIFIED_BY_HEAD:
        return "head";
    }
    return "?";
}

/* ---- heads ---- */

static enum err check_heads(const struct heads *h, struct fingerprint space, const char *encoder,
                            size_t features, struct err_text *t)
{
    enum err err = heads_check_space(h, space, encoder, features, t);

    if (err == ERR_OK && heads_class_count(h) > MAX_LABELS) {
        err_say(t, "%zu labels of heads are more than the %d that are taken", heads_class_count(h),
                MAX_LABELS);
        err = ERR_BAD_WEIGHTS;
    }
    return err;
}

static enum err add_heads(struct tier *tier, struct fingerprint space, const char *encoder,
                          size_t features, const char *file, struct err_text *t)
{
    enum err err;

    if (!file) {
        tier->heads = heads_builtin(space);
        return tier->heads ? check_heads(tier->heads, space, encoder, features, t) : ERR_OK;
    }
    err = heads_open(file, &tier->owned, t);
    if (err != ERR_OK)
        return err;
    tier->heads = tier->owned;
    return check_heads(tier->heads, space, encoder, features, t);
}

/* ---- declared classes ---- */

/* Vectors of many texts: one row each; a row that is all zero has no direction. */
typedef enum err (*embed_fn)(void *ctx, const struct slice *texts, size_t count, float *rows,
                             struct err_text *t);

static enum err embed_static(void *ctx, const struct slice *texts, size_t count, float *rows,
                             struct err_text *t)
{
    const struct static_table *table = ctx;
    size_t dim = (size_t)static_table_dim(table);

    (void)t;
    for (size_t i = 0; i < count; i++)
        (void)static_table_embed(table, texts[i], rows + i * dim, NULL);
    return ERR_OK;
}

struct full_embedder {
    struct encoder_session *session;
    size_t dim;
    const _Atomic bool *stop; /* NULL: nobody will */
};

static enum err embed_full(void *ctx, const struct slice *texts, size_t count, float *rows,
                           struct err_text *t)
{
    struct full_embedder *f = ctx;
    enum err err = ERR_OK;

    for (size_t i = 0; i < count && err == ERR_OK; i += ENCODE_AT_ONCE) {
        struct encoder_vectors v = {.embedding = rows + i * f->dim};
        size_t n = count - i < ENCODE_AT_ONCE ? count - i : ENCODE_AT_ONCE;

        if (f->stop && atomic_load(f->stop)) {
            err_say(t, "told to stop before all examples were encoded");
            return ERR_DRAINING;
        }
        err = encoder_embed(f->session, texts + i, (int)n, &v, NULL, t);
    }
    return err;
}

static bool has_direction(const float *row, size_t dim)
{
    for (size_t i = 0; i < dim; i++)
        if (row[i] != 0)
            return true;
    return false;
}

/* The class's examples with a direction, one row each; *count says how many. */
static enum err embed_class(const struct policy_class *k, size_t dim, embed_fn embed, void *ctx,
                            float *rows, const char **examples, size_t *count, struct err_text *t)
{
    struct slice *texts = mem_zalloc(k->example_count, sizeof *texts);
    enum err err;

    for (size_t i = 0; i < k->example_count; i++)
        texts[i] = slice_str(k->examples[i]);
    err = embed(ctx, texts, k->example_count, rows, t);
    free(texts);
    *count = 0;
    for (size_t i = 0; i < k->example_count && err == ERR_OK; i++) {
        if (!has_direction(rows + i * dim, dim))
            continue;
        memmove(rows + *count * dim, rows + i * dim, dim * sizeof *rows);
        examples[(*count)++] = k->examples[i];
    }
    return err;
}

static enum err embed_background(size_t dim, embed_fn embed, void *ctx, float **out,
                                 struct err_text *t)
{
    size_t n = background_count();
    struct slice *texts = mem_zalloc(n, sizeof *texts);
    enum err err;

    *out = mem_zalloc(n * dim, sizeof **out);
    for (size_t i = 0; i < n; i++)
        texts[i] = background_prompt(i);
    err = embed(ctx, texts, n, *out, t);
    free(texts);
    return err;
}

/* A class none of whose examples has a direction (words that the static table does not know) is
 * left to the other tier, if there is one. */
static enum err add_classes(struct classifier *c, struct tier *tier, embed_fn embed, void *ctx,
                            bool only_tier, struct err_text *t)
{
    struct centroids_class *cc = mem_zalloc(c->class_count, sizeof *cc);
    float **rows = mem_zalloc(c->class_count, sizeof *rows), *background = NULL;
    struct centroids_options opt = {.dim = (int)tier->dim,
                                    .background_count = background_count(),
                                    .strictness = USUAL_STRICTNESS};
    enum err err = embed_background(tier->dim, embed, ctx, &background, t);
    size_t n = 0;

    tier->declared = ARENA_ARRAY(&c->arena, struct declared, c->class_count);
    for (size_t i = 0; i < c->class_count && err == ERR_OK; i++) {
        const struct policy_class *k = &c->classes[i];
        struct declared *d = &tier->declared[n];
        size_t count;

        *d = (struct declared){k->name, ARENA_ARRAY(&c->arena, const char *, k->example_count)};
        rows[i] = mem_zalloc(k->example_count * tier->dim, sizeof **rows);
        err = embed_class(k, tier->dim, embed, ctx, rows[i], d->examples, &count, t);
        if (err == ERR_OK && count == 0 && only_tier) {
            err_say(t, "class '%s': none of its examples has a word that the static tier knows",
                    k->name);
            err = ERR_INVALID_POLICY;
        }
        if (err == ERR_OK && count)
            cc[n++] = (struct centroids_class){slice_str(k->name), rows[i], count};
    }
    opt.background = background;
    if (err == ERR_OK && n)
        err = centroids_new(cc, n, &opt, &tier->centroids, t);
    for (size_t i = 0; i < c->class_count; i++)
        free(rows[i]);
    free(rows);
    free(background);
    free(cc);
    return err;
}

static void copy_classes(struct classifier *c, const struct policy_class *classes, size_t count)
{
    c->classes = ARENA_ARRAY(&c->arena, struct policy_class, count + 1);
    c->class_count = count;
    for (size_t i = 0; i < count; i++) {
        struct policy_class *k = &c->classes[i];

        k->name = arena_strdup(&c->arena, slice_str(classes[i].name));
        k->example_count = classes[i].example_count;
        k->examples = ARENA_ARRAY(&c->arena, const char *, k->example_count);
        for (size_t j = 0; j < k->example_count; j++)
            k->examples[j] = arena_strdup(&c->arena, slice_str(classes[i].examples[j]));
    }
}

/* ---- building ---- */

/* A file of heads belongs to the transformer, or, without one, to the static table. */
static enum err build_static(struct classifier *c, bool alone, struct err_text *t)
{
    struct tier *tier = &c->tiers[CLASSIFIER_STATIC];
    const struct static_table *table = static_table_builtin();
    enum err err;

    tier->present = true;
    tier->dim = (size_t)static_table_dim(table);
    assert(tier->dim <= MAX_DIM);
    err = add_heads(tier, static_table_space(table), POLICY_ENCODER_STATIC,
                    tier->dim + FEATURES_SCALARS, alone ? c->heads_file : NULL, t);
    if (err == ERR_OK && c->class_count)
        err = add_classes(c, tier, embed_static, (void *)(uintptr_t)table, alone, t);
    return err;
}

static enum err build_full(struct classifier *c, const struct encoder *e, const _Atomic bool *stop,
                           struct err_text *t)
{
    struct tier *tier = &c->tiers[CLASSIFIER_FULL];
    struct encoder_facts facts = encoder_facts(e);
    struct full_embedder f = {.dim = (size_t)facts.dim, .stop = stop};
    enum err err;

    if (f.dim > MAX_DIM) {
        err_say(t, "%s: embeddings of %zu numbers are more than the %d that are taken", facts.model,
                f.dim, MAX_DIM);
        return ERR_BAD_WEIGHTS;
    }
    c->full = facts.full;
    tier->present = true;
    tier->dim = f.dim;
    err = add_heads(tier, facts.space, facts.model, 2 * tier->dim + FEATURES_SCALARS, c->heads_file,
                    t);
    if (err != ERR_OK || c->class_count == 0)
        return err;
    f.session = encoder_session_new(e);
    err = add_classes(c, tier, embed_full, &f, true, t);
    encoder_session_free(f.session);
    return err;
}

enum err classifier_new(const struct classifier_options *opt, struct classifier **out,
                        struct err_text *t)
{
    struct classifier *c = mem_zalloc(1, sizeof *c);
    enum err err;

    atomic_init(&c->refs, 1);
    arena_init(&c->arena, 4096);
    copy_classes(c, opt->classes, opt->class_count);
    if (opt->encoder->heads) {
        c->heads_file = arena_strdup(&c->arena, slice_str(opt->encoder->heads));
        if (stat(c->heads_file, &c->heads_stat) != 0)
            memset(&c->heads_stat, 0, sizeof c->heads_stat); /* opening it will say why */
    }
    err = build_static(c, opt->open == NULL, t);
    if (err == ERR_OK && opt->open)
        err = build_full(c, opt->open, opt->stop, t);
    if (err != ERR_OK) {
        classifier_unref(c);
        c = NULL;
    }
    *out = c;
    return err;
}

struct classifier *classifier_ref(struct classifier *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void classifier_unref(struct classifier *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < CLASSIFIER_TIERS; i++) {
        heads_free(c->tiers[i].owned);
        centroids_free(c->tiers[i].centroids);
    }
    arena_clear(&c->arena);
    free(c);
}

static bool same_classes(const struct classifier *c, const struct classifier_options *opt)
{
    if (c->class_count != opt->class_count)
        return false;
    for (size_t i = 0; i < c->class_count; i++) {
        const struct policy_class *a = &c->classes[i], *b = &opt->classes[i];

        if (strcmp(a->name, b->name) != 0 || a->example_count != b->example_count)
            return false;
        for (size_t j = 0; j < a->example_count; j++)
            if (strcmp(a->examples[j], b->examples[j]) != 0)
                return false;
    }
    return true;
}

static bool same_heads(const struct classifier *c, const char *file)
{
    const struct stat *was = &c->heads_stat;
    struct stat is;

    if (!file || !c->heads_file)
        return file == c->heads_file;
    return strcmp(file, c->heads_file) == 0 && stat(file, &is) == 0 && is.st_ino == was->st_ino &&
           is.st_size == was->st_size && is.st_mtim.tv_sec == was->st_mtim.tv_sec &&
           is.st_mtim.tv_nsec == was->st_mtim.tv_nsec;
}

bool classifier_suits(const struct classifier *c, const struct classifier_options *opt)
{
    struct fingerprint full = {{0}};

    if (opt->open)
        full = encoder_facts(opt->open).full;
    return fingerprint_eq(full, c->full) && same_heads(c, opt->encoder->heads) &&
           same_classes(c, opt);
}

/* ---- classifying ---- */

static bool ask_examples(const struct tier *tier, const float *embedding,
                         struct classification *out)
{
    struct centroids_match m;

    if (!tier->centroids)
        return false;
    centroids_decide(tier->centroids, embedding, &m);
    if (m.nearest < 0)
        return false;
    out->nearest = slice_str(tier->declared[m.nearest].name);
    out->nearest_example = tier->declared[m.nearest].examples[m.example];
    out->similarity = m.similarity;
    out->threshold = m.threshold;
    if (m.chosen < 0)
        return false;
    out->by = CLASSIFIED_BY_EXAMPLES;
    out->label = slice_str(tier->declared[m.chosen].name);
    out->confidence = m.confidence;
    return true;
}

static void ask_head(const struct tier *tier, const float *features, struct classification *out)
{
    size_t n = tier->heads ? heads_class_count(tier->heads) : 0, best = 0, second = SIZE_MAX;
    float probs[MAX_LABELS];

    if (n == 0)
        return;
    out->in_scope = heads_classify(tier->heads, features, probs);
    for (size_t i = 1; i < n; i++) {
        if (probs[i] > probs[best]) {
            second = best;
            best = i;
        } else if (second == SIZE_MAX || probs[i] > probs[second]) {
            second = i;
        }
    }
    if (second != SIZE_MAX) {
        out->runner_up = heads_class_label(tier->heads, second);
        out->runner_up_confidence = probs[second];
    }
    if (out->by != CLASSIFIED_NOT || out->in_scope < IN_SCOPE_FROM)
        return;
    out->by = CLASSIFIED_BY_HEAD;
    out->label = heads_class_label(tier->heads, best);
    out->confidence = probs[best];
}

/* What heads see: the vectors, then the scalars. */
static void join_features(struct slice text, const float *vectors, size_t count, float *out)
{
    memcpy(out, vectors, count * sizeof *out);
    features_scalars(text, out + count);
}

static void classify(const struct tier *tier, const float *embedding, const float *features,
                     struct classification *out)
{
    if (!ask_examples(tier, embedding, out))
        ask_head(tier, features, out);
}

void classifier_static(const struct classifier *c, struct slice text, struct classification *out)
{
    const struct tier *tier = &c->tiers[CLASSIFIER_STATIC];
    float features[MAX_DIM + FEATURES_SCALARS];

    *out = (struct classification){.tier = CLASSIFIER_STATIC, .in_scope = 1};
    if (!static_table_embed(static_table_builtin(), text, features, NULL))
        return; /* not a word of it is known */
    features_scalars(text, features + tier->dim);
    classify(tier, features, features, out);
}

void classifier_full(const struct classifier *c, struct slice text, const float *embedding,
                     const float *features, struct classification *out)
{
    const struct tier *tier = &c->tiers[CLASSIFIER_FULL];
    float all[2 * MAX_DIM + FEATURES_SCALARS];

    assert(tier->present);
    *out = (struct classification){.tier = CLASSIFIER_FULL, .in_scope = 1};
    join_features(text, features, 2 * tier->dim, all);
    classify(tier, embedding, all, out);
}

/* ---- success ---- */

size_t classifier_model_count(const struct classifier *c, enum classifier_tier t)
{
    return c->tiers[t].heads ? heads_model_count(c->tiers[t].heads) : 0;
}

struct slice classifier_model_name(const struct classifier *c, enum classifier_tier t, size_t i)
{
    return heads_model_name(c->tiers[t].heads, i);
}

void classifier_success(const struct classifier *c, enum classifier_tier t, struct slice text,
                        const float *features, float *probs)
{
    const struct tier *tier = &c->tiers[t];
    float all[2 * MAX_DIM + FEATURES_SCALARS], table[MAX_DIM];

    if (t == CLASSIFIER_STATIC) {
        (void)static_table_embed(static_table_builtin(), text, table, NULL);
        join_features(text, table, tier->dim, all);
    } else {
        join_features(text, features, 2 * tier->dim, all);
    }
    heads_success(tier->heads, all, probs);
}

/* ---- what a policy may name ---- */

static void list_labels(const struct heads *h, struct arena *a, struct policy_labels *out)
{
    size_t n = h ? heads_class_count(h) : 0;
    const char **names = ARENA_ARRAY(a, const char *, n + 1);

    for (size_t i = 0; i < n; i++)
        names[i] = arena_strdup(a, heads_class_label(h, i));
    *out = (struct policy_labels){names, n};
}

/* What the encoder that a policy asks for gives to heads. */
struct wanted {
    struct fingerprint space;
    size_t features;
};

static enum err look_at_model(const struct policy_encoder *e, const struct bert_model *m,
                              struct wanted *out, const char **key, struct err_text *why)
{
    *out = (struct wanted){m->space, 2 * (size_t)m->hidden + FEATURES_SCALARS};
    if (e->max_tokens == POLICY_NONE || e->max_tokens == m->max_tokens)
        return ERR_OK;
    *key = "max_tokens";
    if (e->max_tokens > m->max_tokens) {
        err_say(why, "the model reads at most %d tokens", m->max_tokens);
        return ERR_INVALID_POLICY;
    }
    out->space = fingerprint_shortened(m->space, (int)e->max_tokens);
    return ERR_OK;
}

static enum err look_at_encoder(const struct encoder *open, const struct policy_encoder *e,
                                struct wanted *out, const char **key, struct err_text *why)
{
    const struct static_table *table = static_table_builtin();
    char folder[MODEL_STORE_PATH_BYTES];
    struct bert_model *m;
    enum err err;

    *key = "model";
    if (strcmp(e->model, POLICY_ENCODER_STATIC) == 0) {
        *out = (struct wanted){static_table_space(table),
                               (size_t)static_table_dim(table) + FEATURES_SCALARS};
        return ERR_OK;
    }
    if (open) {
        struct encoder_facts f = encoder_facts(open);
        *out = (struct wanted){f.space, 2 * (size_t)f.dim + FEATURES_SCALARS};
        return ERR_OK;
    }
    err = model_store_find(e->model, folder, sizeof folder, why);
    if (err == ERR_OK)
        err = bert_model_open(folder, &m, why);
    if (err != ERR_OK)
        return err;
    err = look_at_model(e, m, out, key, why);
    bert_model_free(m);
    return err;
}

enum err classifier_labels(void *ctx, const struct policy_encoder *e, struct arena *a,
                           struct policy_labels *out, const char **key, struct err_text *why)
{
    struct wanted wanted;
    struct heads *h;
    enum err err = look_at_encoder(ctx, e, &wanted, key, why);

    if (err != ERR_OK)
        return err;
    if (!e->heads) {
        list_labels(heads_builtin(wanted.space), a, out);
        return ERR_OK;
    }
    *key = "heads";
    err = heads_open(e->heads, &h, why);
    if (err != ERR_OK)
        return err;
    err = check_heads(h, wanted.space, e->model, wanted.features, why);
    if (err == ERR_OK)
        list_labels(h, a, out);
    heads_free(h);
    return err;
}
