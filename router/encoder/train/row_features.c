/* Encoding the rows of a training run. Texts go longest first: the threads end together, and what
 * is left is never longer than expected. Called by cmd_train and cmd_eval. */
#include "router/encoder/train/row_features.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "router/encoder/features.h"
#include "router/encoder/train/parallel.h"

#define BATCH 64 /* texts that a thread takes at a time */

size_t feature_source_width(const struct feature_source *s)
{
    return (s->encoder ? 2 * (size_t)encoder_facts(s->encoder).dim
                       : (size_t)static_table_dim(s->table)) +
           FEATURES_SCALARS;
}

struct fingerprint feature_source_space(const struct feature_source *s)
{
    return s->encoder ? encoder_facts(s->encoder).space : static_table_space(s->table);
}

const char *feature_source_name(const struct feature_source *s)
{
    return s->encoder ? encoder_facts(s->encoder).model : "static";
}

const char *feature_source_layout(const struct feature_source *s)
{
    return s->encoder ? FEATURES_LAYOUT : FEATURES_LAYOUT_STATIC;
}

struct job {
    const struct feature_source *source;
    const struct slice *texts;
    const size_t *order;
    size_t count, width;
    float *x;
    atomic_size_t next, done;
    atomic_int err;
    pthread_mutex_t lock; /* of t */
    struct err_text *t;
    void (*progress)(void *ctx, size_t done);
    void *progress_ctx;
};

static void encode_static(const struct job *j, const size_t *at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float *row = j->x + at[i] * j->width;
        struct slice text = j->texts[at[i]];
        static_table_embed(j->source->table, text, row, NULL);
        features_scalars(text, row + j->width - FEATURES_SCALARS);
    }
}

static enum err encode_batch(const struct job *j, struct encoder_session *session, const size_t *at,
                             size_t n, struct encoder_vectors *v, struct err_text *t)
{
    struct slice texts[BATCH];
    size_t vectors = j->width - FEATURES_SCALARS;
    for (size_t i = 0; i < n; i++)
        texts[i] = j->texts[at[i]];
    enum err e = encoder_embed(session, texts, (int)n, v, NULL, t);
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        float *row = j->x + at[i] * j->width;
        memcpy(row, v->features + i * vectors, vectors * sizeof *row);
        features_scalars(texts[i], row + vectors);
    }
    return e;
}

static void fail(struct job *j, enum err e, const struct err_text *why)
{
    pthread_mutex_lock(&j->lock);
    if (atomic_exchange(&j->err, (int)e) == ERR_OK)
        err_say(j->t, "%s", why->s);
    pthread_mutex_unlock(&j->lock);
}

static void encode_part(void *ctx, int part, int parts)
{
    struct job *j = ctx;
    struct encoder_session *session =
        j->source->encoder ? encoder_session_new(j->source->encoder) : NULL;
    size_t vectors = j->width - FEATURES_SCALARS, first;
    float *memory = mem_alloc(BATCH * (vectors + vectors / 2) * sizeof *memory);
    struct encoder_vectors v = {.embedding = memory + BATCH * vectors, .features = memory};
    while ((first = atomic_fetch_add(&j->next, BATCH)) < j->count &&
           atomic_load(&j->err) == ERR_OK) {
        size_t n = j->count - first < BATCH ? j->count - first : BATCH;
        struct err_text why = {""};
        enum err e = ERR_OK;
        if (session)
            e = encode_batch(j, session, j->order + first, n, &v, &why);
        else
            encode_static(j, j->order + first, n);
        if (e != ERR_OK)
            fail(j, e, &why);
        size_t done = atomic_fetch_add(&j->done, n) + n;
        if (part == parts - 1 && j->progress && done < j->count)
            j->progress(j->progress_ctx, done);
    }
    free(memory);
    encoder_session_free(session);
}

struct sized {
    size_t bytes, at;
};

static int longest_first(const void *a, const void *b)
{
    const struct sized *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return (x->at > y->at) - (x->at < y->at);
}

static size_t *order_of(const struct slice *texts, size_t count)
{
    struct sized *s = mem_alloc((count + 1) * sizeof *s);
    size_t *order = mem_alloc((count + 1) * sizeof *order);
    for (size_t i = 0; i < count; i++)
        s[i] = (struct sized){texts[i].n, i};
    qsort(s, count, sizeof *s, longest_first);
    for (size_t i = 0; i < count; i++)
        order[i] = s[i].at;
    free(s);
    return order;
}

enum err row_features(const struct feature_source *s, const struct slice *texts, size_t count,
                      float *x, int threads, void (*progress)(void *ctx, size_t done),
                      void *progress_ctx, struct err_text *t)
{
    size_t *order = order_of(texts, count);
    struct job j = {
        .source = s,
        .texts = texts,
        .order = order,
        .count = count,
        .width = feature_source_width(s),
        .x = x,
        .t = t,
        .progress = progress,
        .progress_ctx = progress_ctx,
    };
    pthread_mutex_init(&j.lock, NULL);
    parallel_run(encode_part, &j, threads);
    pthread_mutex_destroy(&j.lock);
    free(order);
    enum err e = (enum err)atomic_load(&j.err);
    if (e == ERR_OK && progress)
        progress(progress_ctx, count);
    return e;
}
