/* YAML text as a tree of nodes that remember where they were written. The one file that talks to
 * libyaml is policy_node.c.
 *
 * What YAML users may rely on: anchors, aliases and merge keys (<<) work; a BOM is accepted; a
 * leading '---' and empty further documents are harmless. What is refused, with its place: syntax
 * errors, tabs for indentation, UTF-16, a second document with content, duplicate keys, keys that
 * are not plain names, unknown or self-containing aliases, tags other than !!str,
 * !!map and !!seq, nesting beyond NODE_MAX_DEPTH, more than
 * NODE_MAX_ANCHORS anchors and more than NODE_MAX_WEIGHT nodes after aliases are followed.
 * Control thread. Nodes live in the given arena and are shared where the file uses an alias. */
#ifndef POLICIES_POLICY_NODE_H
#define POLICIES_POLICY_NODE_H

#include "base/arena.h"
#include "policies/policy_load.h"

#define NODE_MAX_DEPTH   32
#define NODE_MAX_WEIGHT  100000
#define NODE_MAX_ANCHORS 1000

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    int line, column; /* 1-based; 0 for a built-in default */
    bool plain; /* scalar without quotes and without !!str: numbers, booleans and null are possible
                 */
    bool open;  /* still being read: an alias to it would contain itself */
    bool used;  /* some alias refers to it */
    struct slice text; /* scalar; NUL-terminated behind the slice */
    struct node_entry
        *entries; /* list: key NULL; map: in the order of the file, merged ones last */
    size_t count;
    size_t weight; /* nodes below and including this one, aliases followed */
};

struct node_entry {
    const struct node *key; /* scalar; NULL in a list */
    struct node *value;
};

/* The root node, or NULL with at least one error added to d. file names the source in messages. */
struct node *node_read(struct arena *a, struct slice text, const char *file, struct diags *d);
const struct node_entry *node_find(const struct node *map, struct slice key); /* NULL: absent */
/* null, Null, NULL, ~ or nothing at all, unquoted (YAML 1.2 core schema). */
bool node_is_null(const struct node *n);
/* A boolean of the core schema; false when it is something else. */
bool node_bool(const struct node *n, bool *out);
/* Would a YAML reader take this plain scalar for a number? (core schema, and the 1.1 forms 1_000
 * and 0b1) */
bool node_is_number(const struct node *n);
/* "a list", "a mapping", "a number" ...: for messages. */
const char *node_what(const struct node *n);

#endif
