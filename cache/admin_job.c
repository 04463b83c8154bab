/* Jobs of operators, as they run. Owns those that are on their way (struct admin_run), each with an
 * event of its own: after every page of the store and every few removals the loop has its turn.
 * Called by cache.c and by the store's callbacks, on the cache thread.
 *
 *   PAGE    scan, or what carries the tag -> filter -> (pause) -> the same ... until `limit`, PAGES
 *           or the end
 *   REMOVE  the same -> filter -> remove REMOVALS at once -> ... -> (pause) -> the same ...
 *   GET     get or find
 *   PUT     what is there? -> put -> (pause) -> the next ...
 *   WATCH   out of the trail, at once; where it has nothing, a moment after something comes
 *   TUNE    out of the budgets, at once
 *   INSPECT the store is asked
 *   FLUSH   the scope's next generation, in the store and in memory
 *   DELETE  find -> remove
 *   MARK    find -> the same entry with other marks -> put -> it takes the place of the old one
 *   VECTOR  find -> the same entry with that vector -> likewise */
#include "cache/admin_job.h"

#include <stdlib.h>
#include "base/mem.h"
#include "cache/cache_budgets.h"
#include "cache/cache_int.h"
#include "cache/suspect.h"

#define PAGES    16 /* of the store for one job; then the cursor goes back to the asker */
#define REMOVALS 16 /* at a time */
#define PUTS     16 /* one after the other, before a pause */
/* Between two pieces of work. Most of a step is such pauses, of which each may last 4 ms by the
 * kernel's clock: look-ups beside a walk take no longer for it. */
#define PAUSE_US  1000
#define GATHER_MS 100 /* after the first look-up that a watcher waited for: more come with it */

struct admin_run {
    struct list link; /* of cache->admin_runs */
    struct cache *c;
    struct admin_job *job; /* owned */
    struct event *again;   /* owned */
    char cursor_room[ADMIN_CURSOR_BYTES];
    struct slice place; /* in cursor_room: where the next scan begins */
    int pages;
    struct arena room;        /* of the page at hand */
    struct store_ref *doomed; /* in room */
    size_t doomed_count, doomed_next;
    size_t open;                /* removals without an answer */
    bool last;                  /* nothing lies behind this page */
    struct cache_entry *marked; /* a reference: what is being put */
    size_t put_next;            /* of ADMIN_PUT, in entries */
    uint64_t old_id;
    uint64_t since; /* `marked` was put (cache_removals_now) */
    bool watching;  /* waits for a look-up */
};

/* ---- jobs ---- */

struct admin_job *admin_job_new(enum admin_job_kind kind)
{
    struct admin_job *j = mem_zalloc(1, sizeof *j);

    j->kind = kind;
    j->cursor = SLICE("0");
    arena_init(&j->arena, 512);
    list_init(&j->msg.link);
    return j;
}

void admin_job_free(struct admin_job *j)
{
    if (!j)
        return;
    for (size_t i = 0; i < j->entry_count; i++)
        cache_entry_unref(j->entries[i]);
    free(j->entries);
    free(j->events);
    free(j->prospects);
    arena_clear(&j->arena);
    free(j);
}

size_t admin_job_entry_bytes(const struct cache_fields *f)
{
    return cache_entry_pack_bytes(f) + (f->body.n ? 0 : f->body_bytes);
}

void admin_job_add(struct admin_job *j, struct cache_entry *e)
{
    if (j->entry_count == j->entry_cap) {
        j->entry_cap = j->entry_cap ? 2 * j->entry_cap : 64;
        j->entries = mem_resize(j->entries, j->entry_cap, sizeof *j->entries);
    }
    j->entries[j->entry_count++] = e;
}

/* ---- runs ---- */

static void drop_doomed(struct admin_run *r)
{
    arena_clear(&r->room);
    r->doomed = NULL;
    r->doomed_count = r->doomed_next = 0;
}

static void finish(struct admin_run *r, enum err err)
{
    struct admin_job *j = r->job;

    j->err = err;
    list_remove(&r->link);
    event_free(r->again);
    drop_doomed(r);
    cache_entry_unref(r->marked);
    free(r);
    mailbox_post(j->reply_to, &j->msg);
}

static void fail(struct admin_run *r, enum err err, const char *why)
{
    err_say(&r->job->why, "%s", why);
    finish(r, err);
}

static void pause_run(struct admin_run *r)
{
    event_add(r->again, &(struct timeval){.tv_usec = PAUSE_US});
}

