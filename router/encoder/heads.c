/* Heads at work. One allocation per set; everything in it is copied from the file, whose tensors
 * are not aligned. Called by the classifier on every query, by the trainer's evaluation, by tests.
 *
 * A query costs (classes + models) x features multiplications and those of the scope: 3 us for the
 * set of the static table, 10 us for that of all-minilm-l6-v2. */
#include "router/encoder/heads.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/mem.h"
#include "router/encoder/heads_parts.h"
#include "router/encoder/link.h"

struct heads {
    struct heads_parts p; /* into the arena */
    struct arena arena;
};

/* ---- making ---- */

static const float *copy_floats(struct arena *a, const float *from, size_t n)
{
    if (n == 0)
        return NULL;
    float *to = arena_alloc(a, n * sizeof *to);
    memcpy(to, from, n * sizeof *to);
    return to;
}

static const struct slice *copy_names(struct arena *a, const struct slice *from, size_t n)
{
    struct slice *to = ARENA_ARRAY(a, struct slice, n);
    for (size_t i = 0; i < n; i++)
        to[i] = arena_dup(a, from[i]);
    return to;
}

struct heads *heads_new(const struct heads_parts *parts)
{
    struct heads *h = mem_zalloc(1, sizeof *h);
    struct heads_parts *p = &h->p;
    struct arena *a = &h->arena;
    arena_init(a, 65536);
    *p = *parts;
    p->encoder = arena_dup(a, parts->encoder);
    p->layout = arena_dup(a, parts->layout);
    p->report = arena_dup(a, parts->report);
    p->label = copy_names(a, parts->label, p->classes);
    p->class_weight = copy_floats(a, parts->class_weight, p->classes * p->features);
    p->class_bias = copy_floats(a, parts->class_bias, p->classes);
    p->scope_score = copy_floats(a, parts->scope_score, p->scope_count);
    p->scope.center = copy_floats(a, parts->scope.center, p->scope.centers * p->scope.dim);
    p->model = copy_names(a, parts->model, p->models);
    p->success_weight = copy_floats(a, parts->success_weight, p->models * p->features);
    p->success_bias = copy_floats(a, parts->success_bias, p->models);
    p->platt = copy_floats(a, parts->platt, p->models * 2);
    p->knot_x = copy_floats(a, parts->knot_x, p->models * p->knots);
    p->knot_y = copy_floats(a, parts->knot_y, p->models * p->knots);
    return h;
}

void heads_free(struct heads *h)
{
    if (!h)
        return;
    arena_clear(&h->arena);
    free(h);
}

/* ---- facts ---- */

const struct heads_parts *heads_parts(const struct heads *h)
{
    return &h->p;
}

struct fingerprint heads_space(const struct heads *h)
{
    return h->p.space;
}

struct slice heads_encoder(const struct heads *h)
{
    return h->p.encoder;
}

struct slice heads_report(const struct heads *h)
{
    return h->p.report;
}

size_t heads_features(const struct heads *h)
{
    return h->p.features;
}

size_t heads_class_count(const struct heads *h)
{
    return h->p.classes;
}

struct slice heads_class_label(const struct heads *h, size_t i)
{
    assert(i < h->p.classes);
    return h->p.label[i];
}

size_t heads_model_count(const struct heads *h)
{
    return h->p.models;
}

struct slice heads_model_name(const struct heads *h, size_t i)
{
    assert(i < h->p.models);
    return h->p.model[i];
}

enum err heads_check_space(const struct heads *h, struct fingerprint space, const char *encoder,
                           size_t features, struct err_text *t)
{
    char ours[FINGERPRINT_TEXT_BYTES], theirs[FINGERPRINT_TEXT_BYTES];
    if (!fingerprint_eq(space, h->p.space)) {
        fingerprint_text(h->p.space, ours);
        fingerprint_text(space, theirs);
        err_say(t,
                "the heads were trained on the encoder '%.*s' (space %s), not on '%s' (space %s)",
                SLICE_ARG(h->p.encoder), ours, encoder, theirs);
        return ERR_INVALID_POLICY;
    }
    if (features != h->p.features) {
        err_say(t, "the heads of '%.*s' expect %zu features (%.*s), not %zu",
                SLICE_ARG(h->p.encoder), h->p.features, SLICE_ARG(h->p.layout), features);
        return ERR_INVALID_POLICY;
    }
    return ERR_OK;
}

