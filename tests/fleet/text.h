/* Building text in a test program: the appends of base/buf.h without the error path. The limit is
 * MAX_TEXT_BYTES, far above anything the fleet is asked to build; reaching it is a bug of the
 * script that asked for it and ends the process. Single-threaded. Nothing here owns anything but
 * the caller's buffer. */
#ifndef FLEET_TEXT_H
#define FLEET_TEXT_H

#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

#define MAX_TEXT_BYTES ((size_t)512 << 20)

#define TEXT_ADD(b, ...) text_must(buf_printf((b), __VA_ARGS__))
#define TEXT_SLICE(b, s) text_must(buf_append_slice((b), (s)))
#define TEXT_LIT(b, lit) text_must(buf_append((b), "" lit, sizeof(lit) - 1))

void text_must(enum err e);
/* s as a JSON string with quotes. */
void text_json(struct buf *b, struct slice s);
/* Copies what b holds into the arena and empties b, keeping its storage. */
struct slice text_take(struct buf *b, struct arena *a);
/* FNV-1a, 64 bits: the hash that the truth file, the synthetic answers and the embeddings are built
 * on. */
uint64_t text_hash(struct slice s);
/* Without white space at both ends. */
struct slice text_strip(struct slice s);
/* First position of needle in s, or s.n. */
size_t text_find(struct slice s, struct slice needle);

#endif