/* The run ends with the answer of a call that is open, or now. */
static bool is_over(struct admin_run *r, enum err err)
{
    if (err == ERR_OK && !r->c->closing)
        return false;
    fail(r, r->c->closing ? ERR_DRAINING : err, "The cache's store did not answer.");
    return true;
}

/* ---- pages ---- */

static void on_page(void *ctx, enum err err, const struct cache_fields *f, size_t n,
                    struct slice next);

static bool is_by_tag(const struct admin_run *r)
{
    return r->job->filter.by & ADMIN_BY_TAG;
}

static void scan(struct admin_run *r)
{
    const struct admin_filter *f = &r->job->filter;
    struct store_tag tag = {
        .tag = f->tag, .scope = f->scope, .any_scope = !(f->by & ADMIN_BY_SCOPE)};

    if (is_by_tag(r))
        store_tagged(r->c->store, &tag, r->place, on_page, r);
    else
        store_scan(r->c->store, r->place, on_page, r);
}

/* Living: it may still be served, if nothing else forbids it. */
static bool is_of_life(const struct cache *c, const struct cache_fields *f, enum admin_life wanted)
{
    bool living =
        f->expires_ms > cache_now_ms(c) && f->generation == store_generation(c->store, f->scope);

    return wanted == ADMIN_BOTH || (wanted == ADMIN_LIVING) == living;
}

static void doom(struct admin_run *r, const struct cache_fields *f)
{
    r->doomed[r->doomed_count++] =
        (struct store_ref){.scope = arena_dup(&r->room, f->scope), .id = f->id};
}

/* Of the encoder in force. */
static bool is_of_encoder(const struct cache *c, int dim, const uint8_t *fingerprint)
{
    return dim == c->opt.dim &&
           memcmp(fingerprint, c->opt.fingerprint, sizeof c->opt.fingerprint) == 0;
}

/* What traffic stored without a vector was kept for repeats only, or cannot be read whole; a text
 * that steers a model has no neighbours in a scope that may be shared. */
static bool wants_vector(const struct cache *c, const struct cache_fields *f)
{
    bool had = f->vector && !is_of_encoder(c, f->dim, f->fingerprint);
    bool never_had = !f->vector && f->source == CACHE_FROM_IMPORT;

    return c->opt.dim > 0 && f->text.n > 0 && (had || never_had) &&
           !(f->scope.n == 0 && suspect_text(f->text));
}

static void take_page(struct admin_run *r, const struct cache_fields *f, size_t n)
{
    struct admin_job *j = r->job;
    bool removes = j->kind == ADMIN_REMOVE;

    if (removes)
        r->doomed = ARENA_ARRAY(&r->room, struct store_ref, n + 1);
    for (size_t i = 0; i < n; i++) {
        j->looked_at++;
        if (!is_of_life(r->c, &f[i], j->life) || !admin_filter_matches(&j->filter, &f[i]) ||
            (j->stale && !wants_vector(r->c, &f[i])))
            continue;
        j->matched++;
        j->bytes += admin_job_entry_bytes(&f[i]);
        if (removes)
            doom(r, &f[i]);
        else if (!j->count_only)
            admin_job_add(j, cache_entry_new(&f[i]));
    }
}

/* The page is done with. */
static void next_page(struct admin_run *r)
{
    struct admin_job *j = r->job;
    struct store_stat st;

    drop_doomed(r);
    if (!r->last && j->matched < j->limit && ++r->pages < PAGES) {
        pause_run(r);
        return;
    }
    store_stat(r->c->store, &st);
    admin_cursor_write(st.kind, is_by_tag(r), r->last ? SLICE("") : r->place, j->next);
    finish(r, ERR_OK);
}

static void remove_some(struct admin_run *r);

static void on_removed(void *ctx, enum err err, uint64_t was_there)
{
    struct admin_run *r = ctx;

    r->job->removed += was_there;
    if (err != ERR_OK)
        r->job->err = err;
    if (--r->open > 0)
        return;
    /* Whoever asked while they were being removed may have fetched them once more. */
    for (size_t i = 0; i < r->doomed_next; i++)
        cache_drop_entry(r->c, r->doomed[i].id);
    if (is_over(r, r->job->err))
        return;
    if (r->doomed_next < r->doomed_count)
        pause_run(r);
    else
        next_page(r);
}

