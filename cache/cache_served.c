/* Owns the rows. Called by cache_meaning.c. */
#include "cache/cache_served.h"

#include <stdlib.h>
#include "base/mem.h"

struct row {
    struct htable_node node;
    struct list link;
    struct digest reply;
    struct cache_label label;
    bool said[2]; /* wrong, right */
};

static void drop(struct cache_served *s, struct row *r)
{
    htable_remove(&s->by_reply, &r->node);
    list_remove(&r->link);
    free(r);
}

static struct row *find(const struct cache_served *s, const struct digest *reply)
{
    struct htable_node *n = htable_first(&s->by_reply, htable_hash_digest(reply));

    for (; n; n = htable_next(n)) {
        struct row *r = CONTAINER_OF(n, struct row, node);
        if (digest_eq(r->reply, *reply))
            return r;
    }
    return NULL;
}

void cache_served_init(struct cache_served *s)
{
    htable_init(&s->by_reply);
    list_init(&s->order);
}

void cache_served_clear(struct cache_served *s)
{
    while (!list_empty(&s->order))
        drop(s, CONTAINER_OF(s->order.next, struct row, link));
    htable_clear(&s->by_reply);
}

void cache_served_add(struct cache_served *s, const struct digest *reply,
                      const struct cache_label *label)
{
    struct row *r = find(s, reply);

    if (r)
        drop(s, r);
    else if (s->by_reply.count >= CACHE_SERVED_MAX)
        drop(s, CONTAINER_OF(s->order.next, struct row, link));
    r = mem_zalloc(1, sizeof *r);
    r->reply = *reply;
    r->label = *label;
    htable_add(&s->by_reply, &r->node, htable_hash_digest(reply));
    list_push_back(&s->order, &r->link);
}

bool cache_served_word(struct cache_served *s, const struct digest *reply, bool right,
                       double weight, struct cache_label *out)
{
    struct row *r = find(s, reply);

    if (!r || r->said[right])
        return false;
    r->said[right] = true;
    *out = r->label;
    out->right = right;
    out->weight = weight;
    return true;
}
