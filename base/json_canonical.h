/* JSON reduced to one spelling, fed into a digest: two texts that mean the same value give the same
 * bytes. Members are sorted by their decoded names (of duplicates the last one counts, as for every
 * parser downstream), white space goes, strings are decoded, numbers are written by their value
 * (1, 1.0 and 1e0 are one; integers beyond 2^53 keep their digits). The idea is that of RFC 8785;
 * the bytes are our own, and tagged with types and lengths, so that no two values share them. Pure.
 */
#ifndef BASE_JSON_CANONICAL_H
#define BASE_JSON_CANONICAL_H

#include "base/arena.h"
#include "base/digest.h"
#include "base/json_scan.h"

struct json_canonical {
    struct arena *arena; /* scratch: grows with the text */
    struct digest_stream *whole;
    /* NULL, or a second digest in one go: in it a mark takes the place of the value whose text
     * begins at `hole`, in the scanned bytes. */
    struct digest_stream *rest;
    const char *hole;
    bool hole_found;
    /* Private: small pieces are gathered before they are digested. */
    char pending[512];
    size_t pending_bytes;
};

void json_canonical_init(struct json_canonical *c, struct arena *a, struct digest_stream *whole,
                         struct digest_stream *rest, const char *hole);
/* v was validated. Nesting is at most JSON_MAX_DEPTH. */
void json_canonical_value(struct json_canonical *c, struct json_value v);
/* A text of the caller's own between values. */
void json_canonical_text(struct json_canonical *c, struct slice text);
void json_canonical_flush(struct json_canonical *c); /* before the digest is read */

/* The members of a validated object: sorted by decoded name, each once. In the arena; keys are
 * decoded (m.key_escaped is false). */
struct json_member *json_sorted_members(struct json_value object, struct arena *a, size_t *count);

#endif
