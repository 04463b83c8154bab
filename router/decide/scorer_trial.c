/* Owns nothing. Called by router/learner_fit.c and weir bench, and for records by
 * router/scorer_table.c. */
#include "router/decide/scorer_trial.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "router/decide/curve.h"

#define LEAST_ROWS   100
#define LEAST_GROWTH 4 /* one in so many of them must be new */
#define LEAST_HELD   20
#define PSEUDO       2.0 /* answers with the mean's rate, in each bin */
#define CERTAINTY    2.0 /* standard errors: one in forty of those that gain nothing gets through */

bool scorer_is_worth_trying(size_t rows, size_t fresh)
{
    return rows >= LEAST_ROWS && fresh * LEAST_GROWTH >= rows;
}

/* Success rates of the bins of one scorer, of the rows that are not held out. */
struct rates {
    double p[TALLY_BINS];
};

static void find_rates(const struct scorer_trial *t, const float *score, struct rates *out)
{
    double good[TALLY_BINS] = {0}, n[TALLY_BINS] = {0}, all_good = 1, all = 2;

    for (size_t k = 0; k < t->rows; k++) {
        int bin = curve_bin((double)score[k]);

        if (t->held[k])
            continue;
        good[bin] += (double)t->y[k];
        n[bin] += 1;
        all_good += (double)t->y[k];
        all += 1;
    }
    for (int b = 0; b < TALLY_BINS; b++)
        out->p[b] = (good[b] + PSEUDO * all_good / all) / (n[b] + PSEUDO);
}

static double loss_of(const struct rates *r, float score, float y)
{
    double p = r->p[curve_bin((double)score)];

    return -(double)y * log(p) - (1 - (double)y) * log1p(-p);
}

/* Log-losses of both scorers, and whether the gain is more than chance. */
static bool compare(const struct scorer_trial *t, const float *fresh, struct scorer_record *out)
{
    struct rates before, after;
    double n = 0, gain = 0, square = 0;

    find_rates(t, t->score, &before);
    find_rates(t, fresh, &after);
    out->loss = out->loss_before = 0;
    for (size_t k = 0; k < t->rows; k++) {
        if (!t->held[k])
            continue;
        double was = loss_of(&before, t->score[k], t->y[k]),
               is = loss_of(&after, fresh[k], t->y[k]);
        out->loss_before += was;
        out->loss += is;
        gain += was - is;
        square += (was - is) * (was - is);
        n += 1;
    }
    out->loss /= n;
    out->loss_before /= n;
    gain /= n;
    double variance = square / n - gain * gain;
    return gain > 0 && gain > CERTAINTY * sqrt(fmax(variance, 0) / n);
}

/* The rows that are not held out, side by side. x and y have room for all. */
static size_t take_rest(const struct scorer_trial *t, float *x, float *y)
{
    size_t width = (size_t)t->features, n = 0;

    for (size_t k = 0; k < t->rows; k++) {
        if (t->held[k])
            continue;
        memcpy(x + n * width, t->x + k * width, width * sizeof *x);
        y[n++] = t->y[k];
    }
    return n;
}

static bool fit_rest(const struct scorer_trial *t, unsigned version, struct scorer_record *out)
{
    float *x = mem_zalloc(t->rows + 1, ((size_t)t->features + 1) * sizeof *x);
    float *y = mem_zalloc(t->rows + 1, sizeof *y);
    size_t n = take_rest(t, x, y);
    bool fitted;

    out->scorer = (struct scorer){.version = version - 1};
    out->rows = (int64_t)n;
    out->held_rows = (int64_t)(t->rows - n);
    fitted = scorer_fit(&out->scorer, &(struct scorer_rows){x, y, NULL, n, t->features});
    free(x);
    free(y);
    return fitted;
}

enum scorer_verdict scorer_try(const struct scorer_trial *t, unsigned version,
                               struct scorer_record *out)
{
    float *fresh;
    bool better;

    if (!fit_rest(t, version, out) || out->held_rows < LEAST_HELD)
        return SCORER_TOO_FEW;
    fresh = mem_zalloc(t->rows, sizeof *fresh);
    for (size_t k = 0; k < t->rows; k++)
        fresh[k] = (float)scorer_score(&out->scorer, t->x + k * (size_t)t->features);
    better = compare(t, fresh, out);
    free(fresh);
    return better ? SCORER_BETTER : SCORER_NOT_BETTER;
}

/* ---- as text ---- */

/* "FEATURES_VERSION ROWS HELD FITTED_US LOSS LOSS_BEFORE " and the scorer's own line. */
void scorer_record_write(const struct scorer_record *r, char out[SCORER_RECORD_BYTES])
{
    char line[SCORER_TEXT_BYTES];

    scorer_write(&r->scorer, line);
    snprintf(out, SCORER_RECORD_BYTES, "%d %" PRId64 " %" PRId64 " %" PRId64 " %.17g %.17g %s",
             r->features_version, r->rows, r->held_rows, r->fitted_wall_us, r->loss, r->loss_before,
             line);
}

enum err scorer_record_read(struct scorer_record *r, struct slice text, struct err_text *t)
{
    struct scorer_record read = {.features_version = 0};
    char *copy = mem_strdup(text);
    int used = 0;
    enum err err = ERR_BAD_REQUEST;

    if (text.n < SCORER_RECORD_BYTES && strlen(copy) == text.n &&
        sscanf(copy, "%9d %18" SCNd64 " %18" SCNd64 " %18" SCNd64 " %lf %lf %n",
               &read.features_version, &read.rows, &read.held_rows, &read.fitted_wall_us,
               &read.loss, &read.loss_before, &used) == 6 &&
        used > 0 && read.rows >= 0 && read.held_rows >= 0 && isfinite(read.loss) &&
        isfinite(read.loss_before))
        err = scorer_read(&read.scorer, slice_str(copy + used), t);
    else
        err_say(t, "not a scorer's record");
    free(copy);
    if (err == ERR_OK)
        *r = read;
    return err;
}
