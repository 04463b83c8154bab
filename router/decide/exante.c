/* Estimates before the answer. Called by weir bench (--estimate). */
#include "router/decide/exante.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "router/decide/logistic.h"

struct exante {
    int dim, arms;
    size_t capacity, count, next;
    float *vector; /* owned: [capacity][dim] */
    float *label;  /* owned: [capacity][arms] */
};

struct neighbour {
    float cosine;
    size_t at;
};

struct exante *exante_new(int dim, int arms, size_t capacity)
{
    struct exante *e = mem_zalloc(1, sizeof *e);

    *e = (struct exante){.dim = dim, .arms = arms, .capacity = capacity};
    e->vector = mem_zalloc(capacity * (size_t)dim, sizeof *e->vector);
    e->label = mem_zalloc(capacity * (size_t)arms, sizeof *e->label);
    return e;
}

void exante_free(struct exante *e)
{
    if (!e)
        return;
    free(e->label);
    free(e->vector);
    free(e);
}

void exante_add(struct exante *e, const float *vector, const double *label)
{
    memcpy(e->vector + e->next * (size_t)e->dim, vector, (size_t)e->dim * sizeof *vector);
    for (int j = 0; j < e->arms; j++)
        e->label[e->next * (size_t)e->arms + (size_t)j] = (float)label[j];
    e->next = (e->next + 1) % e->capacity;
    if (e->count < e->capacity)
        e->count++;
}

/* Keeps the nearest ones seen so far, nearest first. Returns how many there are now. */
static size_t keep(struct neighbour *near, size_t n, struct neighbour one)
{
    size_t at = n;

    if (n == EXANTE_NEIGHBOURS) {
        if (one.cosine <= near[n - 1].cosine)
            return n;
        at = --n;
    }
    for (; at > 0 && near[at - 1].cosine < one.cosine; at--)
        near[at] = near[at - 1];
    near[at] = one;
    return n + 1;
}

static size_t find(const struct exante *e, const float *vector, struct neighbour *near)
{
    size_t n = 0;

    for (size_t i = 0; i < e->count; i++) {
        const float *v = e->vector + i * (size_t)e->dim;
        float dot = 0;
        for (int k = 0; k < e->dim; k++)
            dot += v[k] * vector[k];
        n = keep(near, n, (struct neighbour){dot, i});
    }
    return n;
}

void exante_lift(const struct exante *e, const float *vector, const double *believed, double *lift)
{
    struct neighbour near[EXANTE_NEIGHBOURS];
    size_t n = find(e, vector, near);
    bool stranger = n == 0 || (double)near[0].cosine < EXANTE_STRANGER;

    for (int j = 0; j < e->arms; j++) {
        double good = EXANTE_PSEUDO * believed[j], all = EXANTE_PSEUDO;
        for (size_t i = 0; i < n && !stranger; i++) {
            double y = (double)e->label[near[i].at * (size_t)e->arms + (size_t)j];
            /* as much as the nearest: how far the others are beyond it is what counts */
            double w = exp((double)(near[i].cosine - near[0].cosine) / EXANTE_WIDTH);
            if (!isnan(y))
                good += w * y, all += w;
        }
        lift[j] = logit(good / all) - logit(believed[j]);
    }
}
