/* The cache thread: its life, its mail, its clock tick. Owns the loop, the store, what is resident
 * and who waits. Called by control (open, close) and, through the mailbox, by anybody. */
#include "cache/cache_int.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "cache/admin_job.h"

#define TICK_MS      100
#define EXPIRE_TICKS 50  /* between sweeps over what is resident */
#define HITS_TICKS   100 /* between reports of hits to the store */
/* At the end, for the store to take what was learned. */
#define SAVE_MAX_US INT64_C(1000000)

/* ---- messages ---- */

enum letter_kind {
    LETTER_ASK,
    LETTER_PUT,
    LETTER_ABANDON,
    LETTER_LABEL,
    LETTER_SERVED,
    LETTER_WORD,
    LETTER_ENCODER,
    LETTER_JOB,
    LETTER_STOP
};

struct letter {
    struct message msg;
    struct cache *c;
    enum letter_kind kind;
    struct cache_ask *ask;     /* owned */
    struct cache_entry *entry; /* a reference */
    struct cache_rules rules;
    struct digest exact, reply;
    struct cache_label label;
    int dim; /* of the encoder, with its fingerprint */
    uint8_t fingerprint[CACHE_FINGERPRINT_BYTES];
    struct admin_job *job; /* owned */
};

static void open_letter(struct message *m, void *ctx)
{
    struct letter *l = CONTAINER_OF(m, struct letter, msg);
    struct cache *c = ctx;

    switch (l->kind) {
    case LETTER_ASK:
        cache_lookup_start(c, l->ask);
        break;
    case LETTER_PUT:
        cache_store_answer(c, l->entry, &l->rules);
        break;
    case LETTER_ABANDON:
        cache_give_up(c, &l->exact);
        break;
    case LETTER_LABEL:
        cache_meaning_learn(c, &l->label);
        break;
    case LETTER_SERVED:
        cache_meaning_remember(c, &l->reply, &l->label);
        break;
    case LETTER_WORD:
        cache_meaning_word(c, &l->reply, l->label.right, l->label.weight);
        break;
    case LETTER_ENCODER:
        cache_meaning_change(c, l->dim, l->fingerprint);
        break;
    case LETTER_JOB:
        admin_job_start(c, l->job);
        break;
    case LETTER_STOP:
        event_base_loopbreak(c->base);
        break;
    }
    cache_entry_unref(l->entry);
    free(l);
}

/* The cache is closed: everybody who waits hears so. */
static void return_letter(struct message *m)
{
    struct letter *l = CONTAINER_OF(m, struct letter, msg);

    if (l->ask) {
        l->ask->verdict = CACHE_MISS;
        mailbox_post(l->ask->reply_to, &l->ask->msg);
    }
    if (l->job) {
        l->job->err = ERR_DRAINING;
        mailbox_post(l->job->reply_to, &l->job->msg);
    }
    cache_entry_unref(l->entry);
    free(l);
}

static void post(struct cache *c, enum letter_kind kind, const struct letter *from)
{
    struct letter *l = mem_alloc(sizeof *l);

    *l = *from;
    l->msg = (struct message){.deliver = open_letter, .discard = return_letter};
    l->c = c;
    l->kind = kind;
    list_init(&l->msg.link);
    mailbox_post(&c->mailbox, &l->msg);
}

void cache_lookup(struct cache *c, struct cache_ask *a)
{
    post(c, LETTER_ASK, &(struct letter){.ask = a});
}

void cache_put(struct cache *c, struct cache_entry *e, const struct cache_rules *rules)
{
    post(c, LETTER_PUT, &(struct letter){.entry = e, .rules = *rules});
}

void cache_abandon(struct cache *c, struct digest exact)
{
    post(c, LETTER_ABANDON, &(struct letter){.exact = exact});
}

void cache_learn(struct cache *c, const struct cache_label *label)
{
    post(c, LETTER_LABEL, &(struct letter){.label = *label});
}

