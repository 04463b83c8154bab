/* Owns the socket, what waits to be written, and the calls that wait for an answer. The only file
 * that includes hiredis. Called by store_redis.c.
 *
 *   (pause) -> resolving -> connecting -> greeting (AUTH, SELECT, PING) -> up -> lost -> (pause)
 *
 * Names are redis_names' to resolve. */
#include "cache/redis_link.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/redis_url.h"
#include "base/rng.h"
#include "cache/redis_names.h"

#define CONNECT_US      2000000
#define GREETING_US     2000000
#define BACKOFF_MIN_US  50000
#define BACKOFF_MAX_US  5000000
#define READ_BYTES      65536
#define MAX_REPLY_BYTES ((size_t)64 << 20)
#define MAX_ELEMENTS    ((size_t)1 << 20)
#define MAX_WORDS       256

enum state { PAUSED, RESOLVING, CONNECTING, GREETING, UP };

struct link_call {
    struct list link;
    int64_t due_us, sent_us;
    redis_reply_fn *fn; /* NULL: it was answered, too late for the reply */
    void *ctx;
};

struct redis_link {
    struct redis_link_options opt;
    struct redis_url url;
    enum state state;
    int fd, resolver_fd;
    struct event *readable, *writable, *timer, *failing, *resolving; /* owned */
    struct list calls;  /* of struct link_call: on this connection, oldest first */
    struct list failed; /* of struct link_call: to be told so */
    struct buf out;
    redisReader *reader;
    redisReplyObjectFunctions functions;
    size_t unparsed_bytes; /* since the last whole reply */
    struct redis_names addresses;
    int next_address;
    int64_t backoff_us, since_us; /* since: of the state */
    int64_t backoff_kept_us;      /* as it was before the connection stood */
    int64_t timer_at_us;          /* 0: not set */
    struct rng rng;
    const char *distrusted;
    char why[160];
};

/* ---- replies ---- */

static const redisReply *raw(const struct redis_reply *r)
{
    return (const redisReply *)(const void *)r;
}

enum redis_kind redis_reply_kind(const struct redis_reply *r)
{
    switch (raw(r)->type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
        return REDIS_KIND_TEXT;
    case REDIS_REPLY_INTEGER:
        return REDIS_KIND_INTEGER;
    case REDIS_REPLY_ARRAY:
        return REDIS_KIND_ARRAY;
    case REDIS_REPLY_ERROR:
        return REDIS_KIND_ERROR;
    default:
        return REDIS_KIND_NIL;
    }
}

struct slice redis_reply_text(const struct redis_reply *r)
{
    enum redis_kind k = redis_reply_kind(r);
    bool text = k == REDIS_KIND_TEXT || k == REDIS_KIND_ERROR;

    return text ? slice_make(raw(r)->str, (size_t)raw(r)->len) : SLICE("");
}

int64_t redis_reply_integer(const struct redis_reply *r)
{
    return redis_reply_kind(r) == REDIS_KIND_INTEGER ? raw(r)->integer : 0;
}

size_t redis_reply_count(const struct redis_reply *r)
{
    return redis_reply_kind(r) == REDIS_KIND_ARRAY ? raw(r)->elements : 0;
}

const struct redis_reply *redis_reply_at(const struct redis_reply *r, size_t i)
{
    assert(i < redis_reply_count(r));
    return (const struct redis_reply *)(const void *)raw(r)->element[i];
}

/* ---- calls ---- */

static void answer(struct link_call *c, enum err err, const redisReply *reply)
{
    redis_reply_fn *fn = c->fn;

    c->fn = NULL;
    if (fn)
        fn(c->ctx, err, (const struct redis_reply *)(const void *)reply);
}

static void fail_later(struct redis_link *l, struct link_call *c)
{
    list_push_back(&l->failed, &c->link);
    event_active(l->failing, EV_TIMEOUT, 0);
}

static void on_failing(evutil_socket_t fd, short what, void *ctx)
{
    struct redis_link *l = ctx;
    struct list mine;

    (void)fd, (void)what;
    list_init(&mine);
    while (!list_empty(&l->failed)) { /* callbacks may add more: for the next turn */
        struct list *first = l->failed.next;
        list_remove(first);
        list_push_back(&mine, first);
    }
    while (!list_empty(&mine)) {
        struct link_call *c = CONTAINER_OF(mine.next, struct link_call, link);
        list_remove(&c->link);
        answer(c, ERR_OVERLOADED, NULL);
        free(c);
    }
}

static void set_timer(struct redis_link *l, int64_t at_us)
{
    int64_t in_us = at_us - clock_mono_us();

    l->timer_at_us = at_us ? at_us : 1;
    in_us = in_us > 0 ? in_us : 0;
    event_add(l->timer, &(struct timeval){.tv_sec = in_us / 1000000, .tv_usec = in_us % 1000000});
}

