/* Owns the units. Called by evidence.c (adds), learner.c (flushes) and the stores (read). */
#include "router/learn_sheet.h"

#include <inttypes.h>
#include <stdlib.h>
#include "base/mem.h"
#include "router/learn_key.h"

void learn_sheet_init(struct learn_sheet *s, size_t max_units)
{
    *s = (struct learn_sheet){.max_units = max_units};
    list_init(&s->units);
    htable_init(&s->by_name);
}

void learn_sheet_clear(struct learn_sheet *s)
{
    LIST_FOREACH_SAFE (it, &s->units)
        free(CONTAINER_OF(it, struct learn_unit, link));
    list_init(&s->units);
    htable_clear(&s->by_name);
}

bool learn_sheet_empty(const struct learn_sheet *s)
{
    return list_empty(&s->units);
}

bool learn_unit_name_eq(const struct learn_unit_name *a, const struct learn_unit_name *b)
{
    return a->start_us == b->start_us && a->kind == b->kind && slice_eq(a->context, b->context) &&
           slice_eq(a->arm, b->arm);
}

uint64_t learn_unit_name_hash(const struct learn_unit_name *n)
{
    uint64_t names = htable_hash_slice(n->context) * 31 + htable_hash_slice(n->arm);

    return htable_hash_id(names ^ (uint64_t)n->start_us ^ (uint64_t)n->kind << 63);
}

static struct learn_unit *unit_of(struct htable_node *n)
{
    return CONTAINER_OF(n, struct learn_unit, node);
}

static struct learn_unit *new_unit(const struct learn_unit_name *name)
{
    struct learn_unit *u = mem_zalloc(1, sizeof *u + name->context.n + name->arm.n);
    char *p = (char *)(u + 1);

    u->name = *name;
    memcpy(p, name->context.p, name->context.n);
    u->name.context.p = p;
    p += name->context.n;
    memcpy(p, name->arm.p, name->arm.n);
    u->name.arm.p = p;
    return u;
}

struct tally *learn_sheet_unit(struct learn_sheet *s, const struct learn_unit_name *name)
{
    uint64_t hash = learn_unit_name_hash(name);

    for (struct htable_node *n = htable_first(&s->by_name, hash); n; n = htable_next(n))
        if (learn_unit_name_eq(&unit_of(n)->name, name))
            return &unit_of(n)->tally;
    if (s->by_name.count >= s->max_units) {
        s->refused++;
        return NULL;
    }
    struct learn_unit *u = new_unit(name);
    htable_add(&s->by_name, &u->node, hash);
    list_push_back(&s->units, &u->link);
    return &u->tally;
}

void learn_sheet_take(struct learn_sheet *from, struct learn_sheet *to, size_t most)
{
    for (size_t i = 0; i < most && !list_empty(&from->units); i++) {
        struct learn_unit *u = CONTAINER_OF(from->units.next, struct learn_unit, link);

        htable_remove(&from->by_name, &u->node);
        list_remove(&u->link);
        htable_add(&to->by_name, &u->node, u->node.hash);
        list_push_back(&to->units, &u->link);
    }
}

enum err learn_unit_name_write(const struct learn_unit_name *n, struct buf *out)
{
    return buf_printf(out, "%.*s %.*s %c %" PRId64, SLICE_ARG(n->context), SLICE_ARG(n->arm),
                      n->kind == TALLY_SLOW ? 's' : 'q', n->start_us);
}

bool learn_unit_name_read(struct slice text, struct learn_unit_name *out)
{
    struct learn_words w = {text};
    struct slice kind;

    if (!learn_words_next(&w, &out->context) || !learn_words_next(&w, &out->arm) ||
        !learn_words_next(&w, &kind) || !learn_words_int(&w, INT64_MIN, INT64_MAX, &out->start_us))
        return false;
    out->kind = slice_eq(kind, SLICE("s")) ? TALLY_SLOW : TALLY_QUICK;
    return w.rest.n == 0 && (out->kind == TALLY_SLOW || slice_eq(kind, SLICE("q")));
}
