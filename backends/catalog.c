/* One timer, one call and one list per endpoint. A question is one exchange, or one per page; what
 * it brings is put together beside the list that is known, and takes its place when it is whole.
 * Called by the control thread, and by `weir models --discover` on its own. */
#include "backends/catalog.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/ascii.h"
#include "base/clock.h"
#include "base/mem.h"

#define CONNECT_MS     5000
#define ANSWER_MS      20000 /* one page */
#define MAX_BODY_BYTES (4 << 20)
#define MAX_PAGES      16
/* After a configuration the first questions are spread over so long. */
#define FIRST_WITHIN_US INT64_C(200000)
#define AGAIN_US        INT64_C(60000000) /* at most, after a question that brought nothing */

struct asked {
    struct catalog *catalog;
    struct catalog_spec spec; /* strings in the catalog's arena */
    struct upstream_call call;
    struct event *timer; /* owned */

    /* the question */
    int status;
    struct buf body;
    struct arena reading; /* of `pages`, and of the text that asks for the next one */
    struct discovery pages;
    int page_count; /* 0: none under way */
    const char *path;

    /* what is known */
    struct arena list_arena;
    struct discovery list;
    bool has_list;
    struct catalog_info info;
};

struct catalog {
    struct event_base *base;
    struct upstream *up;
    struct catalog_owner owner;
    struct rng rng;
    struct arena arena; /* the specs' */
    struct asked *asked;
    size_t count;
};

static void arm(struct asked *q, int64_t wait_us)
{
    struct timeval tv = {wait_us / 1000000, wait_us % 1000000};

    evtimer_add(q->timer, &tv);
}

static void arm_next(struct asked *q)
{
    int64_t interval_us = q->spec.interval_ms * 1000;
    uint64_t jitter_us = rng_below(&q->catalog->rng, (uint64_t)(interval_us / 5 + 1));
    int64_t wait_us = interval_us - interval_us / 10 + (int64_t)jitter_us;

    arm(q, q->info.why.s[0] && wait_us > AGAIN_US ? AGAIN_US : wait_us);
}

/* ---- the end of a question ---- */

static bool same_list(const struct discovery *a, const struct discovery *b)
{
    if (a->count != b->count || a->any_name != b->any_name)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct discovery_model *x = &a->models[i], *y = &b->models[i];

        if (!slice_eq(x->id, y->id) || x->context_tokens != y->context_tokens ||
            x->retired != y->retired)
            return false;
    }
    return true;
}

static void forget_question(struct asked *q)
{
    buf_reset(&q->body);
    buf_shrink(&q->body, 0);
    arena_clear(&q->reading);
    q->pages = (struct discovery){0};
    q->page_count = 0;
}

static void take_list(struct asked *q)
{
    struct arena old = q->list_arena;

    q->list_arena = q->reading;
    q->list = q->pages;
    q->has_list = true;
    q->reading = old;
}

/* why "": the pages are the whole list. */
static void finish(struct asked *q, const struct err_text *why)
{
    bool news = !q->info.asked || strcmp(q->info.why.s, why->s) != 0;

    if (!why->s[0]) {
        news = news || !q->has_list || !same_list(&q->list, &q->pages);
        take_list(q);
    }
    forget_question(q);
    q->info.asked = true;
    q->info.asked_wall_us = clock_wall_us();
    q->info.why = *why;
    arm_next(q);
    if (news && q->catalog->owner.on_news)
        q->catalog->owner.on_news(q->catalog->owner.ctx, q->spec.shared);
}

/* ---- pages ---- */

/* {path}?after_id={last}: Anthropic API reference, "List Models". */
static const char *path_after(struct asked *q, struct slice last)
{
    static const char digits[] = "0123456789ABCDEF";
    char *id = arena_zalloc(&q->reading, last.n * 3 + 1), *p = id;

    for (size_t i = 0; i < last.n; i++) {
        unsigned char c = (unsigned char)last.p[i];

        if (ascii_is_alnum(c) || strchr("-._~", c)) {
            *p++ = (char)c;
        } else {
            *p++ = '%';
            *p++ = digits[c >> 4];
            *p++ = digits[c & 15];
        }
    }
    return arena_printf(&q->reading, "%s%cafter_id=%s", q->spec.path,
                        strchr(q->spec.path, '?') ? '&' : '?', id);
}

/* Takes one page in. true: there is another to ask for. */
static bool read_page(struct asked *q, struct err_text *why)
{
    size_t before = q->pages.count;
    struct discovery page;

    if (discovery_parse(arena_dup(&q->reading, buf_slice(&q->body)), &q->reading, &page, why) !=
        ERR_OK)
        return false;
    if (q->page_count == 1)
        q->pages = page;
    else if (discovery_add_page(&q->pages, &page, &q->reading, why) != ERR_OK)
        return false;
    /* A server that pages without end, or does not know after_id, is not followed. */
    return page.has_more && q->pages.count > before && q->page_count < MAX_PAGES;
}

static void on_head(struct upstream_call *c, const struct http1_head *head)
{
    struct asked *q = c->owner;

    q->status = head->status;
}

static void on_data(struct upstream_call *c, struct slice data)
{
    struct asked *q = c->owner;

    if (q->status == 200)
        (void)!buf_append_slice(&q->body, data); /* the transport ends what is too large */
}

