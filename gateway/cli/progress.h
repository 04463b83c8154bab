/* How far a long command has come, on standard error: on a terminal one line that is redrawn, else
 * plain lines now and then. Bytes, or anything that is counted. Single-threaded. */
#ifndef GATEWAY_CLI_PROGRESS_H
#define GATEWAY_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum progress_unit { PROGRESS_BYTES, PROGRESS_COUNT };

struct progress {
    char label[64];
    enum progress_unit unit;
    bool terminal, shown;
    int64_t begun_us, drawn_us;
    uint64_t begun_at; /* what was there before this run: no part of the rate */
    int plain_tenths;  /* of the total, at the last plain line */
};

void progress_begin(struct progress *p, const char *label, enum progress_unit unit);
/* total 0: not known. Cheap: draws at most ten times a second. */
void progress_update(struct progress *p, uint64_t done, uint64_t total);
/* begun_at: for work that goes on where an earlier run stopped; before the first update. */
void progress_resume(struct progress *p, uint64_t begun_at);
/* The last word about it; clears the line on a terminal. */
void progress_end(struct progress *p);

/* "83.5 MB", "12.3 kB", "45": into out. */
void progress_amount(uint64_t n, enum progress_unit unit, char *out, size_t out_bytes);

#endif
