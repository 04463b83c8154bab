/* Answers as neighbours see them. Called by router/learner_near.c and weir bench. */
#include "router/decide/remembered.h"

#include <math.h>
#include "router/decide/logistic.h"

/* What was to be expected of the answer without neighbours: by its class, by what it came after,
 * and by its query as far as trained heads are trusted. */
static double expected_of(const struct beliefs_arm *a, const struct remembered *r)
{
    double p = a->success;

    if (r->stage > 0) {
        p = 0;
        for (int b = 0; b < TALLY_BINS; b++)
            p += a->share[r->stage][b] * a->p[1][b];
    } else if (r->foreseen_milli) {
        double shift = logit(r->foreseen_milli / 1000.0) - logit(r->believed_milli / 1000.0);
        p = logistic(logit(p) + a->foresight.trust * shift);
    }
    return p;
}

/* Has the model been another since it answered? */
static bool has_changed(const struct beliefs_arm *a, const struct remembered *r)
{
    return a->changed_us != CHANGE_NONE && r->decided_us < a->changed_us;
}

bool remembered_outcome(const struct beliefs_arm *a, const struct remembered *r,
                        struct exante_outcome *out)
{
    double base = expected_of(a, r), value = r->value, weight = fmin(r->weight, 1);
    bool told = value >= 0 && !has_changed(a, r);

    if (told) {
        base = exante_without(base, a->labels, value, weight);
    } else if (r->bin >= 0) {
        /* answers that were passed over would be missing else, and what was served looks better
         * than it is */
        value = a->p[r->stage > 0][r->bin];
        weight = 1;
    } else {
        return false;
    }
    *out = (struct exante_outcome){(float)value, (float)weight, (float)base, told};
    return true;
}
