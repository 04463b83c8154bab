/* The learner's thread: takes evidence, flushes it, reads what changed, publishes beliefs. Owns the
 * store, the counters in memory and whatever is on its way between the two. */
#include "router/learner_int.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "router/confidence.h"

#define TICK_MS          250
#define FIRST_TICKS      4 /* so long a policy's beliefs wait for the first read */
#define MAX_POSTED       65536
#define MAX_UNITS        8192  /* 15 MB; while the store is away */
#define MAX_MEMORIES     50000 /* likewise */
#define MAX_MEMORY_BYTES ((size_t)32 << 20)
#define CLOSE_MS         2000

/* ---- evidence ---- */

struct evidence_message {
    struct message msg;
    struct evidence evidence; /* strings and arrays behind the struct */
    struct evidence_answer answers[];
};

static void discard_message(struct message *m)
{
    free(CONTAINER_OF(m, struct evidence_message, msg));
}

static const char *put_string(char **p, const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = memcpy(*p, s, n);

    *p += n;
    return copy;
}

static struct evidence_message *copy_evidence(const struct evidence *e)
{
    struct evidence_message *m;
    size_t floats = 0, text = strlen(e->tenant) + strlen(e->request_id) + strlen(e->route) +
                              strlen(e->class_name) + 4;

    for (int i = 0; i < e->count; i++) {
        floats += (size_t)e->answers[i].feature_count;
        text += strlen(e->answers[i].model) + 1;
    }
    m = mem_alloc(sizeof *m + (size_t)e->count * sizeof *e->answers + floats * sizeof(float) +
                  text + (e->query ? (size_t)e->query_dim : 0));
    float *f = (float *)(m->answers + e->count);
    char *p = (char *)(f + floats);
    m->evidence = *e;
    m->evidence.answers = m->answers;
    m->evidence.tenant = put_string(&p, e->tenant);
    m->evidence.request_id = put_string(&p, e->request_id);
    m->evidence.route = put_string(&p, e->route);
    m->evidence.class_name = put_string(&p, e->class_name);
    for (int i = 0; i < e->count; i++) {
        struct evidence_answer *a = &m->answers[i];
        size_t n = (size_t)e->answers[i].feature_count;

        *a = e->answers[i];
        a->model = put_string(&p, e->answers[i].model);
        if (n)
            memcpy(f, e->answers[i].features, n * sizeof *f);
        a->features = f;
        f += n;
    }
    if (e->query)
        m->evidence.query = memcpy(p, e->query, (size_t)e->query_dim);
    return m;
}

static struct learn_memory *new_memory(const struct evidence *e, struct slice text,
                                       struct slice labels)
{
    struct slice parts[4] = {slice_str(e->tenant), slice_str(e->request_id), text, labels};
    struct learn_memory *m =
        mem_alloc(sizeof *m + parts[0].n + parts[1].n + parts[2].n + parts[3].n);
    char *p = (char *)(m + 1);

    for (int i = 0; i < 4; i++) {
        memcpy(p, parts[i].p, parts[i].n);
        parts[i].p = p;
        p += parts[i].n;
    }
    *m = (struct learn_memory){.tenant = parts[0],
                               .request_id = parts[1],
                               .text = parts[2],
                               .labels = parts[3],
                               .decided_wall_us = e->decided_wall_us};
    return m;
}

static size_t memory_size(const struct learn_memory *m)
{
    return sizeof *m + m->tenant.n + m->request_id.n + m->text.n + m->labels.n;
}

/* Newer ones are worth more: their outcomes are still to come. */
static void keep_memory(struct learner *l, struct learn_memory *m)
{
    list_push_back(&l->memories, &m->link);
    l->memory_count++;
    l->memory_bytes += memory_size(m);
    while (l->memory_count > MAX_MEMORIES || l->memory_bytes > MAX_MEMORY_BYTES) {
        struct learn_memory *old = CONTAINER_OF(l->memories.next, struct learn_memory, link);

        list_remove(&old->link);
        l->memory_count--;
        l->memory_bytes -= memory_size(old);
        free(old);
        stats_add(l->dropped, 1);
    }
}

