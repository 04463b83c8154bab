/* Owns the cache of names, the queue of questions and the threads that answer them. Everything in
 * struct resolver is under its lock; getaddrinfo runs outside of it. A thread holds a reference of
 * its own, so that shutting down never waits for a name server: the last one to leave frees the
 * resolver. Lock order: the_lock before nothing else; resolver lock before a mailbox's. */
#include "backends/resolver.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#define TTL_US          (30 * INT64_C(1000000))
#define NEGATIVE_TTL_US (1 * INT64_C(1000000))
#define MAX_NAMES                                                                                  \
    256 /* names come from the policy file; this only bounds what many reloads leave behind */
#define MAX_THREADS 4 /* one name server that does not answer must not hold up the others */
#define STACK_BYTES (512 * 1024)

struct name {
    struct list link;    /* in resolver.names, most recently asked first */
    struct list queued;  /* in resolver.queue while no thread has taken it */
    struct list waiters; /* of struct resolver_lookup; not empty only while pending */
    struct resolver_addrs addrs;
    int64_t expires_us;
    bool pending;
    char host[]; /* NUL-terminated */
};

struct resolver_lookup {
    struct message msg; /* link: in name.waiters, then in the mailbox */
    struct mailbox *reply_to;
    resolver_fn fn; /* NULL: cancelled; asker's thread only */
    void *ctx;
    uint16_t port;
    struct resolver_addrs addrs;
};

struct resolver {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct list names, queue;
    int name_count, threads, idle_threads;
    int users; /* the_lock's: references by workers */
    int refs;  /* users (as one) and threads */
    bool closing;
};

/* The process has one resolver; who comes first makes it. The only file-scope state of this room.
 */
static pthread_mutex_t the_lock = PTHREAD_MUTEX_INITIALIZER;
static struct resolver *the_resolver;

static void set_port(struct resolver_addrs *a, uint16_t port)
{
    for (int i = 0; i < a->count; i++) {
        if (a->addr[i].u.sa.sa_family == AF_INET6)
            a->addr[i].u.in6.sin6_port = htons(port);
        else
            a->addr[i].u.in.sin_port = htons(port);
    }
}

bool resolver_numeric(const char *host, uint16_t port, struct resolver_addrs *out)
{
    struct resolver_addr *a = &out->addr[0];

    memset(a, 0, sizeof *a);
    out->count = 0;
    if (inet_pton(AF_INET, host, &a->u.in.sin_addr) == 1) {
        a->u.in.sin_family = AF_INET;
        a->len = sizeof a->u.in;
    } else if (inet_pton(AF_INET6, host, &a->u.in6.sin6_addr) == 1) {
        a->u.in6.sin6_family = AF_INET6;
        a->len = sizeof a->u.in6;
    } else {
        return false;
    }
    out->count = 1;
    set_port(out, port);
    return true;
}

/* ---- life ---- */

static struct resolver *resolver_make(void)
{
    struct resolver *r = mem_zalloc(1, sizeof *r);

    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    list_init(&r->names);
    list_init(&r->queue);
    r->refs = 1;
    return r;
}

struct resolver *resolver_ref(void)
{
    struct resolver *r;

    pthread_mutex_lock(&the_lock);
    if (!the_resolver)
        the_resolver = resolver_make();
    r = the_resolver;
    r->users++;
    pthread_mutex_unlock(&the_lock);
    return r;
}

/* Called with the lock held; gives it back. */
static void release_locked(struct resolver *r)
{
    bool last = --r->refs == 0;

    pthread_mutex_unlock(&r->lock);
    if (!last)
        return;
    LIST_FOREACH_SAFE (it, &r->names)
        free(CONTAINER_OF(it, struct name, link));
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void resolver_unref(struct resolver *r)
{
    bool last;

    if (!r)
        return;
    pthread_mutex_lock(&the_lock);
    last = --r->users == 0;
    if (last)
        the_resolver = NULL;
    pthread_mutex_unlock(&the_lock);
    if (!last)
        return;
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    pthread_cond_broadcast(&r->work);
    release_locked(r);
}

/* ---- answering ---- */

static void deliver(struct message *m, void *receiver_ctx)
{
    struct resolver_lookup *l = CONTAINER_OF(m, struct resolver_lookup, msg);

    (void)receiver_ctx;
    if (l->fn)
        l->fn(l->ctx, &l->addrs);
    free(l);
}

static void discard(struct message *m)
{
    free(CONTAINER_OF(m, struct resolver_lookup, msg));
}

static void query(const char *host, struct resolver_addrs *out)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;

    out->count = 0;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return;
    for (struct addrinfo *ai = found; ai && out->count < RESOLVER_MAX_ADDRS; ai = ai->ai_next) {
        if (ai->ai_addrlen > sizeof out->addr[0].u)
            continue;
        memset(&out->addr[out->count], 0, sizeof out->addr[0]);
        memcpy(&out->addr[out->count].u, ai->ai_addr, ai->ai_addrlen);
        out->addr[out->count++].len = ai->ai_addrlen;
    }
    freeaddrinfo(found);
}

