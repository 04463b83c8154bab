/* Owns the counters in memory. Called by the learner on its thread. A bucket holds few of the
 * fields, so they are kept as pairs. */
#include "router/learned.h"

#include <stdlib.h>
#include "base/mem.h"

struct cell {
    int field;
    int64_t count;
};

struct bucket {
    int64_t start_us;
    struct cell *cells; /* owned; ascending fields */
    int count;
};

struct arm {
    struct htable_node node;
    struct slice context, name;          /* behind the struct */
    struct bucket *buckets[TALLY_KINDS]; /* owned; ascending */
    size_t count[TALLY_KINDS], room[TALLY_KINDS];
};

void learned_init(struct learned *l)
{
    *l = (struct learned){.units = 0};
    htable_init(&l->arms);
}

static struct arm *arm_of(struct htable_node *n)
{
    return CONTAINER_OF(n, struct arm, node);
}

static void free_arm(struct htable_node *n, void *ctx)
{
    struct learned *l = ctx;
    struct arm *a = arm_of(n);

    htable_remove(&l->arms, n);
    for (int k = 0; k < TALLY_KINDS; k++) {
        for (size_t i = 0; i < a->count[k]; i++)
            free(a->buckets[k][i].cells);
        free(a->buckets[k]);
    }
    free(a);
}

void learned_clear(struct learned *l)
{
    htable_each(&l->arms, free_arm, l);
    htable_clear(&l->arms);
    l->units = 0;
}

static uint64_t hash_of(struct slice context, struct slice arm)
{
    return htable_hash_id(htable_hash_slice(context) * 31 + htable_hash_slice(arm));
}

static struct arm *find_arm(const struct learned *l, struct slice context, struct slice name)
{
    for (struct htable_node *n = htable_first(&l->arms, hash_of(context, name)); n;
         n = htable_next(n))
        if (slice_eq(arm_of(n)->context, context) && slice_eq(arm_of(n)->name, name))
            return arm_of(n);
    return NULL;
}

static struct arm *make_arm(struct learned *l, struct slice context, struct slice name)
{
    struct arm *a = mem_zalloc(1, sizeof *a + context.n + name.n);
    char *p = (char *)(a + 1);

    memcpy(p, context.p, context.n);
    memcpy(p + context.n, name.p, name.n);
    a->context = slice_make(p, context.n);
    a->name = slice_make(p + context.n, name.n);
    htable_add(&l->arms, &a->node, hash_of(context, name));
    return a;
}

/* The place of a bucket that begins then, or where it belongs. Most are the newest. */
static size_t place_of(const struct arm *a, enum tally_kind kind, int64_t start_us)
{
    size_t i = a->count[kind];

    while (i > 0 && a->buckets[kind][i - 1].start_us >= start_us)
        i--;
    return i;
}

static struct bucket *bucket_of(struct learned *l, struct arm *a, enum tally_kind kind,
                                int64_t start_us)
{
    size_t i = place_of(a, kind, start_us);
    struct bucket *b;

    if (i < a->count[kind] && a->buckets[kind][i].start_us == start_us)
        return &a->buckets[kind][i];
    if (a->count[kind] == a->room[kind]) {
        a->room[kind] = a->room[kind] ? 2 * a->room[kind] : 4;
        a->buckets[kind] = mem_resize(a->buckets[kind], a->room[kind], sizeof *b);
    }
    b = &a->buckets[kind][i];
    memmove(b + 1, b, (a->count[kind] - i) * sizeof *b);
    *b = (struct bucket){.start_us = start_us};
    a->count[kind]++;
    l->units++;
    return b;
}

void learned_put(struct learned *l, const struct learn_unit_name *name, const struct tally *t)
{
    struct arm *a = find_arm(l, name->context, name->arm);
    struct bucket *b;
    int count = 0;

    for (int f = 0; f < TALLY_FIELDS; f++)
        count += t->count[f] != 0;
    if (!a)
        a = make_arm(l, name->context, name->arm);
    b = bucket_of(l, a, name->kind, name->start_us);
    if (b->count != count)
        b->cells = mem_resize(b->cells, count ? (size_t)count : 1, sizeof *b->cells);
    b->count = count;
    for (int f = 0, i = 0; f < TALLY_FIELDS; f++)
        if (t->count[f] != 0)
            b->cells[i++] = (struct cell){f, t->count[f]};
}

void learned_add(struct learned *l, const struct learn_unit_name *name, const struct tally *t)
{
    const struct arm *a = find_arm(l, name->context, name->arm);
    size_t i = a ? place_of(a, name->kind, name->start_us) : 0;
    struct tally sum = *t;

    if (a && i < a->count[name->kind] && a->buckets[name->kind][i].start_us == name->start_us) {
        const struct bucket *b = &a->buckets[name->kind][i];

        for (int c = 0; c < b->count; c++)
            tally_add(&sum, b->cells[c].field, b->cells[c].count);
    }
    learned_put(l, name, &sum);
}

