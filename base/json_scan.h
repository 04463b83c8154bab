/* Strict JSON (RFC 8259) scanning without a tree: validates the whole text in one pass (grammar,
 * UTF-8, escapes, nesting) and reports the members of objects and elements of arrays as slices of
 * the input, so that a caller remembers the few that matter and splices new text in their place;
 * everything else survives byte for byte. Pure; no allocation; AVX2 or SSE2 inner loops with
 * run-time dispatch and a portable fallback, equal by test. Accepted: duplicate keys (the caller
 * decides; the last wins by convention of JSON.parse and jansson), lone surrogate escapes (they are
 * legal JSON text), any number length. Refused: everything outside the grammar, invalid UTF-8, NUL,
 * depth > 512, trailing bytes other than white space; a UTF-8 BOM. The names of enum json_type are
 * also jansson's: a source file includes this header or jansson.h, not both (a file that must see
 * both renames jansson's, as tests/unit/base/jansson_peer.h does). */
#ifndef BASE_JSON_SCAN_H
#define BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>
#include "base/slice.h"

enum json_type {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

struct json_value {
    enum json_type type;
    struct slice
        text; /* the value exactly as written, strings with their quotes; inside the input */
};

struct json_member {
    struct slice key; /* without quotes, still escaped */
    bool key_escaped; /* key holds a backslash: compare with json_key_is */
    struct json_value value;
    /* The whole member's extent for removal: from key's opening quote to the value's end. */
    size_t begin, end; /* offsets in the scanned input; of json_iter: in the container's text */
};

#define JSON_MAX_DEPTH 512

/* Validates text as one JSON value. On failure returns false, *at (may be NULL) is the byte offset
 * of the first fault. */
bool json_validate(struct slice text, size_t *at);

/* Validates text as one JSON object and calls fn for each top-level member, in order. fn returns
 * false to stop listening (validation still goes on to the end). false + *at on malformed input or
 * when the top level is not an object; members reported before the fault must then be forgotten. */
typedef bool (*json_member_fn)(const struct json_member *m, void *ctx);
bool json_scan_object(struct slice text, json_member_fn fn, void *ctx, size_t *at);

/* Walks inside a value that was already validated (by the functions above): no checks, cheap,
 * cannot fail. usage: struct json_iter it; json_iter_init(&it, value); while (json_iter_next(&it,
 * &m)) ... (m.key is empty for arrays) */
struct json_iter {
    struct slice text;
    size_t pos;
    bool object;
};
void json_iter_init(struct json_iter *it, struct json_value container);
bool json_iter_next(struct json_iter *it, struct json_member *m);
/* Behind the value that begins at p, in validated text that ends at end. */
const char *json_value_end(const char *p, const char *end);
/* Elements of a validated array, members of an object. */
size_t json_count(struct json_value container);

/* Last member of that (unescaped) name in a validated object; false if absent or not an object. */
bool json_get(struct json_value object, struct slice name, struct json_member *out);
bool json_key_is(const struct json_member *m,
                 struct slice name); /* decodes escapes when there are any */

/* Decodes a JSON string value's text (with quotes) to UTF-8 into out; lone surrogates become
 * U+FFFD. Returns the decoded length, which may exceed out_bytes (then the output is cut at a
 * character boundary). out may be NULL to measure. */
size_t json_string_decode(struct slice quoted, char *out, size_t out_bytes);
/* The decoded text: the very bytes between the quotes where nothing is escaped, else in the arena.
 * Whoever keeps it longer than the input dups it. */
struct arena;
struct slice json_string_text(struct slice quoted, struct arena *a);
/* Escapes UTF-8 (or any bytes; invalid ones become U+FFFD) as a JSON string with quotes. Same
 * return rule; worst case 6n+2. */
size_t json_string_encode(struct slice raw, char *out, size_t out_bytes);
/* An integer in plain notation ("12", "-3"; not "1.0", not "1e3") that fits int64. */
bool json_int(struct json_value v, int64_t *out);
bool json_number(struct json_value v, double *out); /* locale-independent */

#endif
