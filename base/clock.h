/* Time. Monotonic for intervals, wall clock for records. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <stddef.h>

int64_t clock_mono_us(void); /* CLOCK_MONOTONIC, microseconds */
int64_t clock_wall_us(void); /* CLOCK_REALTIME, microseconds since 1970 UTC */
/* "2026-11-21T08:04:45.123Z" into out (>= 25 bytes). RFC 3339. */
void clock_rfc3339(int64_t wall_us, char *out, size_t out_bytes);

#endif
