/* SHA-256 (FIPS 180-4): what a file of weights, a policy or a cached request is known by. Any
 * thread; a digest_stream belongs to one. The one place that knows libcrypto's digests. */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stdbool.h>
#include <stdint.h>
#include "base/slice.h"

#define DIGEST_BYTES     32
#define DIGEST_HEX_BYTES (2 * DIGEST_BYTES + 1)

struct digest {
    uint8_t bytes[DIGEST_BYTES];
};

struct digest digest_of(struct slice bytes);

/* For what does not lie in memory at once. digest_stream_end frees the stream. */
struct digest_stream;
struct digest_stream *digest_stream_new(void);
void digest_stream_add(struct digest_stream *s, struct slice bytes);
struct digest digest_stream_end(struct digest_stream *s);

/* Of a whole regular file, read in pieces. False with errno. */
bool digest_file(const char *path, struct digest *out);

bool digest_eq(struct digest a, struct digest b);
void digest_hex(struct digest d, char out[static DIGEST_HEX_BYTES]); /* lower case, with NUL */
bool digest_parse(struct slice hex, struct digest *out); /* 64 hex digits, either case */

#endif
