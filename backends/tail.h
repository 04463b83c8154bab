/* The last bytes of an endless text: what a child process said most recently. Fixed size, embedded
 * by value; older bytes are overwritten. Pure; the owner's thread or lock. */
#ifndef BACKENDS_TAIL_H
#define BACKENDS_TAIL_H

#include <stdint.h>
#include "base/buf.h"

#define TAIL_BYTES 16384

struct tail {
    uint64_t written; /* in all; the byte number i lies at i % TAIL_BYTES */
    char bytes[TAIL_BYTES];
};

void tail_write(struct tail *t, struct slice s);
/* Everything that is still there, oldest first. */
enum err tail_copy(const struct tail *t, struct buf *out) MUST_CHECK;
/* The end of what was written after byte number `since`, as one line for a message: line ends
 * become " | ", other control characters blanks, a cut beginning "...". NUL-terminated, "" when
 * there is nothing. Returns out. */
const char *tail_last_words(const struct tail *t, uint64_t since, char *out, size_t out_bytes);

#endif
