/* See the header. Called by encoder_service.c under its lock. */
#include "router/encoder/encoder_pace.h"

#define FORGET_US    1000000
#define RISE         (1.0 / 8)
#define FALL         (1.0 / 2)
#define MAX_SURPRISE 2.0 /* a measure counts as at most so many times what was expected */

void encoder_pace_measured(struct encoder_pace *p, size_t tokens, int64_t took_us, int64_t now_us)
{
    double is = (double)took_us / (double)(tokens ? tokens : 1), was = p->us_per_token;

    if (was > 0 && is > MAX_SURPRISE * was)
        is = MAX_SURPRISE * was;
    p->us_per_token = was > 0 ? was + (is - was) * (is < was ? FALL : RISE) : is;
    p->measured_us = now_us;
}

int64_t encoder_pace_us(const struct encoder_pace *p, size_t tokens, int64_t now_us)
{
    if (now_us - p->measured_us > FORGET_US)
        return 0;
    return (int64_t)(p->us_per_token * (double)tokens);
}
