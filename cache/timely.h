/* Does the answer to a question depend on when it is asked? Such answers go stale however well they
 * match, so they get a shorter life. A score over words and pairs of words ("has won", "right
 * now"), English, with weights set by hand; a stated year or "in the nineties" speaks against it.
 * Errs on the side of calling a question timely: what that costs is a shorter life of an entry.
 * Pure; linear in the text, of which the first TIMELY_MAX_WORDS words are looked at. */
#ifndef CACHE_TIMELY_H
#define CACHE_TIMELY_H

#include "base/slice.h"

enum timely {
    TIMELESS,    /* who wrote Hamlet */
    TIMELY_SLOW, /* who is the president; changes within months or years */
    TIMELY_FAST, /* what is the weather now; changes within hours */
};

#define TIMELY_MAX_WORDS 128

enum timely timely_of(struct slice text);

#endif
