/* Owns the double array and its construction. A node is a position in cells[]; its child for byte b
 * lies at cells[node].base + b, and is its child only if that cell's parent says so. Positions 0
 * and 1 are the two roots. Built level by level, so that the nodes near the roots, which every word
 * passes, lie together.
 *
 * Called by wordpiece.c alone. */
#include "router/encoder/piece_trie.h"

#include <assert.h>
#include <stdlib.h>
#include "base/mem.h"

enum { ROOTS = 2, BYTES = 256, FREE = -1, ROOT = -2 };

struct cell {
    int32_t parent; /* FREE, ROOT */
    int32_t base;
    int32_t id; /* of the piece that ends here, or -1 */
};

struct piece_trie {
    struct cell *cells; /* owned */
    size_t count;       /* BYTES of them lie beyond the last base */
};

/* A node whose children are still to be placed: the keys [begin, end) share its depth bytes. */
struct pending {
    size_t begin, end, depth;
    int32_t node;
};

struct builder {
    struct piece_trie *t;
    const struct piece_key *keys;
    struct pending *queue; /* owned; every key adds at most its length */
    size_t head, tail, queue_cap;
    size_t first_free; /* no free cell lies before it */
};

static int by_root_and_bytes(const void *x, const void *y)
{
    const struct piece_key *a = x, *b = y;
    if (a->continues != b->continues)
        return a->continues - b->continues;
    size_t n = a->bytes.n < b->bytes.n ? a->bytes.n : b->bytes.n;
    int order = memcmp(a->bytes.p, b->bytes.p, n);
    return order ? order : (a->bytes.n > b->bytes.n) - (a->bytes.n < b->bytes.n);
}

static void grow(struct piece_trie *t, size_t count)
{
    size_t before = t->count;
    if (count <= before)
        return;
    count = count > 2 * before ? count : 2 * before;
    t->cells = mem_resize(t->cells, count, sizeof *t->cells);
    for (size_t i = before; i < count; i++)
        t->cells[i] = (struct cell){FREE, 0, -1};
    t->count = count;
}

static void enqueue(struct builder *b, struct pending p)
{
    if (b->tail == b->queue_cap) {
        b->queue_cap = b->queue_cap ? 2 * b->queue_cap : 1024;
        b->queue = mem_resize(b->queue, b->queue_cap, sizeof *b->queue);
    }
    b->queue[b->tail++] = p;
}

/* A base at which all labels' cells are free, the lowest one as far as is looked. Crowded ground is
 * left behind for good, or building a large vocabulary would take quadratic time: where hardly a
 * cell was free on the way to a success, or where many free ones did not do. */
static size_t find_base(struct builder *b, const uint8_t *labels, size_t count)
{
    struct piece_trie *t = b->t;
    size_t begin = b->first_free, taken = 0, tried = 0;
    for (size_t at = begin;; at++) {
        grow(t, at + 2 * BYTES);
        if (t->cells[at].parent != FREE) {
            taken++;
            continue;
        }
        size_t base = at - labels[0], i = 1;
        while (at >= labels[0] && i < count && t->cells[base + labels[i]].parent == FREE)
            i++;
        if (at >= labels[0] && i == count) {
            if (at - begin > BYTES && taken > (at - begin) / 20 * 19)
                b->first_free = at;
            return base;
        }
        if (++tried >= 64 && count > 1)
            b->first_free = at + 1;
    }
}

static void place_children(struct builder *b, const struct pending *p)
{
    uint8_t labels[BYTES];
    size_t first[BYTES + 1], count = 0, k = p->begin;
    if (k < p->end && b->keys[k].bytes.n == p->depth)
        b->t->cells[p->node].id = b->keys[k++].id;
    for (; k < p->end; k++) {
        assert(b->keys[k].bytes.n > p->depth && "pieces are unique");
        uint8_t label = (uint8_t)b->keys[k].bytes.p[p->depth];
        if (count && labels[count - 1] == label)
            continue;
        labels[count] = label;
        first[count++] = k;
    }
    first[count] = p->end;
    if (count == 0)
        return;
    size_t base = find_base(b, labels, count);
    b->t->cells[p->node].base = (int32_t)base;
    for (size_t i = 0; i < count; i++) {
        b->t->cells[base + labels[i]].parent = p->node;
        enqueue(
            b, (struct pending){first[i], first[i + 1], p->depth + 1, (int32_t)(base + labels[i])});
    }
    while (b->t->cells[b->first_free].parent != FREE)
        grow(b->t, ++b->first_free + 2 * BYTES);
}

struct piece_trie *piece_trie_new(struct piece_key *keys, size_t count)
{
    struct piece_trie *t = mem_zalloc(1, sizeof *t);
    struct builder b = {.t = t, .keys = keys, .first_free = ROOTS};
    size_t whole = 0;
    qsort(keys, count, sizeof *keys, by_root_and_bytes);
    while (whole < count && !keys[whole].continues)
        whole++;
    grow(t, 4 * BYTES);
    t->cells[0].parent = t->cells[1].parent = ROOT;
    enqueue(&b, (struct pending){0, whole, 0, 0});
    enqueue(&b, (struct pending){whole, count, 0, 1});
    while (b.head < b.tail) {
        struct pending p = b.queue[b.head++];
        place_children(&b, &p);
    }
    free(b.queue);
    return t;
}

void piece_trie_free(struct piece_trie *t)
{
    if (!t)
        return;
    free(t->cells);
    free(t);
}

int32_t piece_trie_longest(const struct piece_trie *t, bool continues, struct slice text,
                           size_t *piece_bytes)
{
    const struct cell *cells = t->cells;
    int32_t node = continues, best = -1;
    for (size_t i = 0; i < text.n; i++) {
        int32_t next = cells[node].base + (uint8_t)text.p[i];
        if (cells[next].parent != node)
            break;
        node = next;
        if (cells[node].id >= 0) {
            best = cells[node].id;
            *piece_bytes = i + 1;
        }
    }
    return best;
}
