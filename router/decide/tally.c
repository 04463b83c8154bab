/* Counters and their names. Called by the learner (increments, reading back) and by beliefs. */
#include "router/decide/tally.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include "base/ascii.h"

static const char *const source_names[TALLY_SOURCES] = {
    [TALLY_EXPLICIT] = "explicit",     [TALLY_VALIDATOR] = "validator", [TALLY_JUDGE] = "judge",
    [TALLY_CORRECTION] = "correction", [TALLY_IMPLICIT] = "implicit",   [TALLY_SILENCE] = "silence",
};

static const char *const scalar_names[TALLY_SCALARS] = {
    [TALLY_FIRST] = "first",
    [TALLY_ASKED] = "asked",
    [TALLY_SERVED] = "served",
    [TALLY_RESOLVED] = "resolved",
    [TALLY_FAILED] = "failed",
    [TALLY_COST_NANOUSD] = "cost_nanousd",
    [TALLY_COST_SQUARE] = "cost_square",
    [TALLY_TOKENS_IN] = "tokens_in",
    [TALLY_TOKENS_OUT] = "tokens_out",
    [TALLY_LATENCY_MS] = "latency_ms",
    [TALLY_FORETOLD] = "foretold_nanousd",
    [TALLY_FORETOLD_COST] = "foretold_cost_nanousd",
    [TALLY_PREDICTED_MILLI] = "predicted_milli",
    [TALLY_REALISED_MILLI] = "realised_milli",
    [TALLY_FORESEEN] = "foreseen",
    [TALLY_BELIEVED_LOSS] = "believed_loss_nat_millionths",
    [TALLY_FORESEEN_LOSS] = "foreseen_loss_nat_millionths",
    [TALLY_LEAD_SQUARE] = "lead_square",
};

static const double stage_edges[TALLY_STAGES - 2] = {0.3, 0.5, 0.7, 0.85};

/* Weights of the sources as in most deployments' experience: what checks or people say outright
 * counts in full, what is inferred from behaviour less; silence says nothing. */
const struct tally_trust tally_trust_default = {{
    [TALLY_EXPLICIT] = 1,
    [TALLY_VALIDATOR] = 1,
    [TALLY_JUDGE] = 0.8,
    [TALLY_CORRECTION] = 0.7,
    [TALLY_IMPLICIT] = 0.3,
    [TALLY_SILENCE] = 0,
}};

const char *tally_source_name(enum tally_source s)
{
    return source_names[s];
}

bool tally_source_parse(struct slice name, enum tally_source *out)
{
    for (int i = 0; i < TALLY_SOURCES; i++)
        if (slice_eq(name, slice_str(source_names[i]))) {
            *out = (enum tally_source)i;
            return true;
        }
    return false;
}

int tally_answers(int stage, int bin)
{
    assert(stage >= 0 && stage < TALLY_STAGES && bin >= 0 && bin < TALLY_BINS);
    return TALLY_ANSWERS + stage * TALLY_BINS + bin;
}

int tally_label(enum tally_source s, bool good, bool later, int bin)
{
    assert(bin >= 0 && bin < TALLY_BINS);
    return TALLY_LABELS + (4 * (int)s + 2 * later + !good) * TALLY_BINS + bin;
}

bool tally_label_is(int field, enum tally_source *s, bool *good)
{
    int i = (field - TALLY_LABELS) / TALLY_BINS;

    if (field < TALLY_LABELS || field >= TALLY_FIELDS)
        return false;
    *s = (enum tally_source)(i / 4);
    *good = i % 2 == 0;
    return true;
}

int tally_stage(double best_p)
{
    int level = 1;

    if (best_p < 0)
        return 0;
    for (int i = 0; i < TALLY_STAGES - 2; i++)
        level += best_p >= stage_edges[i];
    return level;
}

bool tally_is_fast(int field)
{
    return field >= TALLY_LABELS || field == TALLY_RESOLVED || field == TALLY_PREDICTED_MILLI ||
           (field >= TALLY_REALISED_MILLI && field < TALLY_SCALARS);
}

void tally_field_name(int field, char out[TALLY_NAME_BYTES])
{
    assert(field >= 0 && field < TALLY_FIELDS);
    if (field < TALLY_ANSWERS) {
        snprintf(out, TALLY_NAME_BYTES, "%s", scalar_names[field]);
    } else if (field < TALLY_LABELS) {
        int i = field - TALLY_ANSWERS;
        snprintf(out, TALLY_NAME_BYTES, "n.%d.%d", i / TALLY_BINS, i % TALLY_BINS);
    } else {
        int i = field - TALLY_LABELS, kind = i / TALLY_BINS;
        snprintf(out, TALLY_NAME_BYTES, "%s.%s.%s%d", kind % 2 ? "bad" : "good",
                 source_names[kind / 4], kind % 4 >= 2 ? "later." : "", i % TALLY_BINS);
    }
}