void cache_remember(struct cache *c, const struct digest *reply, const struct cache_label *label)
{
    post(c, LETTER_SERVED, &(struct letter){.reply = *reply, .label = *label});
}

void cache_word(struct cache *c, const struct digest *reply, bool right, double weight)
{
    post(c, LETTER_WORD,
         &(struct letter){.reply = *reply, .label = {.right = right, .weight = weight}});
}

void admin_job_give(struct cache *c, struct admin_job *j)
{
    post(c, LETTER_JOB, &(struct letter){.job = j});
}

void cache_set_encoder(struct cache *c, int dim, const uint8_t *fingerprint)
{
    struct letter l = {.dim = dim};

    if (dim > 0)
        memcpy(l.fingerprint, fingerprint, sizeof l.fingerprint);
    post(c, LETTER_ENCODER, &l);
}

bool cache_current(const struct cache *c, int64_t *now_ms)
{
    *now_ms =
        clock_wall_us() / 1000 + atomic_load_explicit(&c->clock_offset_ms, memory_order_relaxed);
    return clock_mono_us() < atomic_load_explicit(&c->current_until_us, memory_order_acquire);
}

/* ---- the tick ---- */

static void tell_workers(struct cache *c)
{
    int64_t until_us = 0;

    if (!store_current(c->store, &until_us))
        until_us = 0;
    atomic_store_explicit(&c->current_until_us, until_us, memory_order_release);
    atomic_store_explicit(&c->clock_offset_ms, store_clock_offset_ms(c->store),
                          memory_order_relaxed);
}

/* Up to what it is now; a new encoder begins at nothing, and a counter stays where it is. */
static void count_up(struct stats_cell *cell, uint64_t now)
{
    int64_t more = (int64_t)now - atomic_load_explicit(&cell->value, memory_order_relaxed);

    if (more > 0)
        stats_add(cell, more);
}

static void count_meaning(struct cache *c)
{
    const struct cache_cells *cells = &c->cells;
    const struct risk_facts *f = &c->facts.risk;

    stats_set(cells->indexed, (int64_t)c->facts.indexed);
    stats_set(cells->labels, (int64_t)f->labels);
    stats_set(cells->warm, f->warm);
    stats_set(cells->alarm, f->alarm);
    count_up(cells->right, f->audits - f->audited_wrong);
    count_up(cells->wrong, f->audited_wrong);
    count_up(cells->quarantined, c->facts.quarantined);
}

static void count_metrics(struct cache *c, const struct store_stat *st)
{
    const struct cache_cells *cells = &c->cells;

    stats_add(cells->puts, (int64_t)c->facts.puts - atomic_load(&cells->puts->value));
    stats_add(cells->refused_puts,
              (int64_t)c->facts.refused_puts - atomic_load(&cells->refused_puts->value));
    stats_add(cells->failed, (int64_t)(st->failed - c->counted_failed));
    stats_add(cells->late, (int64_t)(st->late - c->counted_late));
    stats_set(cells->entries, (int64_t)c->residents.by_id.count);
    stats_set(cells->bytes, (int64_t)c->residents.bytes);
    stats_set(cells->store_up, st->up);
    count_meaning(c);
    c->counted_failed = st->failed;
    c->counted_late = st->late;
}

static void tell_facts(struct cache *c)
{
    struct store_stat st;

    store_stat(c->store, &st);
    c->facts.resident = c->residents.by_id.count;
    c->facts.resident_bytes = c->residents.bytes;
    c->facts.flights = c->flights.by_exact.count;
    c->facts.store_up = st.up;
    c->facts.store_counts = st.counts;
    c->facts.store_entries = st.entries;
    c->facts.store_bytes = st.bytes;
    c->facts.store_failed = st.failed;
    c->facts.store_late = st.late;
    c->facts.store_losses = st.losses;
    c->facts.bad_entries = st.bad_entries;
    pthread_mutex_lock(&c->told->lock);
    c->told->facts = c->facts;
    pthread_mutex_unlock(&c->told->lock);
    if (c->opt.stats)
        count_metrics(c, &st);
}

