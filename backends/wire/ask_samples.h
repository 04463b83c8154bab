/* Asking a server the same again, to see whether it says the same again: the body that ask_write
 * made for an attempt, changed so that its answer comes whole, by itself or as one of several
 * choices, and is drawn anew. Pure. */
#ifndef BACKENDS_WIRE_ASK_SAMPLES_H
#define BACKENDS_WIRE_ASK_SAMPLES_H

#include "backends/wire/ask.h"

struct ask_samples {
    int64_t n;          /* choices of one answer; above 1 only where ask_samples_choices says so */
    double temperature; /* below 0: as the request has it */
};

/* Would the same question get the same answer, because the client asks for temperature 0? body:
 * a validated object. */
bool ask_samples_greedy(struct slice body);
/* Does a server of that target give several choices for one reading of the prompt? */
bool ask_samples_choices(const struct ask_target *to, enum wire_api asked);
/* written, as ask_write made it, without `stream` and its options, `seed`, `n` and `best_of`, and
 * with what `how` says; all else stands as it is. In the arena. false: written is no JSON object
 * (a client's body is). */
bool ask_samples_write(const struct ask_body *written, const struct ask_target *to,
                       const struct ask_samples *how, struct arena *a,
                       struct slice *out) MUST_CHECK;

#endif
