/* Scores of answers. Fitted on the learner's thread; scorer_score runs on the workers. */
#include "router/decide/scorer.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"

#define LEAST_LABELS 20
#define LEAST_RARER  3

void scorer_set(struct scorer *s, const double *coef, int features, double constant)
{
    assert(features >= 0 && features < LOGISTIC_MAX_FEATURES);
    *s = (struct scorer){.features = features};
    for (int i = 0; i < features; i++) {
        s->scale[i] = 1;
        s->coef[i] = coef[i];
    }
    s->coef[features] = constant;
}

/* Mean and inverse spread of each feature: one penalty then fits all. A constant feature is left
 * out (scale 0). */
static void standardise(struct scorer *s, const struct scorer_rows *r)
{
    for (int i = 0; i < r->features; i++) {
        double n = 0, sum = 0, square = 0;
        for (size_t k = 0; k < r->rows; k++) {
            double x = (double)r->x[k * (size_t)r->features + (size_t)i];
            if (!isfinite(x))
                continue;
            n++, sum += x, square += x * x;
        }
        double mean = n > 0 ? sum / n : 0, spread = n > 0 ? square / n - mean * mean : 0;
        s->mean[i] = mean;
        s->scale[i] = spread > 1e-9 ? 1 / sqrt(spread) : 0;
    }
}

/* The features that vary, [varying], and a 1 behind them. */
static void scale_row(const struct scorer *s, const int *varying, int count, const float *x,
                      float *out)
{
    for (int k = 0; k < count; k++) {
        int i = varying[k];
        out[k] = isfinite(x[i]) ? (float)(((double)x[i] - s->mean[i]) * s->scale[i]) : 0;
    }
    out[count] = 1;
}

/* A constant feature's coefficient would stay 0 and only cost time. */
static int find_varying(const struct scorer *s, int varying[LOGISTIC_MAX_FEATURES])
{
    int count = 0;

    for (int i = 0; i < s->features; i++)
        if (s->scale[i] > 0)
            varying[count++] = i;
    return count;
}

static bool enough(const struct scorer_rows *r)
{
    double good = 0, bad = 0;

    for (size_t k = 0; k < r->rows; k++) {
        good += (double)r->y[k];
        bad += 1 - (double)r->y[k];
    }
    return r->rows >= LEAST_LABELS && fmin(good, bad) >= LEAST_RARER;
}

bool scorer_fit(struct scorer *s, const struct scorer_rows *r)
{
    double strength[LOGISTIC_MAX_FEATURES], coef[LOGISTIC_MAX_FEATURES];
    struct scorer fitted = {.version = s->version + 1, .features = r->features};
    int varying[LOGISTIC_MAX_FEATURES];

    assert(r->features >= 0 && r->features < LOGISTIC_MAX_FEATURES);
    if (!enough(r))
        return false;
    standardise(&fitted, r);
    int count = find_varying(&fitted, varying), width = count + 1;
    float *x = mem_zalloc(r->rows, (size_t)width * sizeof *x);
    for (size_t k = 0; k < r->rows; k++)
        scale_row(&fitted, varying, count, r->x + k * (size_t)r->features, x + k * (size_t)width);
    for (int k = 0; k < width; k++)
        strength[k] = k < count ? SCORER_L2 : 1e-3;
    struct logistic_problem p = {x, r->y, r->weight, r->rows, width, NULL, strength};
    logistic_fit(&p, coef, NULL);
    for (int k = 0; k < count; k++)
        fitted.coef[varying[k]] = coef[k];
    fitted.coef[r->features] = coef[count];
    free(x);
    *s = fitted;
    return true;
}

double scorer_score(const struct scorer *s, const float *x)
{
    double z = s->coef[s->features];

    for (int i = 0; i < s->features; i++)
        if (isfinite(x[i]))
            z += s->coef[i] * ((double)x[i] - s->mean[i]) * s->scale[i];
    return logistic(z);
}

/* ---- as text ---- */

/* "scorer/1 VERSION FEATURES" and then, per feature, mean, scale and coefficient, and the constant;
 * %.17g gives the very same doubles back. */
void scorer_write(const struct scorer *s, char out[SCORER_TEXT_BYTES])
{
    size_t at = (size_t)snprintf(out, SCORER_TEXT_BYTES, "scorer/1 %u %d", s->version, s->features);

    for (int i = 0; i < s->features; i++)
        at += (size_t)snprintf(out + at, SCORER_TEXT_BYTES - at, " %.17g %.17g %.17g", s->mean[i],
                               s->scale[i], s->coef[i]);
    snprintf(out + at, SCORER_TEXT_BYTES - at, " %.17g", s->coef[s->features]);
}

static bool next_number(const char **at, double *out)
{
    char *end;

    *out = strtod(*at, &end);
    if (end == *at || !isfinite(*out))
        return false;
    *at = end;
    return true;
}

static bool read_all(struct scorer *s, const char *text)
{
    int used = 0;
    const char *at;

    if (sscanf(text, "scorer/1 %u %d%n", &s->version, &s->features, &used) != 2 || used == 0 ||
        s->features < 0 || s->features >= LOGISTIC_MAX_FEATURES)
        return false;
    at = text + used;
    for (int i = 0; i < s->features; i++)
        if (!next_number(&at, &s->mean[i]) || !next_number(&at, &s->scale[i]) ||
            !next_number(&at, &s->coef[i]))
            return false;
    return next_number(&at, &s->coef[s->features]) && *at == '\0';
}

enum err scorer_read(struct scorer *s, struct slice text, struct err_text *t)
{
    struct scorer r = {0};
    char *copy = mem_strdup(text);
    bool ok = text.n < SCORER_TEXT_BYTES && read_all(&r, copy);

    free(copy);
    if (!ok) {
        err_say(t, "not a scorer: '%.*s'", (int)(text.n < 60 ? text.n : 60), text.p ? text.p : "");
        return ERR_BAD_REQUEST;
    }
    *s = r;
    return ERR_OK;
}
