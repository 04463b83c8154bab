/* Seeded, stratified splits. Called by cmd_train. */
#include "router/encoder/train/split.h"

#include <stdlib.h>
#include "base/digest.h"
#include "base/mem.h"
#include "base/rng.h"

struct place {
    uint64_t hash; /* of the text, and the seed: the order within a label */
    int label;
    size_t row;
};

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static struct place *places(const struct split_row *rows, size_t count, uint64_t seed)
{
    struct place *p = mem_alloc((count + 1) * sizeof *p);
    for (size_t i = 0; i < count; i++) {
        struct digest d = digest_of(rows[i].text);
        struct rng r;
        uint64_t hash;
        memcpy(&hash, d.bytes, sizeof hash);
        rng_seed(&r, hash ^ seed);
        p[i] = (struct place){rng_u64(&r), rows[i].label, i};
    }
    qsort(p, count, sizeof *p, by_place);
    return p;
}

/* One past the last row of the label that begins at `from`. */
static size_t end_of(const struct place *p, size_t count, size_t from)
{
    size_t end = from;
    while (end < count && p[end].label == p[from].label)
        end++;
    return end;
}

void split_held_out(const struct split_row *rows, size_t count, double share, uint64_t seed,
                    bool *held)
{
    struct place *p = places(rows, count, seed);
    for (size_t from = 0, end; from < count; from = end) {
        end = end_of(p, count, from);
        size_t cut = from + (size_t)(share * (double)(end - from) + 0.5);
        while (cut > from && cut < end && p[cut].hash == p[cut - 1].hash)
            cut++;
        for (size_t i = from; i < end; i++)
            held[p[i].row] = i < cut && cut < end;
    }
    free(p);
}

void split_folds(const struct split_row *rows, size_t count, int folds, uint64_t seed, int *fold)
{
    struct place *p = places(rows, count, seed);
    size_t turn = 0; /* goes on from label to label, so that small labels fill all folds */
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && (p[i].label != p[i - 1].label || p[i].hash != p[i - 1].hash))
            turn++;
        fold[p[i].row] = (int)(turn % (size_t)folds);
    }
    free(p);
}