static void remove_some(struct admin_run *r)
{
    size_t left = r->doomed_count - r->doomed_next;

    r->open = left < REMOVALS ? left : REMOVALS;
    for (size_t i = r->open; i > 0; i--) {
        const struct store_ref *ref = &r->doomed[r->doomed_next++];
        cache_drop_entry(r->c, ref->id);
        store_del(r->c->store, ref, on_removed, r);
    }
}

static void on_page(void *ctx, enum err err, const struct cache_fields *f, size_t n,
                    struct slice next)
{
    struct admin_run *r = ctx;

    if (is_over(r, err))
        return;
    take_page(r, f, n);
    r->last = next.n == 0;
    if (next.n < sizeof r->cursor_room) {
        memcpy(r->cursor_room, next.p, next.n);
        r->place = slice_make(r->cursor_room, next.n);
    }
    if (r->doomed_count > 0)
        remove_some(r);
    else
        next_page(r);
}

static void start_pages(struct admin_run *r)
{
    struct store_stat st;

    store_stat(r->c->store, &st);
    if (admin_cursor_read(st.kind, is_by_tag(r), r->job->cursor, r->cursor_room, &r->place))
        scan(r);
    else
        fail(r, ERR_BAD_REQUEST, "The cursor is none that this cache's store gave.");
}

static void on_flushed(void *ctx, enum err err, uint64_t generation)
{
    struct admin_run *r = ctx;

    if (err == ERR_OK)
        cache_residents_kill_scope(&r->c->residents, r->job->filter.scope);
    r->job->generation = generation;
    if (!is_over(r, err))
        finish(r, ERR_OK);
}

/* ---- single entries ---- */

static void on_got(void *ctx, enum err err, struct cache_entry *const *e, size_t n)
{
    struct admin_run *r = ctx;

    if (is_over(r, err))
        return;
    for (size_t i = 0; i < n; i++) {
        bool there = e[i] && is_of_life(r->c, &e[i]->f, r->job->life);
        admin_job_add(r->job, there ? cache_entry_ref(e[i]) : NULL);
    }
    finish(r, ERR_OK);
}

static void on_marked(void *ctx, enum err err, uint64_t replaced)
{
    struct admin_run *r = ctx;
    struct cache *c = r->c;

    (void)replaced; /* by its question, which is the same */
    if (err == ERR_CONFLICT) {
        fail(r, err, "The entry's scope was flushed meanwhile.");
        return;
    }
    if (is_over(r, err))
        return;
    bool removed = cache_removed_since(c, &r->marked->f, r->since); /* by another replica */
    cache_drop_entry(c, r->old_id); /* also from the workers' hot sets: it is dead there */
    if (!removed) {
        cache_residents_add(&c->residents, r->marked);
        cache_meaning_add(c, &r->marked->f);
    }
    admin_job_add(r->job, cache_entry_ref(r->marked));
    finish(r, ERR_OK);
}

static bool with_mark(enum admin_mark m, bool was)
{
    return m == ADMIN_LEAVE ? was : m == ADMIN_SET;
}

static bool is_expected(const struct admin_job *j, const struct cache_fields *f)
{
    uint8_t sum[CACHE_SUM_BYTES];

    cache_entry_sum(f, sum);
    return memcmp(sum, j->expected, sizeof sum) == 0;
}

static void doom_one(struct admin_run *r, const struct cache_fields *f)
{
    r->doomed = ARENA_ARRAY(&r->room, struct store_ref, 1);
    r->last = true;
    r->job->matched = 1;
    r->job->bytes = admin_job_entry_bytes(f);
    doom(r, f);
    remove_some(r);
}

/* false: there is nothing to put, which was answered. */
static bool take_vector(struct admin_run *r, struct cache_fields *f)
{
    const struct admin_job *j = r->job;

    if (!is_of_encoder(r->c, j->dim, j->fingerprint)) {
        fail(r, ERR_CONFLICT, "The vector is of an encoder that is not in force.");
        return false;
    }
    if (f->vector && is_of_encoder(r->c, f->dim, f->fingerprint)) {
        finish(r, ERR_OK); /* another replica was quicker */
        return false;
    }
    f->vector = j->vector;
    f->dim = j->dim;
    memcpy(f->fingerprint, j->fingerprint, sizeof f->fingerprint);
    return true;
}