/* A request that began before its models' scorers changed is counted under the new ones, too. */
static void score_anew(struct learner *l, struct evidence_message *m)
{
    for (int i = 0; i < m->evidence.count; i++) {
        struct evidence_answer *a = &m->answers[i];
        const struct scorer_record *now = scorer_table_find(&l->scorers, slice_str(a->model));

        if (a->verdict_milli >= 0)
            learner_fit_note(l, TALLY_VALIDATOR);
        if (!now || a->bin < 0 || a->feature_count != CONFIDENCE_FEATURES ||
            a->scorer == now->scorer.version)
            continue;
        a->also_scorer = now->scorer.version;
        a->also_bin = curve_bin(scorer_table_score(now, a->features));
    }
}

static void deliver_evidence(struct message *msg, void *ctx)
{
    struct evidence_message *m = CONTAINER_OF(msg, struct evidence_message, msg);
    struct learner *l = ctx;
    struct evidence_labels labels;
    struct buf text, label_text;

    atomic_fetch_add_explicit(&l->taken, 1, memory_order_relaxed);
    score_anew(l, m);
    evidence_labels_init(&labels, &m->evidence);
    buf_init(&text, EVIDENCE_TEXT_BYTES);
    buf_init(&label_text, EVIDENCE_TEXT_BYTES);
    evidence_count(&m->evidence, &labels, &l->sheet);
    learner_signals_note(l, &m->evidence);
    if (evidence_write(&m->evidence, &text) == ERR_OK &&
        evidence_labels_write(&labels, &label_text) == ERR_OK)
        keep_memory(l, new_memory(&m->evidence, buf_slice(&text), buf_slice(&label_text)));
    else
        stats_add(l->dropped, 1);
    buf_clear(&text);
    buf_clear(&label_text);
    free(m);
}

void learner_post(struct learner *l, const struct evidence *e)
{
    int64_t taken = atomic_load_explicit(&l->taken, memory_order_relaxed);
    struct evidence_message *m;

    if (!e->learn && learner_recalls(l))
        return;
    if (atomic_fetch_add_explicit(&l->posted, 1, memory_order_relaxed) - taken > MAX_POSTED) {
        atomic_fetch_sub_explicit(&l->posted, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&l->refused, 1, memory_order_relaxed);
        return;
    }
    m = copy_evidence(e);
    m->msg = (struct message){.deliver = deliver_evidence, .discard = discard_message};
    mailbox_post(&l->evidence, &m->msg);
}

/* ---- to the store ---- */

static void clear_batch(struct learn_batch *b)
{
    learn_sheet_clear(&b->sheet);
    LIST_FOREACH_SAFE (it, &b->memories)
        free(CONTAINER_OF(it, struct learn_memory, link));
    list_init(&b->memories);
}

static void fill_batch(struct learner *l)
{
    l->batch.number++;
    learn_sheet_take(&l->sheet, &l->batch.sheet, LEARN_BATCH_UNITS);
    for (int i = 0; i < LEARN_BATCH_MEMORIES && !list_empty(&l->memories); i++) {
        struct learn_memory *m = CONTAINER_OF(l->memories.next, struct learn_memory, link);

        list_remove(&m->link);
        l->memory_count--;
        l->memory_bytes -= memory_size(m);
        list_push_back(&l->batch.memories, &m->link);
    }
    l->batch_full = true;
}

bool learner_nothing_waits(const struct learner *l)
{
    return !l->batch_full && learn_sheet_empty(&l->sheet) && list_empty(&l->memories) &&
           atomic_load_explicit(&l->posted, memory_order_acquire) ==
               atomic_load_explicit(&l->taken, memory_order_relaxed);
}

static void on_written(void *ctx, enum err err)
{
    struct learner *l = ctx;

    l->writing = false;
    if (err != ERR_OK)
        return; /* with the next tick again, under the same number */
    clear_batch(&l->batch);
    l->batch_full = false;
    learner_labels_retry(l);
    learner_send(l);
    learner_serve_flush(l);
}

void learner_take(struct learner *l)
{
    int64_t refused = atomic_exchange_explicit(&l->refused, 0, memory_order_relaxed);

    mailbox_drain(&l->evidence, l);
    stats_add(l->dropped, refused);
    stats_set(l->lost_units, l->sheet.refused);
}