/* The next part of a name, up to '.' or its end. */
static struct slice next_part(struct slice *rest)
{
    const char *dot = rest->n ? memchr(rest->p, '.', rest->n) : NULL;
    struct slice part = slice_make(rest->p, dot ? (size_t)(dot - rest->p) : rest->n);

    *rest = slice_from(*rest, part.n + (dot != NULL));
    return part;
}

/* Plain decimal below limit, as tally_field_name writes it. */
static bool small_number(struct slice s, int limit, int *out)
{
    if (s.n == 0 || s.n > 2 || (s.n == 2 && s.p[0] == '0'))
        return false;
    *out = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!ascii_is_digit(s.p[i]))
            return false;
        *out = 10 * *out + (s.p[i] - '0');
    }
    return *out < limit;
}

bool tally_field_parse(struct slice name, int *field)
{
    struct slice rest = name, head = next_part(&rest), middle = next_part(&rest);
    enum tally_source source;
    int stage, bin;

    for (int i = 0; i < TALLY_SCALARS; i++)
        if (slice_eq(name, slice_str(scalar_names[i]))) {
            *field = i;
            return true;
        }
    if (slice_eq(head, SLICE("n")) && small_number(middle, TALLY_STAGES, &stage) &&
        small_number(rest, TALLY_BINS, &bin)) {
        *field = tally_answers(stage, bin);
        return true;
    }
    bool good = slice_eq(head, SLICE("good")), later = slice_starts(rest, SLICE("later."));
    if ((!good && !slice_eq(head, SLICE("bad"))) || !tally_source_parse(middle, &source) ||
        !small_number(slice_from(rest, later ? 6 : 0), TALLY_BINS, &bin))
        return false;
    *field = tally_label(source, good, later, bin);
    return true;
}

/* ---- time ---- */

#define MINUTE_US (INT64_C(60) * 1000000)

int64_t tally_bucket_us(enum tally_kind k)
{
    return k == TALLY_SLOW ? 360 * MINUTE_US : 5 * MINUTE_US;
}

int64_t tally_keep_us(enum tally_kind k)
{
    return k == TALLY_SLOW ? 60 * 1440 * MINUTE_US : 1440 * MINUTE_US;
}

int64_t tally_bucket_start(enum tally_kind k, int64_t wall_us)
{
    int64_t width = tally_bucket_us(k), rest = wall_us % width;

    return wall_us - (rest < 0 ? rest + width : rest);
}

double tally_weight(enum tally_kind k, int64_t bucket_start_us, int64_t now_us,
                    int64_t half_life_ms)
{
    int64_t age_us = tally_bucket_start(k, now_us) - bucket_start_us;

    if (age_us > tally_keep_us(k))
        return 0;
    return age_us <= 0 ? 1 : exp2(-(double)age_us / 1000.0 / (double)half_life_ms);
}

/* ---- counts ---- */

void tally_add(struct tally *t, int field, int64_t by)
{
    int64_t sum;

    assert(field >= 0 && field < TALLY_FIELDS);
    if (__builtin_add_overflow(t->count[field], by, &sum) || sum > TALLY_LIMIT ||
        sum < -TALLY_LIMIT)
        sum = by > 0 ? TALLY_LIMIT : -TALLY_LIMIT;
    t->count[field] = sum;
}

void tally_add_label(struct tally *t, enum tally_source s, int stage, int bin, int value_milli,
                     int sign)
{
    assert(value_milli >= 0 && value_milli <= 1000);
    tally_add(t, tally_label(s, true, stage > 0, bin), (int64_t)sign * value_milli);
    tally_add(t, tally_label(s, false, stage > 0, bin), (int64_t)sign * (1000 - value_milli));
}

void tally_view_add(struct tally_view *v, int field, int64_t count, double weight)
{
    assert(field >= 0 && field < TALLY_FIELDS);
    v->x[field] += (double)count * weight;
}

int tally_view_check(struct tally_view *v)
{
    int negative = 0;

    for (int i = 0; i < TALLY_FIELDS; i++)
        if (v->x[i] < 0) {
            v->x[i] = 0;
            negative++;
        }
    return negative;
}

void tally_view_merge(struct tally_view *into, const struct tally_view *from, double weight)
{
    for (int i = 0; i < TALLY_FIELDS; i++)
        into->x[i] += from->x[i] * weight;
}

void tally_view_labels(const struct tally_view *v, const struct tally_trust *trust, bool later,
                       double good[TALLY_BINS], double bad[TALLY_BINS])
{
    for (int b = 0; b < TALLY_BINS; b++)
        good[b] = bad[b] = 0;
    for (int i = 0; i < TALLY_SOURCES; i++)
        for (int b = 0; b < TALLY_BINS; b++) {
            enum tally_source s = (enum tally_source)i;
            good[b] += trust->source[s] * v->x[tally_label(s, true, later, b)] / 1000;
            bad[b] += trust->source[s] * v->x[tally_label(s, false, later, b)] / 1000;
        }
}