struct forgetting {
    struct learned *l;
    int64_t now_us;
};

static void forget_old(struct htable_node *n, void *ctx)
{
    const struct forgetting *f = ctx;
    struct arm *a = arm_of(n);

    for (int k = 0; k < TALLY_KINDS; k++) {
        enum tally_kind kind = (enum tally_kind)k;
        int64_t oldest_us = tally_bucket_start(kind, f->now_us) - tally_keep_us(kind);
        size_t old = 0;

        while (old < a->count[k] && a->buckets[k][old].start_us < oldest_us)
            free(a->buckets[k][old++].cells);
        if (old == 0)
            continue;
        a->count[k] -= old;
        f->l->units -= old;
        memmove(a->buckets[k], a->buckets[k] + old, a->count[k] * sizeof *a->buckets[k]);
    }
    if (a->count[TALLY_SLOW] == 0 && a->count[TALLY_QUICK] == 0)
        free_arm(n, f->l);
}

void learned_forget(struct learned *l, int64_t now_us)
{
    struct forgetting f = {l, now_us};

    htable_each(&l->arms, forget_old, &f);
}

bool learned_view(const struct learned *l, struct slice context, struct slice arm,
                  enum tally_kind kind, int64_t now_us, int64_t half_life_ms,
                  struct tally_view *out)
{
    const struct arm *a = find_arm(l, context, arm);

    if (!a)
        return false;
    for (size_t i = 0; i < a->count[kind]; i++) {
        const struct bucket *b = &a->buckets[kind][i];
        double weight = tally_weight(kind, b->start_us, now_us, half_life_ms);

        for (int c = 0; c < b->count && weight > 0; c++)
            tally_view_add(out, b->cells[c].field, b->cells[c].count, weight);
    }
    return a->count[kind] > 0;
}

void learned_labels_since(const struct learned *l, struct slice context, struct slice arm,
                          int64_t since_us, struct tally_view *out)
{
    const struct arm *a = find_arm(l, context, arm);

    for (size_t i = a ? a->count[TALLY_QUICK] : 0; i-- > 0;) {
        const struct bucket *b = &a->buckets[TALLY_QUICK][i];

        if (b->start_us < since_us)
            break;
        for (int c = 0; c < b->count; c++)
            if (b->cells[c].field >= TALLY_LABELS)
                tally_view_add(out, b->cells[c].field, b->cells[c].count, 1);
    }
}

/* Labels of one bucket, as if all were of one moment. */
static void add_labels(const struct bucket *b, const struct tally_trust *trust, double weight,
                       int64_t when_us, struct change_labels *out)
{
    double labels[2] = {0, 0};
    enum tally_source s;
    bool good;

    for (int c = 0; c < b->count; c++)
        if (tally_label_is(b->cells[c].field, &s, &good))
            labels[good] += trust->source[s] * (double)b->cells[c].count / 1000;
    change_labels_add(out, when_us, weight * labels[true], weight * labels[false]);
}

bool learned_labels(const struct learned *l, struct slice context, struct slice arm,
                    const struct tally_trust *trust, int64_t now_us, int64_t half_life_ms,
                    struct change_labels *out)
{
    const struct arm *a = find_arm(l, context, arm);
    int64_t width_us = tally_bucket_us(TALLY_SLOW);

    if (!a)
        return false;
    for (size_t i = 0; i < a->count[TALLY_QUICK]; i++) {
        const struct bucket *b = &a->buckets[TALLY_QUICK][i];
        if (b->start_us >= out->bucket[0].start_us)
            add_labels(b, trust, 1, b->start_us, out);
    }
    for (size_t i = 0; i < a->count[TALLY_SLOW]; i++) {
        const struct bucket *b = &a->buckets[TALLY_SLOW][i];
        if (b->start_us + width_us <= out->bucket[0].start_us)
            add_labels(b, trust, tally_weight(TALLY_SLOW, b->start_us, now_us, half_life_ms),
                       b->start_us, out);
    }
    return true;
}

struct visiting {
    void (*fn)(struct slice context, struct slice arm, void *ctx);
    void *ctx;
};

static void visit(struct htable_node *n, void *ctx)
{
    const struct visiting *v = ctx;

    v->fn(arm_of(n)->context, arm_of(n)->name, v->ctx);
}

void learned_each(struct learned *l, void (*fn)(struct slice context, struct slice arm, void *ctx),
                  void *ctx)
{
    struct visiting v = {fn, ctx};

    htable_each(&l->arms, visit, &v);
}
