/* Sums of log-gammas. Called by the learner when it builds beliefs, for canaries. */
#include "router/decide/alarm.h"

#include <math.h>

/* How closely the alternative lies around the shares: at 100 a doubled failure rate is found after
 * some 200 failures, and a false alarm within 50,000 looks stays below alpha. */
#define MASS 100.0

double alarm_evidence(const double *count, const double *share, int n)
{
    double sum = 0, log_e;

    for (int i = 0; i < n; i++)
        sum += count[i];
    log_e = lgamma(MASS) - lgamma(MASS + sum);
    for (int i = 0; i < n; i++)
        log_e +=
            lgamma(MASS * share[i] + count[i]) - lgamma(MASS * share[i]) - count[i] * log(share[i]);
    return log_e;
}

bool alarm_is_worse(struct alarm_group one, struct alarm_group rest, double alpha)
{
    double answers = one.answers + rest.answers;
    double count[2] = {one.failures, rest.failures};
    double share[2] = {one.answers / answers, rest.answers / answers};

    if (one.answers <= 0 || rest.answers <= 0 || alpha <= 0 ||
        one.failures * rest.answers <= rest.failures * one.answers)
        return false;
    return alarm_evidence(count, share, 2) >= log(1 / alpha);
}