static void on_found(void *ctx, enum err err, struct cache_entry *const *e, size_t n)
{
    struct admin_run *r = ctx;
    struct cache *c = r->c;

    if (is_over(r, err))
        return;
    if (n == 0 || !e[0] || !is_of_life(c, &e[0]->f, ADMIN_LIVING)) {
        fail(r, ERR_NOT_FOUND, "No entry with this id is stored.");
        return;
    }
    if (r->job->expects && !is_expected(r->job, &e[0]->f)) {
        fail(r, ERR_PRECONDITION_FAILED, "The entry has changed since it was read.");
        return;
    }
    if (r->job->kind == ADMIN_DELETE) {
        doom_one(r, &e[0]->f);
        return;
    }
    const struct cache_entry *newer = cache_residents_exact(&c->residents, &e[0]->f.exact);
    if (newer && newer->f.id != e[0]->f.id) {
        fail(r, ERR_CONFLICT, "A newer answer has taken the place of this entry.");
        return;
    }
    struct cache_fields f = e[0]->f;
    if (r->job->kind == ADMIN_VECTOR && !take_vector(r, &f))
        return;
    f.pinned = with_mark(r->job->pin, f.pinned);
    f.quarantined = with_mark(r->job->quarantine, f.quarantined);
    r->old_id = f.id;
    r->marked = cache_entry_new(&f);
    r->since = cache_removals_now(&c->removals);
    store_put(c->store, r->marked, on_marked, r);
}

static void start_get(struct admin_run *r)
{
    const struct admin_job *j = r->job;

    if (j->by_exact)
        store_get_exact(r->c->store, j->filter.scope, j->exact, on_got, r);
    else if (j->any_scope)
        store_find(r->c->store, j->ids[0].id, on_got, r);
    else
        store_get(r->c->store, j->ids, j->id_count, on_got, r);
}

/* ---- looking on ---- */

static void tell_events(struct admin_run *r)
{
    struct admin_job *j = r->job;
    size_t most = j->limit < ADMIN_TRAIL_EVENTS ? j->limit : ADMIN_TRAIL_EVENTS;

    j->events = mem_alloc((most + 1) * sizeof *j->events);
    j->event_count = admin_trail_read(r->c->trail, j->after, j->events, most, &j->lost);
    finish(r, ERR_OK);
}

static void go_on_in(struct admin_run *r, int64_t ms)
{
    event_add(r->again, &(struct timeval){ms / 1000, ms % 1000 * 1000});
}

static void start_watch(struct admin_run *r)
{
    const struct admin_job *j = r->job;

    r->watching = j->wait_ms > 0 && !admin_trail_has(r->c->trail, j->after);
    if (r->watching)
        go_on_in(r, j->wait_ms);
    else
        tell_events(r);
}

void admin_job_seen(struct cache *c)
{
    LIST_FOREACH_SAFE (it, &c->admin_runs) {
        struct admin_run *r = CONTAINER_OF(it, struct admin_run, link);
        if (r->watching && admin_trail_has(c->trail, r->job->after)) {
            r->watching = false;
            go_on_in(r, GATHER_MS);
        }
    }
}

/* A few sorts of RISK_WINDOW numbers for each budget: some milliseconds for the 257 there can be.
 */
static void start_tune(struct admin_run *r)
{
    const struct cache_budgets *budgets = cache_meaning_budgets(r->c);
    struct admin_job *j = r->job;
    struct cache_budget_facts f;

    for (size_t i = 0; budgets && cache_budgets_at(budgets, i, &f); i++) {
        j->prospects = mem_resize(j->prospects, i + 1, sizeof *j->prospects);
        struct admin_prospect *p = &j->prospects[j->prospect_count++];
        *p = (struct admin_prospect){.scope = arena_dup(&j->arena, f.scope),
                                     .max_error = f.max_error};
        risk_facts(f.risk, &p->now);
        for (size_t k = 0; k < j->bound_count; k++)
            risk_prospect(f.risk, j->bounds[k], &p->then[k]);
    }
    finish(r, ERR_OK);
}

static void on_inspected(void *ctx, enum err err, const struct store_inspection *about)
{
    struct admin_run *r = ctx;

    r->job->inspected = err == ERR_OK;
    if (err == ERR_OK)
        r->job->inspection = *about;
    if (!is_over(r, ERR_OK))
        finish(r, ERR_OK);
}

static void start_inspect(struct admin_run *r)
{
    struct admin_job *j = r->job;
    const struct cache *c = r->c;

    store_stat(c->store, &j->store);
    j->clock_offset_ms = store_clock_offset_ms(c->store);
    j->dim = c->opt.dim;
    memcpy(j->fingerprint, c->opt.fingerprint, sizeof j->fingerprint);
    store_inspect(c->store, on_inspected, r);
}