static void call_now(struct redis_link *l, const struct slice *words, size_t count,
                     int64_t budget_us, redis_reply_fn *fn, void *ctx)
{
    struct link_call *c = mem_zalloc(1, sizeof *c);
    const char *text[MAX_WORDS];
    size_t bytes[MAX_WORDS];
    char *command = NULL;
    bool queued = false;

    assert(count > 0 && count <= MAX_WORDS);
    c->fn = fn;
    c->ctx = ctx;
    c->sent_us = clock_mono_us();
    c->due_us = c->sent_us + budget_us;
    for (size_t i = 0; i < count; i++) {
        text[i] = words[i].n ? words[i].p : "";
        bytes[i] = words[i].n;
    }
    if (l->state >= GREETING) {
        int n = redisFormatCommandArgv(&command, (int)count, text, bytes);
        queued = n > 0 && buf_append(&l->out, command, (size_t)n) == ERR_OK;
        redisFreeCommand(command);
    }
    if (!queued) {
        fail_later(l, c);
        return;
    }
    list_push_back(&l->calls, &c->link);
    event_add(l->writable, NULL);
    if (!l->timer_at_us || c->due_us < l->timer_at_us)
        set_timer(l, c->due_us);
}

void redis_link_call(struct redis_link *l, const struct slice *words, size_t count,
                     int64_t budget_us, redis_reply_fn *fn, void *ctx)
{
    if (l->state == UP && budget_us > 0) {
        call_now(l, words, count, budget_us, fn, ctx);
        return;
    }
    struct link_call *c = mem_zalloc(1, sizeof *c);
    c->fn = fn;
    c->ctx = ctx;
    fail_later(l, c);
}

/* ---- the connection ---- */

static void hang_up(struct redis_link *l)
{
    event_del(l->timer);
    l->timer_at_us = 0;
    if (l->readable) {
        event_free(l->readable);
        event_free(l->writable);
        l->readable = l->writable = NULL;
    }
    if (l->resolving) {
        event_free(l->resolving);
        l->resolving = NULL;
        close(l->resolver_fd);
    }
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    if (l->reader)
        redisReaderFree(l->reader);
    l->reader = NULL;
    buf_clear(&l->out);
    while (!list_empty(&l->calls)) {
        struct list *first = l->calls.next;
        list_remove(first);
        list_push_back(&l->failed, first);
    }
    if (!list_empty(&l->failed))
        event_active(l->failing, EV_TIMEOUT, 0);
}

static void lose(struct redis_link *l, const char *why)
{
    double jitter = 0.5 + 0.5 * rng_unit(&l->rng);
    bool more_addresses = l->state == CONNECTING && ++l->next_address < l->addresses.count;

    snprintf(l->why, sizeof l->why, "%s", why);
    hang_up(l);
    l->state = PAUSED;
    l->distrusted = NULL;
    l->since_us = clock_mono_us();
    set_timer(l, more_addresses ? 0 : l->since_us + (int64_t)((double)l->backoff_us * jitter));
    if (more_addresses)
        return;
    l->addresses.count = 0;
    l->backoff_us = l->backoff_us * 2 < BACKOFF_MAX_US ? l->backoff_us * 2 : BACKOFF_MAX_US;
    l->opt.down(l->opt.ctx, l->why);
}

static void lose_distrusted(struct redis_link *l)
{
    char why[160];

    snprintf(why, sizeof why, "%s", l->distrusted);
    /* A server that lets us in and then refuses is not asked ever faster. */
    if (l->state == UP && l->backoff_us < l->backoff_kept_us)
        l->backoff_us = l->backoff_kept_us;
    lose(l, why);
}

void redis_link_distrust(struct redis_link *l, const char *why)
{
    l->distrusted = why;
    set_timer(l, 0);
}

static void on_greeted(void *ctx, enum err err, const struct redis_reply *r)
{
    struct redis_link *l = ctx;
    char why[160];

    if (l->state != GREETING)
        return; /* lost meanwhile, which has been said */
    if (!slice_eq(r ? redis_reply_text(r) : SLICE(""), SLICE("PONG"))) {
        struct slice said = r ? redis_reply_text(r) : SLICE("nothing");
        snprintf(why, sizeof why, "instead of PONG it says: %.*s", said.n < 100 ? (int)said.n : 100,
                 said.p);
        if (l->distrusted == NULL)
            snprintf(l->why, sizeof l->why, "%s", why);
        redis_link_distrust(l, l->why);
        return;
    }
    (void)err;
    l->state = UP;
    l->backoff_kept_us = l->backoff_us;
    l->backoff_us = BACKOFF_MIN_US;
    l->opt.up(l->opt.ctx);
}

