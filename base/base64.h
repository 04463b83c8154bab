/* Base64 (RFC 4648, section 4, with padding). Pure. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stdbool.h>
#include "base/slice.h"

#define BASE64_BYTES(n) (((n) + 2) / 3 * 4 + 1) /* of n bytes, with a NUL */

void base64_encode(const void *bytes, size_t n, char *out); /* BASE64_BYTES(n), NUL-terminated */
/* How many bytes the text stands for; false: it is not base64 (white space, missing padding, bits
 * behind the last byte). out: room for text.n / 4 * 3. */
bool base64_decode(struct slice text, unsigned char *out, size_t *n);

#endif
