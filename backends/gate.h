/* Counts the uses of something that is now there and now not, so that those who use it need no
 * lock, and the one who takes it away leaves no gap between "nobody is in" and "nobody gets in":
 * one atomic word with the number of uses and two flags. Any thread; the keeper is one of them. */
#ifndef BACKENDS_GATE_H
#define BACKENDS_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct gate { /* zero: closed, nobody in */
    _Atomic uint64_t word;
    _Atomic int64_t last_use_us; /* monotonic: when a use began or ended last */
};

/* ---- users ---- */
bool gate_enter(struct gate *g); /* false: closed */
/* Ends a use; also after the gate was closed. true: it was the last one, and the keeper asked to be
 * told (gate_open with watched, gate_close). */
bool gate_leave(struct gate *g);

/* ---- the keeper ---- */
int64_t gate_uses(const struct gate *g);
/* watched: the end of the last use is to be announced from now on. One that ended before is not:
 * look at gate_uses afterwards. */
void gate_open(struct gate *g, bool watched);
void gate_close(struct gate *g); /* uses go on, none begins; the last one's end is announced */
bool gate_close_if_idle(struct gate *g); /* only while nobody is in */

#endif