static void on_let_in(void *ctx, enum err err, const struct redis_reply *r)
{
    struct redis_link *l = ctx;

    (void)err;
    if (l->state != GREETING || !r || redis_reply_kind(r) != REDIS_KIND_ERROR || l->distrusted)
        return;
    struct slice said = redis_reply_text(r);
    snprintf(l->why, sizeof l->why, "%.*s", said.n < 150 ? (int)said.n : 150, said.p);
    redis_link_distrust(l, l->why);
}

static void greet(struct redis_link *l)
{
    char db[16];
    struct slice auth[3] = {SLICE("AUTH")}, ping = SLICE("PING");
    size_t n = 1;

    l->state = GREETING;
    l->since_us = clock_mono_us();
    event_del(l->timer);
    l->timer_at_us = 0;
    if (l->url.user[0])
        auth[n++] = slice_str(l->url.user);
    if (l->url.password[0]) {
        auth[n++] = slice_str(l->url.password);
        call_now(l, auth, n, GREETING_US, on_let_in, l);
    }
    if (l->url.db) {
        snprintf(db, sizeof db, "%d", l->url.db);
        call_now(l, (struct slice[]){SLICE("SELECT"), slice_str(db)}, 2, GREETING_US, on_let_in, l);
    }
    call_now(l, &ping, 1, GREETING_US, on_greeted, l);
}

/* An array as long as a stranger says would be allocated before its elements are there. */
static void *create_array(const redisReadTask *task, int elements)
{
    redisReply *r = elements >= 0 && (size_t)elements <= MAX_ELEMENTS ? calloc(1, sizeof *r) : NULL;

    if (!r)
        return NULL;
    r->type = REDIS_REPLY_ARRAY;
    r->elements = (size_t)elements;
    if (elements > 0 && !(r->element = calloc((size_t)elements, sizeof *r->element))) {
        free(r);
        return NULL;
    }
    if (task->parent) {
        redisReply *parent = task->parent->obj;
        parent->element[task->idx] = r;
    }
    return r;
}

static void take_reply(struct redis_link *l, redisReply *reply)
{
    l->unparsed_bytes = 0;
    if (list_empty(&l->calls)) {
        redis_link_distrust(l, "it speaks without being asked");
    } else {
        struct link_call *c = CONTAINER_OF(l->calls.next, struct link_call, link);
        list_remove(&c->link);
        answer(c, ERR_OK, reply);
        free(c);
    }
    freeReplyObject(reply);
}

/* false: the connection was given up. */
static bool take_replies(struct redis_link *l)
{
    while (!l->distrusted) {
        void *reply = NULL;
        if (redisReaderGetReply(l->reader, &reply) != REDIS_OK) {
            char why[160];
            snprintf(why, sizeof why, "not Redis's protocol: %s", l->reader->errstr);
            lose(l, why);
            return false;
        }
        if (!reply)
            return true;
        take_reply(l, reply);
    }
    lose_distrusted(l);
    return false;
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct redis_link *l = ctx;
    char bytes[READ_BYTES];

    (void)what;
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lose(l, n == 0 ? "it closed the connection" : strerror(errno));
        return;
    }
    l->unparsed_bytes += (size_t)n;
    redisReaderFeed(l->reader, bytes, (size_t)n);
    if (take_replies(l) && l->unparsed_bytes > MAX_REPLY_BYTES)
        lose(l, "its reply is too large");
}

static void finish_connect(struct redis_link *l)
{
    int error = 0;
    socklen_t n = sizeof error;

    if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0)
        error = errno;
    if (error)
        lose(l, strerror(error));
    else
        greet(l);
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    struct redis_link *l = ctx;

    (void)what;
    if (l->state == CONNECTING) {
        finish_connect(l);
        return;
    }
    while (buf_len(&l->out)) {
        struct slice s = buf_slice(&l->out);
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            event_add(l->writable, NULL);
            return;
        }
        if (n < 0) {
            lose(l, strerror(errno));
            return;
        }
        buf_consume(&l->out, (size_t)n);
    }
    buf_shrink(&l->out, READ_BYTES);
}

