/* What became of an answer, where nobody says so: the same turn of a conversation that is asked
 * again soon after its answer (regenerated, or in slightly other words) tells of a poor one, weakly
 * (arXiv 2507.23158: implicit feedback is a noisy signal); and silence may be given a meaning.
 * Pure but for memory; no clock. The learner's thread, apart from the two that make prints.
 *
 * Asked again means: the same tenant, every byte of the request before the user's last text the
 * same, an assistant's turn among them (so that equal first questions of strangers do not count),
 * begun at least a second after the earlier answer had ended (so that parallel samples do not), and
 * at most ten minutes after it, with a last text that is nearly the same. */
#ifndef ROUTER_OUTCOME_SIGNALS_H
#define ROUTER_OUTCOME_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"
#include "base/slice.h"

/* ---- prints of a request; any thread ---- */

#define OUTCOME_GRAM_WORDS 8
/* Which groups of three bytes a text has, hashed to 512 bits; of the ends of a long one. */
struct outcome_print {
    uint64_t conversation; /* 0: it cannot be told whether this was asked before */
    uint64_t grams[OUTCOME_GRAM_WORDS];
};

/* before: the request's bytes up to the user's last text; said: that text, raw. */
void outcome_print_make(struct outcome_print *p, struct slice tenant, struct slice before,
                        struct slice said);
/* Shared groups over all groups, 0..1. */
double outcome_print_likeness(const struct outcome_print *a, const struct outcome_print *b);

/* ---- asked again ---- */

#define OUTCOME_AGAIN_AFTER_US  INT64_C(1000000)
#define OUTCOME_AGAIN_WITHIN_US INT64_C(600000000)
#define OUTCOME_LIKENESS        0.6

struct outcome_request {
    struct slice tenant, request_id;
    struct outcome_print print;
    int64_t begun_us, ended_us; /* wall clock */
};

struct outcome_signals;
struct outcome_signals *outcome_signals_new(void);
void outcome_signals_free(struct outcome_signals *s); /* NULL is fine */
/* Remembers a request that has ended. true: it asks again what *earlier had asked (its slices are
 * valid until the next call). */
bool outcome_signals_note(struct outcome_signals *s, const struct outcome_request *r,
                          struct outcome_request *earlier);

/* ---- silence ---- */

/* Its outcome is due then, with that value unless somebody said something. Bounded: beyond some
 * number the oldest are forgotten. What was expected when the process ended is forgotten, too. */
void outcome_signals_expect(struct outcome_signals *s, struct slice tenant, struct slice request_id,
                            int64_t due_us, int value_milli);
struct outcome_silence {
    struct slice tenant, request_id; /* valid until the next call */
    int value_milli;
};
/* The next one whose time has come; false: none. */
bool outcome_signals_due(struct outcome_signals *s, int64_t now_us, struct outcome_silence *out);

#endif
