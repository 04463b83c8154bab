/* From success heads and neighbours to a plan's shifts. Owns nothing. Called by classify.c, when
 * the encoder has answered, and by cascade.c. */
#include "router/foreseen.h"

#include <assert.h>
#include <math.h>
#include "router/decide/foresight.h"
#include "router/decide/logistic.h"
#include "router/encoder/static_table.h"
#include "router/neighbours.h"
#include "router/request_int.h"

static bool has_objective(const struct policy *p)
{
    for (size_t i = 0; i < p->route_count; i++)
        if (p->routes[i].decide.mode == POLICY_DECIDE_OBJECTIVE)
            return true;
    return false;
}

void foreseen_keep(struct request *r, const float *features)
{
    const struct classifier *k = r->snap->classifier;
    size_t n = classifier_model_count(k, CLASSIFIER_FULL);

    if (n == 0 || !has_objective(r->snap->policy))
        return;
    r->class.success = ARENA_ARRAY(&r->arena, float, n);
    classifier_success(k, CLASSIFIER_FULL, r->class.text, features, r->class.success);
}

/* [models of the tier's heads]; NULL: there are none, or they were not asked. */
static const float *success_of(struct request *r, size_t n)
{
    struct query_class *qc = &r->class;

    if (n && !qc->success && qc->is.tier == CLASSIFIER_STATIC && qc->text.n) {
        qc->success = ARENA_ARRAY(&r->arena, float, n);
        classifier_success(r->snap->classifier, CLASSIFIER_STATIC, qc->text, NULL, qc->success);
    }
    return qc->success;
}

static bool speaks_of(struct slice name, const struct policy_model *m)
{
    return slice_eq(name, slice_str(m->name)) || slice_eq(name, slice_str(m->upstream_name));
}

static int milli(double p)
{
    return (int)fmin(fmax(lround(1000 * p), 1), 999);
}

static void foresee(struct foreseen *f, int arm, double success, const struct beliefs_arm *a)
{
    double shift = foresight_shift(success, a->success);

    if (isnan(success))
        return;
    f->shift[arm] = shift * a->foresight.trust;
    f->believed_milli[arm] = milli(a->success);
    f->foreseen_milli[arm] = milli(logistic(logit(a->success) + shift));
}

static struct foreseen *make(struct request *r, struct foreseen *f)
{
    return f ? f : ARENA_NEW(&r->arena, struct foreseen);
}

static struct foreseen *ask_heads(struct request *r, const struct beliefs_context *b)
{
    const struct classifier *k = r->snap->classifier;
    enum classifier_tier tier = r->class.is.tier;
    const struct policy_model *models = r->snap->policy->models;
    struct foreseen *f = NULL;
    size_t n = k && b ? classifier_model_count(k, tier) : 0;
    const float *success = n ? success_of(r, n) : NULL;

    for (size_t i = 0; success && i < n; i++)
        for (int j = 0; j < b->arms; j++) {
            if (!speaks_of(classifier_model_name(k, tier, i), &models[r->route->steps[j].model]))
                continue;
            f = make(r, f);
            foresee(f, j, (double)success[i], &b->arm[j]);
        }
    return f;
}

/* ---- neighbours ---- */

/* Bytes of a vector, in units of its largest magnitude / 127. */
static const int8_t *to_bytes(struct request *r, const float *vector, int dim)
{
    int8_t *bytes = ARENA_ARRAY(&r->arena, int8_t, dim);
    float most = 0;

    for (int i = 0; i < dim; i++)
        most = fmaxf(most, fabsf(vector[i]));
    for (int i = 0; i < dim; i++)
        bytes[i] = (int8_t)lrintf(vector[i] * (127 / most));
    return bytes;
}

/* Beliefs and neighbours are built one after the other, under policies that may differ. */
static bool same_arms(const struct neighbours_route *n, const struct beliefs_context *b)
{
    if (neighbours_arms(n) != b->arms)
        return false;
    for (int j = 0; j < b->arms; j++)
        if (!slice_eq(neighbours_model(n, j), slice_str(b->arm[j].model)))
            return false;
    return true;
}

static struct foreseen *ask_neighbours(struct request *r, const struct beliefs_context *b,
                                       const struct neighbours_route *n, const float *vector,
                                       struct foreseen *f)
{
    double believed[PANDORA_BOXES], lift[PANDORA_BOXES];
    double trust = n && same_arms(n, b) ? neighbours_trust(n) : 0;

    if (!(trust > 0))
        return f;
    for (int j = 0; j < b->arms; j++)
        believed[j] = f ? logistic(logit(b->arm[j].success) + f->shift[j]) : b->arm[j].success;
    neighbours_lift(n, vector, believed, NEIGHBOURS_NONE, lift);
    f = make(r, f);
    for (int j = 0; j < b->arms; j++) {
        f->near[j] = trust * lift[j];
        f->shift[j] += f->near[j];
    }
    return f;
}

const struct foreseen *foreseen_find(struct request *r, const struct beliefs_context *b,
                                     const struct neighbours *n)
{
    const struct policy_decide *d = &r->route->decide;
    const struct static_table *table = static_table_builtin();
    float vector[NEIGHBOURS_MAX_DIM];
    struct foreseen *f;

    assert(static_table_dim(table) <= NEIGHBOURS_MAX_DIM);
    if (d->mode != POLICY_DECIDE_OBJECTIVE)
        return NULL;
    f = ask_heads(r, b);
    if (d->learn.neighbours != POLICY_LEARN_ON || r->background ||
        !static_table_embed(table, classify_text(r), vector, NULL))
        return f;
    r->class.query = to_bytes(r, vector, static_table_dim(table));
    return b ? ask_neighbours(r, b, neighbours_find(n, slice_str(r->route->name)), vector, f) : f;
}
