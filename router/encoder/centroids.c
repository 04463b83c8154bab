/* Few-shot classes. A query's score for a class is the mean of two cosines: to the middle of its
 * examples, and to the nearest of them. The first knows what the examples have in common, the
 * second keeps a class of several kinds whole; their mean does better than either (README has
 * figures).
 *
 * A class takes a query from a threshold on, set between two things that are known without training
 * rows: how prompts at large score for it (their median and spread, robustly: some of them may well
 * belong to the class), and how its own examples do when each is left out in turn.
 *
 * Called by the classifier for each query: (classes x (examples + 1)) dot products. */
#include "router/encoder/centroids.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include "base/arena.h"
#include "base/mem.h"

/* Chosen on BANKING77 and CLINC150 (README): the share of the way from the background to the
 * class's own examples, the least distance from the background, and the least length of that
 * way, in deviations of the background, and the most that may be asked of the class's own. */
#define OWN_SHARE       0.55
#define LEAST_DEVIATION 3.0
#define LEAST_WAY       2.0
#define MOST_SHARE      0.8
/* Confidence: how steep it rises around the threshold, in units of that way. */
#define STEEPNESS 8.0
/* The quantile that lies one standard deviation below the middle of a normal distribution. */
#define ONE_SIGMA_BELOW 0.1587

struct one_class {
    size_t count;
    const float *examples; /* [count][dim] */
    const float *center;   /* [dim], unit length */
    float threshold, steep;
};

struct centroids {
    struct arena arena;
    struct one_class *class;
    size_t count;
    int dim;
    bool always; /* strictness 0: the nearest is taken */
};