static void report_hits(void *ctx, const struct cache_entry *e, uint32_t hits)
{
    struct cache *c = ctx;
    store_touch(c->store, &(struct store_ref){e->f.scope, e->f.id}, hits);
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    struct cache *c = ctx;

    (void)fd, (void)what;
    if (c->closing)
        return; /* it only wakes the loop */
    tell_workers(c);
    tell_facts(c);
    cache_release_overdue(c);
    cache_residents_trim(&c->residents);
    cache_meaning_tick(c);
    c->ticks++;
    if (c->ticks % EXPIRE_TICKS == 0)
        cache_residents_expire(&c->residents, cache_now_ms(c));
    if (c->ticks % HITS_TICKS == 0)
        cache_residents_hits(&c->residents, report_hits, c);
}

void cache_facts(const struct cache *c, struct cache_facts *out)
{
    pthread_mutex_lock(&c->told->lock);
    *out = c->told->facts;
    pthread_mutex_unlock(&c->told->lock);
}

/* ---- life ---- */

static void on_mail(evutil_socket_t fd, short what, void *ctx)
{
    struct cache *c = ctx;

    (void)fd, (void)what;
    mailbox_drain(&c->mailbox, c);
}

static void *run(void *ctx)
{
    struct cache *c = ctx;
    int64_t until_us;

    event_base_dispatch(c->base);
    c->closing = true;
    cache_residents_hits(&c->residents, report_hits, c);
    cache_meaning_save(c);
    until_us = clock_mono_us() + SAVE_MAX_US;
    while (cache_meaning_saving(c) && clock_mono_us() < until_us) /* the tick wakes it */
        event_base_loop(c->base, EVLOOP_ONCE);
    store_close(c->store); /* calls that are open are answered, as misses */
    admin_job_stop_all(c);
    cache_release_all(c);
    mailbox_close(&c->mailbox);
    return NULL;
}

static void set_up_cells(struct cache *c)
{
    static const char *const verdicts[] = {"miss", "exact", "semantic", "wait"};
    struct stats *s = c->opt.stats;

    for (int i = 0; i < 4; i++)
        c->cells.lookups[i] = stats_cell(s, STAT_CACHE_LOOKUPS, &verdicts[i]);
    c->cells.puts = stats_cell(s, STAT_CACHE_PUTS, NULL);
    c->cells.refused_puts = stats_cell(s, STAT_CACHE_REFUSED_PUTS, NULL);
    c->cells.entries = stats_cell(s, STAT_CACHE_RESIDENT, NULL);
    c->cells.bytes = stats_cell(s, STAT_CACHE_RESIDENT_BYTES, NULL);
    c->cells.store_up = stats_cell(s, STAT_CACHE_STORE_UP, NULL);
    c->cells.failed = stats_cell(s, STAT_CACHE_STORE_FAILED, NULL);
    c->cells.late = stats_cell(s, STAT_CACHE_STORE_LATE, NULL);
    c->cells.indexed = stats_cell(s, STAT_CACHE_INDEXED, NULL);
    c->cells.labels = stats_cell(s, STAT_CACHE_LABELS, NULL);
    c->cells.right = stats_cell(s, STAT_CACHE_AUDITED, (const char *[]){"right"});
    c->cells.wrong = stats_cell(s, STAT_CACHE_AUDITED, (const char *[]){"wrong"});
    c->cells.warm = stats_cell(s, STAT_CACHE_WARM, NULL);
    c->cells.alarm = stats_cell(s, STAT_CACHE_ALARM, NULL);
    c->cells.quarantined = stats_cell(s, STAT_CACHE_QUARANTINED, NULL);
}

