/* How long a text will take, from how long others took: what the service promises a deadline on.
 *
 * One number, microseconds per token, is enough: passes are short and weights dominate them, so
 * that time is nearly proportional to tokens (tests/bench/encoder: 67 to 72 us a token from 16 to
 * 256 of them on a Zen 4 core). It is wall time: what other threads take from the core counts. It
 * falls fast and rises slowly, a single pass that was held up raises it by an eighth at most: a
 * wrong guess costs a pass in vain, a pessimistic one every text that is turned away. And it
 * forgets: were all turned away, nothing would be measured any more, hence without a pass for a
 * second nothing is foreseen, and the next text finds out.
 *
 * Pure; the caller's lock, the caller's clock (monotonic). */
#ifndef ROUTER_ENCODER_ENCODER_PACE_H
#define ROUTER_ENCODER_ENCODER_PACE_H

#include <stddef.h>
#include <stdint.h>

struct encoder_pace {
    double us_per_token; /* 0: nothing was measured yet */
    int64_t measured_us; /* when */
};

/* tokens were done in took_us at now_us. */
void encoder_pace_measured(struct encoder_pace *p, size_t tokens, int64_t took_us, int64_t now_us);
/* What so many tokens will take; 0 when nothing is known. */
int64_t encoder_pace_us(const struct encoder_pace *p, size_t tokens, int64_t now_us);

#endif
