/* From the success heads to a plan's shifts. Owns nothing. Called by classify.c, when the encoder
 * has answered, and by cascade.c. */
#include "router/foreseen.h"

#include <math.h>
#include "router/decide/foresight.h"
#include "router/decide/logistic.h"
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

const struct foreseen *foreseen_find(struct request *r, const struct beliefs_context *b)
{
    const struct classifier *k = r->snap->classifier;
    enum classifier_tier tier = r->class.is.tier;
    const struct policy_model *models = r->snap->policy->models;
    struct foreseen *f = NULL;
    size_t n = k && b && r->route->decide.mode == POLICY_DECIDE_OBJECTIVE
                   ? classifier_model_count(k, tier)
                   : 0;
    const float *success = n ? success_of(r, n) : NULL;

    for (size_t i = 0; success && i < n; i++)
        for (int j = 0; j < b->arms; j++) {
            if (!speaks_of(classifier_model_name(k, tier, i), &models[r->route->steps[j].model]))
                continue;
            f = f ? f : ARENA_NEW(&r->arena, struct foreseen);
            foresee(f, j, (double)success[i], &b->arm[j]);
        }
    return f;
}
