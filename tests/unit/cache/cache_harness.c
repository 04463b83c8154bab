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

static void on_job(struct message *m, void *ctx)
{
    struct cache_harness *h = ctx;
    h->job = CONTAINER_OF(m, struct admin_job, msg);
}

static void drop_job(struct message *m)
{
    admin_job_free(CONTAINER_OF(m, struct admin_job, msg));
}

const struct cache_rules cache_harness_by_meaning = {.exact = true,
                                                     .semantic = true,
                                                     .store = true,
                                                     .max_error = 0.05,
                                                     .audit_min = 0.02,
                                                     .guards = GUARD_ALL,
                                                     .ttl_ms = 3600000,
                                                     .timely_ttl_ms = 60000,
                                                     .max_age_ms = -1};

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
    int rc = poll(&p, 1, 120000);
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

void cache_harness_give(struct cache_harness *h, struct admin_job *j)
{
    j->msg.deliver = on_job;
    j->msg.discard = drop_job;
    j->reply_to = &h->mail;
    h->job = NULL;
    admin_job_give(h->cache, j);
}

struct admin_job *cache_harness_do(struct cache_harness *h, struct admin_job *j)
{
    cache_harness_give(h, j);
    while (!h->job)
        wait_mail(h);
    return h->job;
}

void cache_harness_flush(struct cache_harness *h, const char *scope)
{
    struct admin_job *j = admin_job_new(ADMIN_FLUSH);

    j->filter = (struct admin_filter){.by = ADMIN_BY_SCOPE, .scope = slice_str(scope)};
    cache_harness_do(h, j);
    assert(j->err == ERR_OK);
    admin_job_free(j);
}

bool cache_harness_remove(struct cache_harness *h, const char *scope, uint64_t id)
{
    struct admin_job *j = admin_job_new(ADMIN_DELETE);

    j->ids[0] = (struct store_ref){slice_str(scope), id};
    j->id_count = 1;
    cache_harness_do(h, j);
    bool was_there = j->err == ERR_OK;
    assert(was_there || j->err == ERR_NOT_FOUND);
    admin_job_free(j);
    return was_there;
}

uint64_t cache_harness_remove_tag(struct cache_harness *h, const char *scope, const char *tag)
{
    char cursor[ADMIN_CURSOR_BYTES] = "0";
    uint64_t removed = 0;

    do {
        struct admin_job *j = admin_job_new(ADMIN_REMOVE);
        j->filter = (struct admin_filter){
            .by = ADMIN_BY_SCOPE | ADMIN_BY_TAG, .scope = slice_str(scope), .tag = slice_str(tag)};
        j->limit = 1000;
        j->cursor = slice_str(cursor);
        cache_harness_do(h, j);
        assert(j->err == ERR_OK);
        removed += j->removed;
        snprintf(cursor, sizeof cursor, "%s", j->next);
        admin_job_free(j);
    } while (strcmp(cursor, "0") != 0);
    return removed;
}