/* ---- putting ---- */

static void put_one(struct admin_run *r);

static void after_put(struct admin_run *r)
{
    cache_entry_unref(r->marked);
    r->marked = NULL;
    if (++r->put_next == r->job->entry_count)
        finish(r, ERR_OK);
    else if (r->put_next % PUTS == 0)
        pause_run(r);
    else
        put_one(r);
}

static void on_put(void *ctx, enum err err, uint64_t replaced)
{
    struct admin_run *r = ctx;

    if (err == ERR_OK) {
        if (replaced)
            cache_drop_entry(r->c, replaced);
        cache_drop_entry(r->c, r->marked->f.id);
        cache_meaning_add(r->c, &r->marked->f);
        r->job->stored++;
    }
    r->job->refused += err != ERR_OK;
    if (!is_over(r, err == ERR_OVERLOADED ? err : ERR_OK))
        after_put(r);
}

/* As it is to be stored here. */
static void take_in(struct admin_run *r, struct cache_fields f)
{
    bool ours = f.vector && is_of_encoder(r->c, f.dim, f.fingerprint);

    f.generation = store_generation(r->c->store, f.scope);
    if (f.generation == 0 || f.expires_ms <= cache_now_ms(r->c)) {
        r->job->refused++;
        after_put(r);
        return;
    }
    if (f.vector && !ours) {
        f.vector = NULL;
        r->job->without_vector++;
    }
    r->marked = cache_entry_new(&f);
    store_put(r->c->store, r->marked, on_put, r);
}

static void on_present(void *ctx, enum err err, struct cache_entry *const *e, size_t n)
{
    struct admin_run *r = ctx;
    const struct cache_fields *f = &r->job->entries[r->put_next]->f;

    if (is_over(r, err))
        return;
    if (n == 1 && e[0] && is_of_life(r->c, &e[0]->f, ADMIN_LIVING) &&
        e[0]->f.created_ms >= f->created_ms) {
        r->job->kept++;
        after_put(r);
    } else {
        take_in(r, *f);
    }
}

static void put_one(struct admin_run *r)
{
    const struct cache_fields *f = &r->job->entries[r->put_next]->f;

    store_get_exact(r->c->store, f->scope, f->exact, on_present, r);
}

/* ---- life ---- */

static void on_again(evutil_socket_t fd, short what, void *ctx)
{
    struct admin_run *r = ctx;

    (void)fd, (void)what;
    if (r->job->kind == ADMIN_WATCH)
        tell_events(r);
    else if (r->job->kind == ADMIN_PUT)
        put_one(r);
    else if (r->doomed_next < r->doomed_count)
        remove_some(r);
    else
        scan(r);
}

void admin_job_start(struct cache *c, struct admin_job *j)
{
    struct admin_run *r = mem_zalloc(1, sizeof *r);

    r->c = c;
    r->job = j;
    arena_init(&r->room, 4096);
    r->again = event_new(c->base, -1, 0, on_again, r);
    mem_need(r->again);
    list_push_back(&c->admin_runs, &r->link);
    switch (j->kind) {
    case ADMIN_PAGE:
    case ADMIN_REMOVE:
        start_pages(r);
        break;
    case ADMIN_GET:
        start_get(r);
        break;
    case ADMIN_PUT:
        if (j->entry_count > 0)
            put_one(r);
        else
            finish(r, ERR_OK);
        break;
    case ADMIN_WATCH:
        start_watch(r);
        break;
    case ADMIN_TUNE:
        start_tune(r);
        break;
    case ADMIN_INSPECT:
        start_inspect(r);
        break;
    case ADMIN_FLUSH:
        store_flush(c->store, j->filter.scope, on_flushed, r);
        break;
    case ADMIN_DELETE:
    case ADMIN_MARK:
    case ADMIN_VECTOR:
        store_find(c->store, j->ids[0].id, on_found, r);
        break;
    }
}

/* The store has answered all that was open: what is left sits between two pieces of work. */
void admin_job_stop_all(struct cache *c)
{
    while (!list_empty(&c->admin_runs)) {
        struct admin_run *r = CONTAINER_OF(c->admin_runs.next, struct admin_run, link);
        if (r->job->kind == ADMIN_WATCH)
            tell_events(r); /* what there is; another cache may go on */
        else
            fail(r, ERR_DRAINING, "The cache is being closed.");
    }
}