void learner_send(struct learner *l)
{
    learner_take(l);
    stats_set(l->waiting, (int64_t)l->memory_count);
    if (l->writing)
        return;
    if (!l->batch_full && (!learn_sheet_empty(&l->sheet) || !list_empty(&l->memories)))
        fill_batch(l);
    if (!l->batch_full)
        return;
    l->writing = true;
    l->store->ops->write(l->store, &l->batch, on_written, l);
}

/* ---- back from it ---- */

static void on_unit(void *ctx, const struct learn_unit_name *name, const struct tally *t)
{
    struct learner *l = ctx;

    learned_put(&l->learned, name, t);
    learner_near_note(l);
    l->changed = true;
}

static void on_added(void *ctx, const struct learn_unit_name *name, const struct tally *t)
{
    struct learner *l = ctx;

    learned_add(&l->learned, name, t);
    learner_near_note(l);
    l->changed = true;
}

static void on_scorer(void *ctx, struct slice model, struct slice text)
{
    struct learner *l = ctx;

    scorer_table_stage(&l->scorers, model, text);
}

static void on_reset(void *ctx)
{
    struct learner *l = ctx;

    learned_clear(&l->learned);
    scorer_table_clear(&l->scorers);
    learner_near_note(l);
    l->changed = true;
}

/* Not before something is known: a process that starts decides by what was learned from its first
 * request on, unless the store is away. */
static void serve_next(struct learner *l)
{
    if (!l->next || (!l->has_read && l->ticks < FIRST_TICKS))
        return;
    learner_publish_next(l, l->next);
    policy_unref(l->next);
    l->next = NULL;
}

static void say_flushed(struct learner *l, uint64_t number)
{
    pthread_mutex_lock(&l->lock);
    l->flushed = number;
    pthread_cond_broadcast(&l->progress);
    pthread_mutex_unlock(&l->lock);
}

static void on_read(void *ctx, enum err err)
{
    struct learner *l = ctx;

    l->reading = false;
    l->has_read = l->has_read || err == ERR_OK;
    if (err == ERR_OK && scorer_table_commit(&l->scorers))
        l->changed = true;
    if (learner_publish_due(l) || (l->flush_reading && l->changed))
        learner_publish(l);
    serve_next(l);
    if (err == ERR_OK && l->flush_reading) {
        say_flushed(l, l->flush_reading);
        l->flush_reading = 0;
    }
    if (err == ERR_OK)
        learner_serve_flush(l); /* one that came during the read; else with the next tick */
}

/* A clock that was ahead has made buckets look old that are not. */
static void read_what_was_forgotten(struct learner *l)
{
    int64_t now_us = clock_wall_us();

    if (now_us > l->forgot_us - tally_bucket_us(TALLY_QUICK))
        return;
    log_line(LOG_WARN, "learn", "the clock was set back; all that was learned is read again", NULL);
    l->forgot_us = now_us;
    l->store->ops->anew(l->store);
}

static void begin_read(struct learner *l)
{
    if (l->reading)
        return;
    read_what_was_forgotten(l);
    l->reading = true;
    l->store->ops->read(l->store, &(struct learn_read){.scorer = on_scorer,
                                                       .unit = on_unit,
                                                       .added = on_added,
                                                       .reset = on_reset,
                                                       .done = on_read,
                                                       .ctx = l});
}

/* A read that began after everything was written has seen it. */
void learner_serve_flush(struct learner *l)
{
    if (l->flush_heard <= l->flushed || l->reading || !list_empty(&l->labels) ||
        !learner_nothing_waits(l))
        return;
    l->flush_reading = l->flush_heard;
    begin_read(l);
}

/* ---- the loop ---- */