static void free_cache(struct cache *c)
{
    if (c->mail)
        event_free(c->mail);
    if (c->tick)
        event_free(c->tick);
    cache_meaning_close(c);
    free(c->snapshot_path);
    cache_flights_clear(&c->flights);
    cache_residents_clear(&c->residents);
    if (c->mailbox.fd >= 0)
        mailbox_clear(&c->mailbox);
    event_base_free(c->base);
    pthread_mutex_destroy(&c->told->lock);
    free(c->told);
    free(c->trail);
    free(c);
}

static enum err open_store(struct cache *c, struct err_text *t)
{
    struct store_options so = {
        .base = c->base,
        .changed = cache_heed_change,
        .ctx = c,
        .budget_us = c->opt.redis_budget_us,
        .max_entries = c->opt.max_entries,
        .max_bytes = c->opt.max_bytes,
    };

    if (!c->opt.path == !c->opt.redis_url) {
        err_say(t, "cache: either a file or a Redis keeps the entries");
        return ERR_BAD_REQUEST;
    }
    return c->opt.path ? store_sqlite_open(&so, c->opt.path, &c->store, t)
                       : store_redis_open(&so, c->opt.redis_url, c->opt.prefix, &c->store, t);
}

enum err cache_open(const struct cache_options *opt, struct cache **out, struct err_text *t)
{
    struct cache *c = mem_zalloc(1, sizeof *c);

    *out = NULL;
    c->opt = *opt;
    if (opt->snapshot_path)
        c->opt.snapshot_path = c->snapshot_path = mem_strdup(slice_str(opt->snapshot_path));
    if (c->opt.lead_max_us == 0)
        c->opt.lead_max_us = CACHE_LEAD_MAX_US;
    if (c->opt.snapshot_every_ms == 0)
        c->opt.snapshot_every_ms = CACHE_SNAPSHOT_EVERY_MS;
    c->told = mem_zalloc(1, sizeof *c->told);
    pthread_mutex_init(&c->told->lock, NULL);
    /* With vectors half of the memory is the index's. */
    cache_residents_init(&c->residents, opt->max_entries,
                         opt->dim ? opt->max_bytes / 2 : opt->max_bytes, opt->seed);
    cache_flights_init(&c->flights);
    list_init(&c->admin_runs);
    c->trail = admin_trail_new();
    if (opt->seed)
        rng_seed(&c->rng, opt->seed);
    else
        rng_seed_os(&c->rng);
    c->base = event_base_new();
    mem_need(c->base);
    if (mailbox_init(&c->mailbox) != 0) {
        err_say(t, "cache: no file descriptor left for its mailbox");
        free_cache(c);
        return ERR_INTERNAL;
    }
    enum err err = open_store(c, t);
    if (err == ERR_OK && (err = cache_meaning_open(c, t)) != ERR_OK)
        store_close(c->store);
    if (err != ERR_OK) {
        free_cache(c);
        return err;
    }
    c->mail = event_new(c->base, c->mailbox.fd, EV_READ | EV_PERSIST, on_mail, c);
    c->tick = event_new(c->base, -1, EV_PERSIST, on_tick, c);
    mem_need(c->mail);
    mem_need(c->tick);
    event_add(c->mail, NULL);
    event_add(c->tick, &(struct timeval){.tv_usec = TICK_MS * 1000});
    if (c->opt.stats)
        set_up_cells(c);
    tell_workers(c);
    if (thread_start(&c->thread, "cache", run, c) != 0) {
        err_say(t, "cache: its thread could not be started");
        store_close(c->store);
        free_cache(c);
        return ERR_INTERNAL;
    }
    *out = c;
    return ERR_OK;
}

void cache_close(struct cache *c)
{
    if (!c)
        return;
    post(c, LETTER_STOP, &(struct letter){0});
    pthread_join(c->thread, NULL);
    free_cache(c);
}
