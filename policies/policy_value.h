/* Scalars of the policy language, from text to numbers. Pure; any thread.
 * Each returns NULL when the text is well formed, else what is wrong with it, as the end of a
 * sentence; *hint may then be set to a static advice. Ranges are the caller's. */
#ifndef POLICIES_POLICY_VALUE_H
#define POLICIES_POLICY_VALUE_H

#include <stdint.h>
#include "base/slice.h"

/* Plain decimal: "12", "-3". Not 0x10, 010, 1_000, 1e3: readers of YAML disagree about them. */
const char *value_int(struct slice text, int64_t *out, const char **hint);
/* A plain decimal between 0 and 1: "0.95". */
const char *value_fraction(struct slice text, double *out, const char **hint);
/* "250ms", "1.5s", "15m", "24h", "7d" -> milliseconds, exact. */
const char *value_duration(struct slice text, int64_t *out_ms, const char **hint);
/* "100B", "64KiB", "1.5MiB", "2GiB", "10MB" (decimal) -> bytes, exact. */
const char *value_size(struct slice text, int64_t *out_bytes, const char **hint);
/* "2026-01-01" (UTC) or "2026-01-01T12:00:00[.123]Z|+02:00" (RFC 3339) -> Unix microseconds. */
const char *value_time(struct slice text, int64_t *out_us, const char **hint);

/* "90s", "64KiB" ...: the largest unit that is exact; out >= 32 bytes; returns out. */
const char *value_format_duration(int64_t ms, char *out, size_t out_bytes);
const char *value_format_size(int64_t bytes, char *out, size_t out_bytes);

#endif