static void on_done(struct upstream_call *c, const struct upstream_result *r)
{
    struct asked *q = c->owner;
    struct err_text why = {""};

    if (r->err != ERR_OK) {
        err_say(&why, "%s (%s)", err_text(r->err), r->why ? r->why : err_name(r->err));
    } else if (q->status != 200) {
        err_say(&why, "the server answered with status %d", q->status);
    } else if (read_page(q, &why)) {
        q->path = path_after(q, q->pages.models[q->pages.count - 1].id);
        arm(q, 0); /* the call's record is free again when this has returned */
        return;
    }
    finish(q, &why);
}

static const struct upstream_handler handler = {
    .on_head = on_head, .on_data = on_data, .on_done = on_done};

/* Asks for the next page, or for the first one of a new question. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct asked *q = arg;
    const struct catalog_owner *owner = &q->catalog->owner;
    struct upstream_request req = {
        .target = &q->spec.target,
        .method = SLICE("GET"),
        .headers = q->spec.headers,
        .header_count = q->spec.header_count,
        .timeouts = {CONNECT_MS, ANSWER_MS, ANSWER_MS, ANSWER_MS},
        .max_response_bytes = MAX_BODY_BYTES,
    };

    (void)fd;
    (void)what;
    if (q->page_count == 0) {
        if (owner->may_ask && !owner->may_ask(owner->ctx, q->spec.target.backend)) {
            arm_next(q);
            return;
        }
        q->path = q->spec.path;
    }
    q->page_count++;
    q->status = 0;
    buf_reset(&q->body);
    q->call.owner = q;
    req.path = slice_str(q->path);
    upstream_start(q->catalog->up, &q->call, &handler, &req);
}

/* ---- life ---- */

struct catalog *catalog_new(struct event_base *base, struct upstream *up,
                            const struct catalog_owner *owner)
{
    struct catalog *c = mem_zalloc(1, sizeof *c);

    c->base = base;
    c->up = up;
    c->owner = *owner;
    rng_seed_os(&c->rng);
    arena_init(&c->arena, 4096);
    return c;
}

static void copy_spec(struct arena *a, const struct catalog_spec *from, struct catalog_spec *to)
{
    struct http1_header *h = ARENA_ARRAY(a, struct http1_header, from->header_count + 1);

    *to = *from;
    upstream_target_keep(&to->target, a);
    to->path = arena_strdup(a, slice_str(from->path));
    for (size_t i = 0; i < from->header_count; i++)
        h[i] = (struct http1_header){arena_dup(a, from->headers[i].name),
                                     arena_dup(a, from->headers[i].value)};
    to->headers = h;
}

static struct asked *find(const struct catalog *c, const struct endpoint_shared *shared)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->asked[i].spec.shared == shared)
            return &c->asked[i];
    }
    return NULL;
}

static void asked_init(struct asked *q, struct catalog *c)
{
    q->catalog = c;
    buf_init(&q->body, MAX_BODY_BYTES);
    arena_init(&q->reading, 4096);
    arena_init(&q->list_arena, 4096);
    q->timer = evtimer_new(c->base, on_timer, q);
    mem_need(q->timer);
}

/* What is known of the endpoint goes over to its new record. */
static void hand_over(struct asked *from, struct asked *to)
{
    struct arena empty = to->list_arena;

    to->list_arena = from->list_arena;
    from->list_arena = empty;
    to->list = from->list;
    to->has_list = from->has_list;
    to->info = from->info;
}

static void asked_clear(struct asked *q)
{
    upstream_abort(&q->call);
    event_free(q->timer);
    buf_clear(&q->body);
    arena_clear(&q->reading);
    arena_clear(&q->list_arena);
}

void catalog_configure(struct catalog *c, const struct catalog_spec *specs, size_t n)
{
    struct catalog now = *c;

    arena_init(&now.arena, 4096);
    now.asked = mem_zalloc(n, sizeof *now.asked);
    now.count = n;
    for (size_t i = 0; i < n; i++) {
        struct asked *q = &now.asked[i], *old = find(c, specs[i].shared);

        copy_spec(&now.arena, &specs[i], &q->spec);
        asked_init(q, c);
        if (old)
            hand_over(old, q);
        arm(q, (int64_t)rng_below(&c->rng, (uint64_t)FIRST_WITHIN_US));
    }
    for (size_t i = 0; i < c->count; i++)
        asked_clear(&c->asked[i]);
    free(c->asked);
    arena_clear(&c->arena);
    c->arena = now.arena;
    c->asked = now.asked;
    c->count = n;
}

void catalog_ask(struct catalog *c, const char *backend)
{
    for (size_t i = 0; i < c->count; i++) {
        struct asked *q = &c->asked[i];

        if (q->page_count == 0 && strcmp(q->spec.target.backend, backend) == 0)
            arm(q, 0);
    }
}

void catalog_free(struct catalog *c)
{
    if (!c)
        return;
    catalog_configure(c, NULL, 0);
    free(c->asked);
    arena_clear(&c->arena);
    free(c);
}

bool catalog_about(const struct catalog *c, const struct endpoint_shared *shared,
                   struct catalog_info *out)
{
    const struct asked *q = find(c, shared);

    if (!q)
        return false;
    *out = q->info;
    out->list = q->has_list ? &q->list : NULL;
    return true;
}