static void end_loop(struct learner *l)
{
    int64_t lost = (int64_t)l->memory_count;

    learner_labels_end(l);
    if (!learner_nothing_waits(l))
        log_line(LOG_WARN, "learn", "closed before everything was stored", "requests=%lld",
                 (long long)lost);
    event_base_loopbreak(l->base);
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    struct learner *l = ctx;

    (void)fd, (void)what;
    learner_send(l);
    learner_labels_retry(l);
    learner_signals_due(l);
    learner_fit_tick(l);
    learner_near_tick(l);
    stats_set(l->up, l->store->ops->up(l->store));
    if (l->closing && (learner_nothing_waits(l) || clock_mono_us() >= l->close_until_us)) {
        end_loop(l);
        return;
    }
    learner_serve_flush(l);
    l->ticks++;
    serve_next(l);
    begin_read(l);
}

static void on_mail(evutil_socket_t fd, short what, void *ctx)
{
    struct learner *l = ctx;

    (void)fd, (void)what;
    mailbox_drain(&l->requests, l);
}

static void on_soon(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    learner_labels_retry(ctx);
}

static void set_tick(struct learner *l, int64_t ms)
{
    event_add(l->tick, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
}

static void *run(void *arg)
{
    struct learner *l = arg;

    begin_read(l); /* what there is already */
    event_base_dispatch(l->base);
    return NULL;
}

/* ---- messages ---- */

struct order { /* from control */
    struct message msg;
    struct policy *policy; /* owned reference; NULL */
    uint64_t flush;        /* its number; 0: none is asked for */
};

static void discard_order(struct message *m)
{
    struct order *o = CONTAINER_OF(m, struct order, msg);

    policy_unref(o->policy);
    free(o);
}

static void post_order(struct learner *l, void (*deliver)(struct message *, void *),
                       struct policy *p, uint64_t flush)
{
    struct order *o = mem_zalloc(1, sizeof *o);

    o->msg = (struct message){.deliver = deliver, .discard = discard_order};
    o->policy = p;
    o->flush = flush;
    mailbox_post(&l->requests, &o->msg);
}

static void deliver_policy(struct message *m, void *ctx)
{
    struct order *o = CONTAINER_OF(m, struct order, msg);
    struct learner *l = ctx;

    learner_publish_under(l, o->policy);
    discard_order(m);
}

void learner_set_policy(struct learner *l, struct policy *p)
{
    post_order(l, deliver_policy, policy_ref(p), 0);
}

static void deliver_next(struct message *m, void *ctx)
{
    struct order *o = CONTAINER_OF(m, struct order, msg);
    struct learner *l = ctx;
    struct policy *old = l->next;

    l->next = o->policy;
    o->policy = old;
    discard_order(m);
    serve_next(l);
}

bool learner_prepare(struct learner *l, struct policy *p, int64_t timeout_ms)
{
    if (learner_await_next(l, p, 0))
        return true;
    post_order(l, deliver_next, policy_ref(p), 0);
    return learner_await_next(l, p, timeout_ms);
}

/* What was posted before it has been delivered. */
static void deliver_flush(struct message *m, void *ctx)
{
    struct order *o = CONTAINER_OF(m, struct order, msg);
    struct learner *l = ctx;

    l->flush_heard = o->flush > l->flush_heard ? o->flush : l->flush_heard;
    discard_order(m);
    on_tick(-1, 0, ctx);
}

bool learner_flush(struct learner *l, int64_t timeout_ms)
{
    int64_t until_us = clock_mono_us() + timeout_ms * 1000;
    bool in_time = true;

    pthread_mutex_lock(&l->lock);
    uint64_t number = ++l->flush_asked;
    pthread_mutex_unlock(&l->lock);
    post_order(l, deliver_flush, NULL, number);
    pthread_mutex_lock(&l->lock);
    while (l->flushed < number && in_time)
        in_time = cond_wait_until(&l->progress, &l->lock, until_us);
    bool done = l->flushed >= number;
    pthread_mutex_unlock(&l->lock);
    return done;
}

static void deliver_close(struct message *m, void *ctx)
{
    struct learner *l = ctx;

    discard_order(m);
    l->closing = true;
    l->close_until_us = clock_mono_us() + CLOSE_MS * 1000;
    on_tick(-1, 0, l);
    set_tick(l, TICK_MS / 10);
}

struct stats *learner_stats(struct learner *l)
{
    return l->stats;
}

void learner_label(struct learner *l, struct learner_label *label)
{
    label->msg.deliver = learner_label_begin;
    mailbox_post(&l->requests, &label->msg);
}

/* ---- life ---- */

static void free_learner(struct learner *l)
{
    mailbox_close(&l->evidence);
    mailbox_close(&l->requests);
    if (l->store)
        l->store->ops->close(l->store);
    clear_batch(&l->batch);
    learn_sheet_clear(&l->sheet);
    LIST_FOREACH_SAFE (it, &l->memories)
        free(CONTAINER_OF(it, struct learn_memory, link));
    learner_fit_free(l->fit);
    learner_near_free(l->near);
    scorer_table_clear(&l->scorers);
    learned_clear(&l->learned);
    outcome_signals_free(l->signals);
    learner_publish_end(l);
    policy_unref(l->next);
    ledger_reader_close(l->reader);
    event_free(l->mail);
    event_free(l->tick);
    event_free(l->soon);
    event_base_free(l->base);
    mailbox_clear(&l->evidence);
    mailbox_clear(&l->requests);
    pthread_cond_destroy(&l->progress);
    pthread_mutex_destroy(&l->lock);
    stats_free(l->stats);
    free(l);
}

static struct learner *new_learner(const struct learner_options *opt)
{
    struct learner *l = mem_zalloc(1, sizeof *l);

    l->opt = *opt;
    pthread_mutex_init(&l->lock, NULL);
    cond_init(&l->progress);
    list_init(&l->memories);
    list_init(&l->labels);
    l->signals = outcome_signals_new();
    list_init(&l->batch.memories);
    learn_sheet_init(&l->sheet, MAX_UNITS);
    learn_sheet_init(&l->batch.sheet, LEARN_BATCH_UNITS);
    learned_init(&l->learned);
    scorer_table_init(&l->scorers);
    l->stats = stats_new();
    l->fit = learner_fit_new(l);
    l->near = learner_near_new(l);
    l->waiting = stats_cell(l->stats, STAT_LEARN_WAITING, NULL);
    l->dropped = stats_cell(l->stats, STAT_LEARN_DROPPED, NULL);
    l->lost_units = stats_cell(l->stats, STAT_LEARN_LOST_UNITS, NULL);
    l->up = stats_cell(l->stats, STAT_LEARN_STORE_UP, NULL);
    l->neighbour_rows = stats_cell(l->stats, STAT_LEARN_NEIGHBOURS, NULL);
    l->build_us = stats_cell(l->stats, STAT_LEARN_BUILD_US, NULL);
    if (mailbox_init(&l->evidence) != 0 || mailbox_init(&l->requests) != 0)
        mem_need(NULL);
    l->base = event_base_new();
    mem_need(l->base);
    l->mail = event_new(l->base, l->requests.fd, EV_READ | EV_PERSIST, on_mail, l);
    l->tick = event_new(l->base, -1, EV_PERSIST, on_tick, l);
    l->soon = event_new(l->base, -1, 0, on_soon, l);
    mem_need(l->mail);
    mem_need(l->tick);
    mem_need(l->soon);
    event_add(l->mail, NULL);
    set_tick(l, TICK_MS);
    return l;
}

enum err learner_open(const struct learner_options *opt, struct learner **out, struct err_text *t)
{
    struct learner *l = new_learner(opt);
    enum err err;
    int rc;

    err = opt->path && opt->read_only ? learn_store_sqlite_read(opt->path, l->base, &l->store, t)
          : opt->path                 ? learn_store_sqlite_open(opt->path, l->base, &l->store, t)
                      : learn_store_redis_open(opt->redis_url, opt->prefix, l->base, &l->store, t);
    if (err != ERR_OK) {
        free_learner(l);
        return err;
    }
    rc = thread_start(&l->thread, "learner", run, l);
    if (rc != 0) {
        err_say(t, "no thread: %s", strerror(rc));
        free_learner(l);
        return ERR_INTERNAL;
    }
    *out = l;
    return ERR_OK;
}

void learner_close(struct learner *l)
{
    if (!l)
        return;
    post_order(l, deliver_close, NULL, 0);
    pthread_join(l->thread, NULL);
    free_learner(l);
}