static float dot(const float *a, const float *b, int n)
{
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* ---- scores ---- */

/* (cosine to the center + cosine to the nearest example) / 2; *nearest is that example. */
static float score(const struct one_class *k, const float *x, int dim, size_t *nearest)
{
    float best = -2;
    for (size_t i = 0; i < k->count; i++) {
        float s = dot(k->examples + i * (size_t)dim, x, dim);
        if (s > best)
            best = s, *nearest = i;
    }
    return 0.5f * (dot(k->center, x, dim) + best);
}

/* The same for the class's own example `out`, as if it were not one of them. */
static float score_left_out(const struct one_class *k, size_t out, int dim)
{
    float best = -2, center[CENTROIDS_MAX_DIM], length = 0;
    const float *x = k->examples + out * (size_t)dim;
    for (int d = 0; d < dim; d++)
        center[d] = 0;
    for (size_t i = 0; i < k->count; i++) {
        const float *e = k->examples + i * (size_t)dim;
        if (i == out)
            continue;
        best = fmaxf(best, dot(e, x, dim));
        for (int d = 0; d < dim; d++)
            center[d] += e[d];
    }
    length = sqrtf(dot(center, center, dim));
    return 0.5f * ((length > 0 ? dot(center, x, dim) / length : 0) + best);
}

/* ---- thresholds ---- */

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void set_threshold(struct one_class *k, int dim, const struct centroids_options *opt)
{
    size_t n = opt->background_count, ignored;
    float *v = mem_alloc(n * sizeof *v);
    for (size_t i = 0; i < n; i++)
        v[i] = score(k, opt->background + i * (size_t)dim, dim, &ignored);
    /* The lower half alone: prompts of the class itself would be in the upper one. */
    qsort(v, n, sizeof *v, ascending);
    double middle = (double)v[n / 2],
           spread = middle - (double)v[(size_t)(ONE_SIGMA_BELOW * (double)n)];
    free(v);
    /* One example alone cannot be left out: paraphrases of a prompt lie at about 0.7. */
    double own = 0.7;
    if (k->count > 1) {
        own = 0;
        for (size_t i = 0; i < k->count; i++)
            own += (double)score_left_out(k, i, dim) / (double)k->count;
    }
    /* Examples that lie no nearer to each other than to anything: the background decides. */
    double way = fmax(own - middle, LEAST_WAY * spread);
    double rise = fmin(fmax(OWN_SHARE * way, LEAST_DEVIATION * spread), MOST_SHARE * way);
    double strictness = opt->strictness > 0 ? opt->strictness : 1;
    k->threshold = (float)(middle + strictness * rise);
    k->steep = (float)(STEEPNESS / fmax(way, 0.05));
}

/* ---- making ---- */

static enum err check_class(const struct centroids_class *all, size_t at, int dim,
                            struct err_text *t)
{
    const struct centroids_class *k = &all[at];
    if (k->count == 0) {
        err_say(t, "class '%.*s' has no examples", SLICE_ARG(k->name));
        return ERR_INVALID_POLICY;
    }
    for (size_t i = 0; i < at; i++)
        if (slice_eq(all[i].name, k->name)) {
            err_say(t, "class '%.*s' is declared twice", SLICE_ARG(k->name));
            return ERR_INVALID_POLICY;
        }
    for (size_t e = 0; e < k->count; e++) {
        const float *x = k->examples + e * (size_t)dim;
        if (!(fabsf(dot(x, x, dim) - 1) < 0.02f)) {
            err_say(t, "example %zu of class '%.*s' has no meaning that the encoder knows", e + 1,
                    SLICE_ARG(k->name));
            return ERR_INVALID_POLICY;
        }
        for (size_t i = 0; i < at; i++)
            for (size_t j = 0; j < all[i].count; j++)
                if (dot(x, all[i].examples + j * (size_t)dim, dim) > 0.9999f) {
                    err_say(t, "example %zu of class '%.*s' is also example %zu of class '%.*s'",
                            e + 1, SLICE_ARG(k->name), j + 1, SLICE_ARG(all[i].name));
                    return ERR_INVALID_POLICY;
                }
    }
    return ERR_OK;
}

static void make_class(struct centroids *c, struct one_class *k, const struct centroids_class *from,
                       const struct centroids_options *opt)
{
    size_t dim = (size_t)opt->dim;
    float *examples = arena_alloc(&c->arena, from->count * dim * sizeof *examples);
    float *center = ARENA_ARRAY(&c->arena, float, dim);
    memcpy(examples, from->examples, from->count * dim * sizeof *examples);
    for (size_t i = 0; i < from->count * dim; i++)
        center[i % dim] += examples[i];
    float length = sqrtf(dot(center, center, opt->dim));
    for (size_t d = 0; d < dim && length > 0; d++) /* opposites cancel: then there is no middle */
        center[d] /= length;
    *k = (struct one_class){from->count, examples, center, 0, 0};
    set_threshold(k, opt->dim, opt);
}

enum err centroids_new(const struct centroids_class *classes, size_t count,
                       const struct centroids_options *opt, struct centroids **out,
                       struct err_text *t)
{
    assert(opt->dim >= 1 && opt->dim <= CENTROIDS_MAX_DIM && opt->strictness >= 0);
    assert(opt->background_count >= CENTROIDS_MIN_BACKGROUND);
    for (size_t i = 0; i < count; i++) {
        enum err e = check_class(classes, i, opt->dim, t);
        if (e != ERR_OK)
            return e;
    }
    struct centroids *c = mem_zalloc(1, sizeof *c);
    arena_init(&c->arena, 65536);
    c->count = count;
    c->dim = opt->dim;
    c->always = opt->strictness == 0;
    c->class = ARENA_ARRAY(&c->arena, struct one_class, count);
    for (size_t i = 0; i < count; i++)
        make_class(c, &c->class[i], &classes[i], opt);
    *out = c;
    return ERR_OK;
}

void centroids_free(struct centroids *c)
{
    if (!c)
        return;
    arena_clear(&c->arena);
    free(c);
}

/* ---- deciding ---- */

void centroids_decide(const struct centroids *c, const float *embedding,
                      struct centroids_match *out)
{
    *out = (struct centroids_match){.chosen = -1, .nearest = -1, .similarity = -1, .threshold = 1};
    if (!(dot(embedding, embedding, c->dim) > 0.5f))
        return;
    for (size_t i = 0; i < c->count; i++) {
        size_t example = 0;
        float s = score(&c->class[i], embedding, c -> dim, &example);
        if (out->nearest >= 0 && s <= out->similarity)
            continue;
        out->nearest = (int)i;
        out->example = example;
        out->similarity = s;
    }
    if (out->nearest < 0)
        return;
    const struct one_class *k = &c->class[out->nearest];
    out->threshold = k->threshold;
    out->confidence = 1 / (1 + expf(-k->steep * (out->similarity - out->threshold)));
    out->chosen = c->always || out->similarity >= out->threshold ? out->nearest : -1;
}
