/* The pieces of a WordPiece vocabulary as a double-array trie over bytes (Aoe, "An efficient
 * digital search algorithm by using a double-array structure", IEEE TSE 15(9), 1989): one array
 * look-up per byte. It has two roots: whole pieces, and those that continue a word, without their
 * "##". Immutable after piece_trie_new; any thread. */
#ifndef ROUTER_ENCODER_PIECE_TRIE_H
#define ROUTER_ENCODER_PIECE_TRIE_H

#include <stdint.h>
#include "base/slice.h"

struct piece_trie;

struct piece_key {
    struct slice bytes; /* not empty, without "##" */
    bool continues;     /* was written with "##" */
    int32_t id;         /* >= 0 */
};

/* Sorts keys; no two of one root may be equal (an assert). */
struct piece_trie *piece_trie_new(struct piece_key *keys, size_t count);
void piece_trie_free(struct piece_trie *t); /* NULL is fine */

/* The longest piece that text begins with: its id and its length, or -1. */
int32_t piece_trie_longest(const struct piece_trie *t, bool continues, struct slice text,
                           size_t *piece_bytes);

#endif
