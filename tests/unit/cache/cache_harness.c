/* See the header. Used by the tests of the cache and by its bench. */
#include "tests/unit/cache/cache_harness.h"

#include <assert.h>
#include <poll.h>
#include "base/clock.h"

static void on_ask(struct message *m, void *ctx)
{
    struct cache_harness *h = ctx;
    list_push_back(&h->arrived, &m->link);
}

static void drop_ask(struct message *m)
{
    cache_ask_free(CONTAINER_OF(m, struct cache_ask, msg));
}

static void on_order(struct message *m, void *ctx)
{
    struct cache_harness *h = ctx;
    h->order = CONTAINER_OF(m, struct cache_order, msg);
}

static void drop_order(struct message *m)
{
    cache_order_free(CONTAINER_OF(m, struct cache_order, msg));
}

void cache_harness_init(struct cache_harness *h)
{
    *h = (struct cache_harness){.cache = NULL};
    list_init(&h->arrived);
    int rc = mailbox_init(&h->mail);
    assert(rc == 0);
    (void)rc;
}

void cache_harness_clear(struct cache_harness *h)
{
    cache_close(h->cache);
    mailbox_drain(&h->mail, h);
    LIST_FOREACH_SAFE (it, &h->arrived)
        cache_ask_free(CONTAINER_OF(it, struct cache_ask, msg.link));
    mailbox_clear(&h->mail);
}

static void wait_mail(struct cache_harness *h)
{
    struct pollfd p = {.fd = h->mail.fd, .events = POLLIN};
    int rc = poll(&p, 1, 20000);
    assert(rc == 1);
    (void)rc;
    mailbox_drain(&h->mail, h);
}

void cache_harness_now(struct cache_fields *f, int64_t life_ms)
{
    f->created_ms = clock_wall_us() / 1000;
    f->expires_ms = f->created_ms + life_ms;
}

void cache_harness_ask(struct cache_harness *h, uint64_t id, const struct cache_fields *f,
                       const struct cache_rules *rules, bool lead)
{
    struct cache_question q = {.exact = f->exact,
                               .rest = f->rest,
                               .scope = f->scope,
                               .text = f->text,
                               .asker = f->owner,
                               .rules = *rules};
    struct cache_ask *a = cache_ask_new(&q, f->vector, f->dim);

    memcpy(a->fingerprint, f->fingerprint, sizeof a->fingerprint);
    a->msg = (struct message){.deliver = on_ask, .discard = drop_ask};
    list_init(&a->msg.link);
    a->reply_to = &h->mail;
    a->id = id;
    a->lead = lead;
    cache_lookup(h->cache, a);
}

struct cache_ask *cache_harness_next(struct cache_harness *h)
{
    while (list_empty(&h->arrived))
        wait_mail(h);
    struct cache_ask *a = CONTAINER_OF(h->arrived.next, struct cache_ask, msg.link);
    list_remove(&a->msg.link);
    return a;
}

struct cache_entry *cache_harness_look_up(struct cache_harness *h, const struct cache_fields *f,
                                          const struct cache_rules *rules)
{
    cache_harness_ask(h, 1, f, rules, false);
    struct cache_ask *a = cache_harness_next(h);
    struct cache_entry *e = a->entry;

    assert(a->id == 1 && !e == (a->verdict == CACHE_MISS));
    a->entry = NULL;
    cache_ask_free(a);
    return e;
}

uint64_t cache_harness_order(struct cache_harness *h, enum cache_order_kind kind, const char *scope,
                             const char *name, uint64_t id)
{
    struct cache_order *o = cache_order_new(kind, slice_str(scope), slice_str(name));

    o->msg = (struct message){.deliver = on_order, .discard = drop_order};
    list_init(&o->msg.link);
    o->reply_to = &h->mail;
    o->id = id;
    h->order = NULL;
    cache_give_order(h->cache, o);
    while (!h->order)
        wait_mail(h);
    assert(h->order->err == ERR_OK);
    uint64_t value = h->order->value;
    cache_order_free(h->order);
    return value;
}
