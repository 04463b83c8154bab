/* Integers as decimal digits, without printf: that takes some 400 instructions for each number,
 * and a request on the hot path writes dozens. Pure; no NUL is written. */
#ifndef BASE_DECIMAL_H
#define BASE_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

#define DECIMAL_BYTES 20 /* of 2^64 - 1, and of -2^63 with its sign */

/* Both return how many bytes they wrote. */
size_t decimal_put(uint64_t v, char out[static DECIMAL_BYTES]);
size_t decimal_put_signed(int64_t v, char out[static DECIMAL_BYTES]);

#endif
