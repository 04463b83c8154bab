/* Inside of json_scan.c that its test and benchmark name: the inner loop at each level of SIMD, and
 * the scans with the loop given. All levels must agree on every input. Pure; any thread. Not for
 * other modules. */
#ifndef BASE_JSON_SCAN_INT_H
#define BASE_JSON_SCAN_INT_H

#include "base/json_scan.h"

/* First byte in [p, end) that a string cannot simply run over: quote, backslash, control character
 * or not ASCII; or end. Reads nothing outside [p, end). */
typedef const char *(*json_run_fn)(const char *p, const char *end);

const char *json_run_portable(const char *p, const char *end);
#if defined(__x86_64__)
const char *json_run_sse2(const char *p, const char *end);
const char *json_run_avx2(const char *p, const char *end); /* only where the CPU has AVX2 */
#endif
json_run_fn json_run_best(void); /* for this CPU */

bool json_validate_with(json_run_fn run, struct slice text, size_t *at);
bool json_scan_object_with(json_run_fn run, struct slice text, json_member_fn fn, void *ctx,
                           size_t *at);

#endif
