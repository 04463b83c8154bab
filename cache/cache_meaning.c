/* Answers to questions that mean the same, beside the search for one (cache_meaning_search.c): what
 * is learned about them, and the life of the index, which is filled by cache_meaning_index.c, of
 * its snapshots and of the budgets. Called on the cache thread. */
#include "cache/cache_meaning_int.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define TEND_ROUNDS 4 /* of a tick */

/* ---- learning ---- */

static void on_joined(void *ctx, enum err err, uint64_t replaced)
{
    (void)ctx, (void)err,
        (void)replaced; /* it is in memory; a store that is away has the old one */
}

/* The entry's question leads to `answer` as well: one more key of it. In its place comes the same
 * entry under a new id, for entries do not change. */
static void join(struct cache *c, uint64_t key, uint64_t answer, uint64_t stored)
{
    struct cache_entry *e = cache_residents_id(&c->residents, key);
    const struct cache_entry *first = cache_residents_id(&c->residents, stored);
    bool whole = e && e->f.body.n > 0 && e->f.answer != answer &&
                 cache_entry_serves(e, cache_now_ms(c)) &&
                 e->f.generation == store_generation(c->store, e->f.scope);

    if (!whole)
        return;
    if (first && !slice_eq(first->f.owner, e->f.owner))
        *cache_meaning_admitted(c, answer) = answer;
    struct cache_fields f = e->f;
    f.id = 0;
    f.answer = answer;
    struct cache_entry *joined = cache_entry_new(&f);
    cache_meaning_drop(c, key);
    cache_residents_add(&c->residents, joined); /* of equal `exact`: e is dead from now on */
    cache_meaning_add(c, &joined->f);
    store_put(c->store, joined, on_joined, c);
    cache_entry_unref(joined);
}

void cache_meaning_learn(struct cache *c, const struct cache_label *l)
{
    struct risk_label label = {.answer = l->answer,
                               .p = l->probability,
                               .audit_share = l->audit_share,
                               .word = l->word,
                               .weight = l->weight,
                               .right = l->right};

    if (!c->meaning || l->answer == 0)
        return;
    memcpy(label.features, l->features, sizeof label.features);
    cache_budgets_learn(c->meaning->budgets, l->budget, &label);
    if (l->right && l->key)
        join(c, l->key, l->answer, l->entry);
}

void cache_meaning_remember(struct cache *c, const struct digest *reply,
                            const struct cache_label *l)
{
    if (c->meaning)
        cache_served_add(&c->meaning->served, reply, l);
}

void cache_meaning_word(struct cache *c, const struct digest *reply, bool right, double weight)
{
    struct cache_label l;

    if (c->meaning && cache_served_word(&c->meaning->served, reply, right, weight, &l))
        cache_meaning_learn(c, &l);
}

const struct cache_budgets *cache_meaning_budgets(const struct cache *c)
{
    return c->meaning ? c->meaning->budgets : NULL;
}

/* ---- its life ---- */

/* Holds all that the store has; else a snapshot of it would be one of a part. */
static bool is_complete(const struct cache_meaning *m)
{
    return !m->scanning && !m->scan_wanted;
}

void cache_meaning_tick(struct cache *c)
{
    struct cache_meaning *m = c->meaning;
    struct vindex_stat st;

    if (!m)
        return;
    cache_budgets_tick(m->budgets, cache_is_current(c), clock_mono_us());
    cache_meaning_scan(c);
    for (int i = 0; i < TEND_ROUNDS && vindex_tend(m->index, cache_now_ms(c)); i++)
        ;
    if (is_complete(m))
        cache_snapshot_tick(m->snapshot, c->store, m->index, clock_mono_us());
    vindex_stat(m->index, &st);
    c->facts.indexed = st.entries;
    c->facts.index_bytes = st.bytes;
    c->facts.scanning = !is_complete(m);
    cache_budgets_facts(m->budgets, &c->facts.risk, &c->facts.quarantined);
}

void cache_meaning_save(struct cache *c)
{
    struct cache_meaning *m = c->meaning;

    if (!m)
        return;
    cache_budgets_save(m->budgets);
    if (is_complete(m))
        cache_snapshot_write(m->snapshot, c->store, m->index);
}

bool cache_meaning_saving(const struct cache *c)
{
    return c->meaning && cache_budgets_writing(c->meaning->budgets);
}

/* All but the budgets: notes of theirs may still be on their way from the store. */
static void drop_index(struct cache_meaning *m)
{
    cache_snapshot_free(m->snapshot);
    vindex_reader_free(m->reader);
    vindex_free(m->index);
    cache_served_clear(&m->served);
    m->snapshot = NULL;
    m->reader = NULL;
    m->index = NULL;
}

static void free_meaning(struct cache_meaning *m)
{
    drop_index(m);
    cache_budgets_free(m->budgets);
    free(m);
}

/* fresh: the store has long begun to tell what changes, so that no snapshot can be followed up. */
static enum err open_meaning(struct cache *c, bool fresh, struct err_text *t)
{
    if (c->opt.dim == 0)
        return ERR_OK;
    struct cache_meaning *m = c->meaning = mem_zalloc(1, sizeof *m);
    m->c = c;
    cache_served_init(&m->served);
    m->index_options = vindex_defaults;
    m->index_options.dim = c->opt.dim;
    m->index_options.max_bytes = c->opt.max_bytes / 2;
    memcpy(m->index_options.fingerprint, c->opt.fingerprint, sizeof c->opt.fingerprint);
    m->budgets = cache_budgets_new(c->store, c->opt.fingerprint);
    m->snapshot = cache_snapshot_new(c->opt.snapshot_path, c->opt.snapshot_every_ms);
    if (fresh || !cache_snapshot_load(m->snapshot, &m->index_options, c->store, &m->index)) {
        enum err err = vindex_new(&m->index_options, &m->index, t);
        if (err != ERR_OK) {
            free_meaning(m);
            c->meaning = NULL;
            return err;
        }
        m->scan_wanted = true;
    }
    m->reader = vindex_reader_new(m->index);
    return ERR_OK;
}

enum err cache_meaning_open(struct cache *c, struct err_text *t)
{
    return open_meaning(c, false, t);
}

/* The snapshot on disk stays until the new index writes its own: it carries the fingerprint. */
void cache_meaning_change(struct cache *c, int dim, const uint8_t *fingerprint)
{
    struct cache_meaning *before = c->meaning;
    struct err_text t;

    if (dim == c->opt.dim &&
        (dim == 0 || memcmp(fingerprint, c->opt.fingerprint, sizeof c->opt.fingerprint) == 0))
        return;
    if (before) {
        cache_budgets_save(before->budgets);
        drop_index(before);
        before->next = c->retired;
        c->retired = before;
        c->meaning = NULL;
    }
    c->opt.dim = dim;
    memcpy(c->opt.fingerprint, fingerprint, sizeof c->opt.fingerprint);
    cache_residents_limit(&c->residents, dim ? c->opt.max_bytes / 2 : c->opt.max_bytes);
    if (open_meaning(c, true, &t) != ERR_OK)
        log_line(LOG_ERROR, "cache", "no index for the new encoder; repeats only", "why=\"%s\"",
                 t.s);
    else
        log_line(LOG_INFO, "cache", "another encoder: the index begins anew", "dim=%d", dim);
}

void cache_meaning_close(struct cache *c)
{
    struct cache_meaning *m;

    if (c->meaning)
        free_meaning(c->meaning);
    c->meaning = NULL;
    while ((m = c->retired)) {
        c->retired = m->next;
        free_meaning(m);
    }
}