/* ---- at work ---- */

/* Sixteen sums at a time, in vectors of the compiler's: the order of additions does not depend on
 * the CPU. */
#define LANES 16
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

static float dot(const float *a, const float *b, size_t n)
{
    lanes sums = {0}, x, y;
    float sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        sums += x * y;
    }
    for (; i < n; i++)
        sum += a[i] * b[i];
    for (size_t j = 0; j < LANES; j++)
        sum += sums[j];
    return sum;
}

static void apply(const float *weight, const float *bias, const float *x, size_t features,
                  size_t outputs, float *z)
{
    for (size_t i = 0; i < outputs; i++)
        z[i] = dot(weight + i * features, x, features) + bias[i];
}

float heads_scope_score(const struct heads_scope *s, const float *features, const float *logits,
                        size_t classes)
{
    float max = logits[0], sum = 0, nearest = -1;
    for (size_t c = 1; c < classes; c++)
        max = fmaxf(max, logits[c]);
    for (size_t c = 0; c < classes; c++)
        sum += expf(logits[c] - max);
    float length = sqrtf(dot(features, features, s->dim));
    for (size_t i = 0; length > 0 && i < s->centers; i++)
        nearest = fmaxf(nearest, dot(s->center + i * s->dim, features, s->dim) / length);
    return s->scale[0] * (max + logf(sum)) + s->scale[1] * nearest;
}

/* The share of in-scope rows that look at least as strange, in steps of one row, straight lines
 * between: uniform over 0..1 for queries like those the head was calibrated on. */
static float scope_of(const struct heads_parts *p, const float *features, const float *logits)
{
    if (p->scope_count == 0)
        return 1;
    float score = heads_scope_score(&p->scope, features, logits, p->classes);
    size_t low = 0, high = p->scope_count; /* the first that is larger than score lies in between */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (p->scope_score[mid] <= score)
            low = mid + 1;
        else
            high = mid;
    }
    return (float)low / (float)p->scope_count;
}

float heads_classify(const struct heads *h, const float *features, float *probs)
{
    const struct heads_parts *p = &h->p;
    if (p->classes == 0)
        return 1;
    apply(p->class_weight, p->class_bias, features, p->features, p->classes, probs);
    float scope = scope_of(p, features, probs);
    link_softmax(probs, p->classes, p->temperature, probs);
    return scope;
}

/* Straight lines between knots, level beyond the first and the last. */
static float interpolate(const float *x, const float *y, size_t n, float at)
{
    if (at <= x[0])
        return y[0];
    for (size_t i = 1; i < n; i++)
        if (at < x[i])
            return y[i - 1] + (y[i] - y[i - 1]) * (at - x[i - 1]) / (x[i] - x[i - 1]);
    return y[n - 1];
}

/* A model has a map of knots when they are more than one value; else it has Platt's line. */
static float calibrated(const struct heads_parts *p, size_t i, float probability)
{
    float at = link_logit(probability);
    const float *x = p->knot_x + i * p->knots;
    if (p->knots && x[0] < x[p->knots - 1])
        return interpolate(x, p->knot_y + i * p->knots, p->knots, at);
    return link_sigmoid(p->platt[2 * i] * at + p->platt[2 * i + 1]);
}

void heads_success(const struct heads *h, const float *features, float *probs)
{
    const struct heads_parts *p = &h->p;
    apply(p->success_weight, p->success_bias, features, p->features, p->models, probs);
    if (p->tiers)
        link_tiers(probs, p->models, probs);
    else
        for (size_t i = 0; i < p->models; i++)
            probs[i] = link_sigmoid(probs[i]);
    for (size_t i = 0; i < p->models; i++) {
        probs[i] = calibrated(p, i, probs[i]);
        if (p->tiers && i > 0)
            probs[i] = fmaxf(probs[i], probs[i - 1]);
    }
}
