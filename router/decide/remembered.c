/* Answers as neighbours see them. Called by router/learner_near.c and weir bench. */
#include "router/decide/remembered.h"

#include <math.h>
#include "router/decide/logistic.h"

/* What was to be expected of a first answer without neighbours: by its class, and by its query as
 * far as trained heads are trusted. */
static double expected_of(const struct beliefs_arm *a, const struct remembered *r)
{
    if (r->stage > 0 || !r->foreseen_milli)
        return a->success;
    double shift = logit(r->foreseen_milli / 1000.0) - logit(r->believed_milli / 1000.0);
    return logistic(logit(a->success) + a->foresight.trust * shift);
}

/* By how much less is expected of an answer in that stage than of a first one: who is asked after
 * others gets the hard queries. */
static double harder_by(const struct beliefs_arm *a, int stage)
{
    double p = 0;

    if (stage == 0)
        return 0;
    for (int b = 0; b < TALLY_BINS; b++)
        p += a->share[stage][b] * a->p[1][b];
    return a->success - p;
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
    double harder = harder_by(a, r->stage);

    if (told) {
        value += harder;
        base = exante_without(base, a->labels, value, weight);
    } else if (r->bin >= 0) {
        /* answers that were passed over would be missing else, and what was served looks better
         * than it is */
        value = a->p[r->stage > 0][r->bin] + harder;
        weight = 1;
    } else {
        return false;
    }
    *out = (struct exante_outcome){(float)value, (float)weight, (float)base, told};
    return true;
}
