/* Foresight against outcomes. Called by evidence (counting), by beliefs (trust), and by the
 * request's side, router/foreseen.c. */
#include "router/decide/foresight.h"

#include <assert.h>
#include <math.h>
#include "router/decide/logistic.h"
#include "router/decide/significance.h"

double foresight_shift(double foreseen, double believed)
{
    if (!(foreseen >= 0 && foreseen <= 1))
        return 0;
    return fmin(fmax(logit(foreseen) - logit(believed), -FORESIGHT_MAX_SHIFT), FORESIGHT_MAX_SHIFT);
}

/* -(y ln p + (1 - y) ln (1 - p)), in millionths of a nat. */
static int64_t loss(int chance_milli, int value_milli)
{
    double p = (double)chance_milli / 1000;

    assert(chance_milli > 0 && chance_milli < 1000);
    return llround(-1000 * (value_milli * log(p) + (1000 - value_milli) * log1p(-p)));
}

void foresight_count(struct tally *t, int believed_milli, int foreseen_milli, int value_milli,
                     int sign)
{
    int64_t plain = loss(believed_milli, value_milli), foreseen = loss(foreseen_milli, value_milli);
    int64_t lead_milli = (plain - foreseen) / 1000;

    tally_add(t, TALLY_FORESEEN, sign);
    tally_add(t, TALLY_BELIEVED_LOSS, sign * plain);
    tally_add(t, TALLY_FORESEEN_LOSS, sign * foreseen);
    tally_add(t, TALLY_LEAD_SQUARE, sign * lead_milli * lead_milli);
}

void foresight_add(struct foresight *f, const struct tally_view *v)
{
    f->labels += v->x[TALLY_FORESEEN];
    f->lead += (v->x[TALLY_BELIEVED_LOSS] - v->x[TALLY_FORESEEN_LOSS]) / 1e6;
    f->error = sqrt(f->error * f->error + v->x[TALLY_LEAD_SQUARE] / 1e6);
}

double foresight_trust(const struct foresight *slow, const struct foresight *fast)
{
    double trust = slow->labels >= FORESIGHT_LABELS ? significance(slow->lead, slow->error) : 0;

    return fast->labels >= FORESIGHT_FAST_LABELS
               ? trust * (1 - significance(-fast->lead, fast->error))
               : trust;
}