static void connect_to(struct redis_link *l, const struct sockaddr *address, socklen_t bytes)
{
    int on = 1;

    l->state = CONNECTING;
    l->since_us = clock_mono_us();
    l->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0) {
        lose(l, strerror(errno));
        return;
    }
    if (address->sa_family != AF_UNIX) {
        setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(l->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
    int rc = connect(l->fd, address, bytes);
    if (rc != 0 && errno != EINPROGRESS) {
        lose(l, strerror(errno));
        return;
    }
    l->reader = redisReaderCreate();
    mem_need(l->reader);
    l->functions = *l->reader->fn;
    l->functions.createArray = create_array;
    l->reader->fn = &l->functions;
    l->unparsed_bytes = 0;
    l->readable = event_new(l->opt.base, l->fd, EV_READ | EV_PERSIST, on_readable, l);
    l->writable = event_new(l->opt.base, l->fd, EV_WRITE, on_writable, l);
    mem_need(l->readable);
    mem_need(l->writable);
    event_add(l->readable, NULL);
    event_add(l->writable, NULL);
    set_timer(l, l->since_us + CONNECT_US);
}

/* ---- names ---- */

static void connect_next(struct redis_link *l)
{
    const struct sockaddr *address =
        (const struct sockaddr *)(const void *)&l->addresses.address[l->next_address];

    connect_to(l, address, l->addresses.bytes[l->next_address]);
}

static void on_resolved(evutil_socket_t fd, short what, void *ctx)
{
    struct redis_link *l = ctx;
    bool found = redis_names_take(fd, &l->addresses);

    (void)what;
    event_free(l->resolving);
    l->resolving = NULL;
    close(l->resolver_fd);
    l->next_address = 0;
    if (!found) {
        lose(l, "its name could not be resolved");
        return;
    }
    connect_next(l);
}

static void start_resolving(struct redis_link *l)
{
    l->state = RESOLVING;
    l->since_us = clock_mono_us();
    l->resolver_fd = redis_names_ask(&l->url);
    if (l->resolver_fd < 0) {
        lose(l, strerror(errno));
        return;
    }
    l->resolving = event_new(l->opt.base, l->resolver_fd, EV_READ, on_resolved, l);
    mem_need(l->resolving);
    event_add(l->resolving, NULL);
    set_timer(l, l->since_us + CONNECT_US);
}

static bool is_numeric(struct redis_link *l)
{
    l->next_address = 0;
    return redis_names_numeric(&l->url, &l->addresses);
}

static void begin(struct redis_link *l)
{
    if (l->url.path[0]) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        memcpy(address.sun_path, l->url.path, sizeof l->url.path);
        connect_to(l, (const struct sockaddr *)(const void *)&address, sizeof address);
    } else if (l->next_address < l->addresses.count || is_numeric(l)) {
        connect_next(l);
    } else {
        start_resolving(l);
    }
}

/* ---- time ---- */

/* Answers what is late; the time of the next that will be. 0: there is none. */
static int64_t expire_calls(struct redis_link *l, int64_t now_us)
{
    int64_t next_us = 0;

    LIST_FOREACH (it, &l->calls) {
        struct link_call *c = CONTAINER_OF(it, struct link_call, link);
        if (c->fn && c->due_us <= now_us)
            answer(c, ERR_OVERLOADED, NULL);
        int64_t at_us = c->fn ? c->due_us : c->due_us + l->opt.stall_us;
        next_us = next_us && next_us < at_us ? next_us : at_us;
    }
    return next_us;
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct redis_link *l = ctx;
    int64_t now_us = clock_mono_us();

    (void)fd, (void)what;
    l->timer_at_us = 0;
    if (l->state == PAUSED) {
        begin(l);
        return;
    }
    if (l->state < GREETING) {
        lose(l, "no connection in time");
        return;
    }
    if (l->distrusted) {
        lose_distrusted(l);
        return;
    }
    int64_t next_us = expire_calls(l, now_us);
    if (l->distrusted) { /* by one of those who were told */
        lose_distrusted(l);
        return;
    }
    struct link_call *oldest = CONTAINER_OF(l->calls.next, struct link_call, link);
    if (next_us && oldest->due_us + l->opt.stall_us <= now_us)
        lose(l, "it does not answer");
    else if (next_us)
        set_timer(l, next_us);
}

enum err redis_link_new(const struct redis_link_options *opt, struct redis_link **out,
                        struct err_text *t)
{
    struct redis_url url;
    struct err_text why;
    enum err err = redis_url_parse(opt->url, &url, &why);

    *out = NULL;
    if (err != ERR_OK) {
        err_say(t, "Redis URL: %s", why.s);
        return err;
    }
    struct redis_link *l = mem_zalloc(1, sizeof *l);
    l->opt = *opt;
    l->url = url;
    l->fd = -1;
    l->backoff_us = BACKOFF_MIN_US;
    list_init(&l->calls);
    list_init(&l->failed);
    buf_init(&l->out, opt->max_queued_bytes);
    rng_seed_os(&l->rng);
    l->timer = event_new(opt->base, -1, 0, on_timer, l);
    l->failing = event_new(opt->base, -1, 0, on_failing, l);
    mem_need(l->timer);
    mem_need(l->failing);
    set_timer(l, 0);
    *out = l;
    return ERR_OK;
}

void redis_link_free(struct redis_link *l)
{
    if (!l)
        return;
    hang_up(l);
    l->state = PAUSED;
    while (!list_empty(&l->failed))
        on_failing(-1, 0, l);
    event_free(l->timer);
    event_free(l->failing);
    free(l);
}

bool redis_link_up(const struct redis_link *l)
{
    return l->state == UP;
}