/* Called with the lock held. */
static void answer(struct name *n, const struct resolver_addrs *addrs)
{
    n->addrs = *addrs;
    n->pending = false;
    n->expires_us = clock_mono_us() + (addrs->count ? TTL_US : NEGATIVE_TTL_US);
    while (!list_empty(&n->waiters)) {
        struct resolver_lookup *l = CONTAINER_OF(n->waiters.next, struct resolver_lookup, msg.link);

        list_remove(&l->msg.link);
        l->addrs = *addrs;
        set_port(&l->addrs, l->port);
        mailbox_post(l->reply_to, &l->msg);
    }
}

static void *serve(void *arg)
{
    struct resolver *r = arg;
    struct resolver_addrs addrs;

    pthread_mutex_lock(&r->lock);
    for (;;) {
        struct name *n;

        while (list_empty(&r->queue) && !r->closing) {
            r->idle_threads++;
            pthread_cond_wait(&r->work, &r->lock);
            r->idle_threads--;
        }
        if (r->closing)
            break;
        n = CONTAINER_OF(r->queue.next, struct name, queued);
        list_remove(&n->queued);
        pthread_mutex_unlock(&r->lock); /* a pending name is not freed */
        query(n->host, &addrs);
        pthread_mutex_lock(&r->lock);
        answer(n, &addrs);
    }
    release_locked(r);
    return NULL;
}

/* Called with the lock held. */
static void start_thread(struct resolver *r)
{
    if (thread_start_detached(STACK_BYTES, serve, r) != 0)
        return;
    r->threads++;
    r->refs++;
}

/* ---- asking ---- */

static struct name *find(struct resolver *r, const char *host)
{
    LIST_FOREACH (it, &r->names) {
        struct name *n = CONTAINER_OF(it, struct name, link);

        if (strcasecmp(n->host, host) == 0)
            return n;
    }
    return NULL;
}

/* Makes room by dropping the name that was asked for least recently. */
static void evict(struct resolver *r)
{
    for (struct list *it = r->names.prev; it != &r->names; it = it->prev) {
        struct name *n = CONTAINER_OF(it, struct name, link);

        if (!n->pending) {
            list_remove(&n->link);
            free(n);
            r->name_count--;
            return;
        }
    }
}

static struct name *find_or_add(struct resolver *r, const char *host)
{
    struct name *n = find(r, host);
    size_t bytes = strlen(host) + 1;

    if (n) {
        list_remove(&n->link);
        list_push_front(&r->names, &n->link);
        return n;
    }
    if (r->name_count >= MAX_NAMES)
        evict(r);
    n = mem_zalloc(1, sizeof *n + bytes);
    memcpy(n->host, host, bytes);
    list_init(&n->queued);
    list_init(&n->waiters);
    list_push_front(&r->names, &n->link);
    r->name_count++;
    return n;
}

/* Called with the lock held. */
static struct resolver_lookup *enqueue(struct resolver *r, struct name *n, struct mailbox *reply_to)
{
    struct resolver_lookup *l;

    if (!n->pending && r->idle_threads == 0 && r->threads < MAX_THREADS)
        start_thread(r);
    if (r->threads == 0)
        return NULL;
    l = mem_zalloc(1, sizeof *l);
    l->msg.deliver = deliver;
    l->msg.discard = discard;
    l->reply_to = reply_to;
    list_push_back(&n->waiters, &l->msg.link);
    if (!n->pending) {
        n->pending = true;
        list_push_back(&r->queue, &n->queued);
        pthread_cond_signal(&r->work);
    }
    return l;
}

bool resolver_ask(struct resolver *r, const char *host, uint16_t port, struct mailbox *reply_to,
                  resolver_fn fn, void *ctx, struct resolver_addrs *out,
                  struct resolver_lookup **lookup)
{
    bool cached = false;
    struct name *n;

    *lookup = NULL;
    pthread_mutex_lock(&r->lock);
    n = find_or_add(r, host);
    if (!n->pending && clock_mono_us() < n->expires_us) {
        *out = n->addrs;
        set_port(out, port);
        cached = true;
    } else {
        *lookup = enqueue(r, n, reply_to);
        if (*lookup) {
            (*lookup)->fn = fn;
            (*lookup)->ctx = ctx;
            (*lookup)->port = port;
        }
    }
    pthread_mutex_unlock(&r->lock);
    return cached;
}

void resolver_cancel(struct resolver_lookup *l)
{
    l->fn = NULL;
}

void resolver_forget(struct resolver *r, struct mailbox *reply_to)
{
    pthread_mutex_lock(&r->lock);
    LIST_FOREACH (it, &r->names) {
        struct name *n = CONTAINER_OF(it, struct name, link);

        LIST_FOREACH_SAFE (w, &n->waiters) {
            struct resolver_lookup *l = CONTAINER_OF(w, struct resolver_lookup, msg.link);

            if (l->reply_to == reply_to) {
                list_remove(w);
                free(l);
            }
        }
    }
    pthread_mutex_unlock(&r->lock);
}
