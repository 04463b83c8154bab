/* Answers to questions that mean the same: neighbours from the vector index, looked at one by one,
 * and the decision whether one may be served. Owns the index, its snapshots, the budgets, and
 * the scan that fills the index from the store. Called on the cache thread.
 *
 *   vector -> nearest 8 -> those not in memory from the store -> each: may it be served at all?
 *          -> gates between the two texts -> probability against the budget's cut -> hit or miss
 *
 * The index is a hint: what it names is looked at again in the entry itself, and what turns out to
 * be gone or of another generation leaves it then. */
#include <assert.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/cache_budgets.h"
#include "cache/cache_int.h"
#include "cache/cache_served.h"
#include "cache/cache_snapshot.h"
#include "cache/timely.h"
#include "cache/vindex.h"
#include "cache/vslab.h"

#define NEIGHBOURS  RISK_NEIGHBOURS
#define ROUNDS      4  /* of searches, while all that is found turns out to be gone */
#define MAKE_ROOM   16 /* entries given up for one that does not fit */
#define ADMITTED    16384
#define TEND_ROUNDS 4 /* of a tick */

struct cache_meaning {
    struct vindex_options index_options;
    struct vindex *index;
    struct vindex_reader *reader;
    struct cache_budgets *budgets;   /* owned */
    struct cache_snapshot *snapshot; /* owned */
    struct cache_served served;
    bool scan_wanted, scanning;
    uint64_t page_since; /* the page that is on its way was asked for (cache_removals_now) */
    /* Answers that two tenants were seen to lead to, each at its number's place: a later one may
     * take it, and is to be seen again then. */
    uint64_t admitted[ADMITTED];
    struct cache *c;
    struct cache_meaning *next; /* of the retired */
};

/* ---- the index ---- */

static bool is_ours(const struct cache *c, const struct cache_fields *f)
{
    return f->vector && f->dim == c->opt.dim && f->text.n > 0 &&
           memcmp(f->fingerprint, c->opt.fingerprint, sizeof f->fingerprint) == 0;
}

static bool is_full(const struct cache *c)
{
    struct vindex_stat st;

    vindex_stat(c->meaning->index, &st);
    return st.entries >= c->opt.max_entries;
}

/* Gives up the least valuable of a few. */
static bool make_room(struct cache *c)
{
    for (int i = 0; i < MAKE_ROOM; i++) {
        const struct cache_entry *e = cache_residents_least(&c->residents);
        if (e && vindex_del(c->meaning->index, e->f.id))
            return true;
    }
    return false;
}

void cache_meaning_add(struct cache *c, const struct cache_fields *f)
{
    struct cache_meaning *m = c->meaning;

    if (!m || !is_ours(c, f) || vindex_has(m->index, f->id))
        return;
    if (is_full(c) && !make_room(c))
        return;
    for (int i = 0; i < MAKE_ROOM; i++)
        if (vindex_add(m->index, &f->rest, f->id, f->vector, f->expires_ms) != ERR_TOO_LARGE ||
            !make_room(c))
            return; /* there, not a unit vector, or no room: then it has no neighbours */
}

void cache_meaning_drop(struct cache *c, uint64_t id)
{
    if (c->meaning)
        vindex_del(c->meaning->index, id);
}

struct fetching {
    struct cache *c;
    uint64_t since; /* as of cache_removals_now */
};

static void on_fetched_entry(void *ctx, enum err err, struct cache_entry *const *e, size_t n)
{
    struct fetching *x = ctx;

    if (err == ERR_OK && n == 1 && e[0] && !x->c->closing &&
        !cache_removed_since(x->c, &e[0]->f, x->since))
        cache_meaning_add(x->c, &e[0]->f);
    free(x);
}

void cache_meaning_fetch(struct cache *c, struct slice scope, uint64_t id)
{
    if (!c->meaning || vindex_has(c->meaning->index, id))
        return;
    struct fetching *x = mem_alloc(sizeof *x);
    *x = (struct fetching){c, cache_removals_now(&c->removals)};
    store_get(c->store, &(struct store_ref){scope, id}, 1, on_fetched_entry, x);
}

/* ---- filling it ---- */

static void on_page(void *ctx, enum err err, const struct cache_fields *f, size_t n,
                    struct slice next);

static void scan_from(struct cache_meaning *m, struct slice cursor)
{
    m->page_since = cache_removals_now(&m->c->removals);
    store_scan(m->c->store, cursor, on_page, m);
}

static void on_page(void *ctx, enum err err, const struct cache_fields *f, size_t n,
                    struct slice next)
{
    struct cache_meaning *m = ctx;
    struct cache *c = m->c;
    int64_t now_ms = cache_now_ms(c);

    if (c->closing || m != c->meaning) /* an encoder's before this one */
        return;
    for (size_t i = 0; i < n; i++)
        if (f[i].expires_ms > now_ms && f[i].generation == store_generation(c->store, f[i].scope) &&
            !cache_removed_since(c, &f[i], m->page_since))
            cache_meaning_add(c, &f[i]);
    if (err == ERR_OK && next.n > 0) {
        scan_from(m, next);
        return;
    }
    c->meaning->scanning = false;
    c->meaning->scan_wanted = c->meaning->scan_wanted || err != ERR_OK;
}

void cache_meaning_lost(struct cache *c)
{
    if (c->meaning)
        c->meaning->scan_wanted = true;
}

static void scan_when_wanted(struct cache *c)
{
    struct cache_meaning *m = c->meaning;

    if (!m->scan_wanted || m->scanning || !cache_is_current(c))
        return;
    m->scan_wanted = false;
    m->scanning = true;
    scan_from(m, SLICE(""));
}

/* ---- a question ---- */

struct neighbour {
    uint64_t id;
    double cosine;
    struct cache_entry *entry; /* a reference; NULL: not (or no longer) there */
    bool fits;                 /* the gates let it pass */
    int guard;                 /* that did not; -1 */
};

struct search {
    struct cache *c;
    struct cache_meaning *meaning; /* borrowed: that it began with */
    struct cache_ask *ask;         /* owned */
    struct neighbour near[NEIGHBOURS];
    size_t count;
    size_t missing[NEIGHBOURS], missing_count;
    int round;
    uint64_t since; /* the missing were asked for (cache_removals_now) */
    bool timely;    /* the question */
};

static void find(struct search *s);

static void drop_neighbours(struct search *s)
{
    for (size_t i = 0; i < s->count; i++)
        cache_entry_unref(s->near[i].entry);
    s->count = s->missing_count = 0;
}

static void end_search(struct search *s, enum cache_verdict v, struct cache_entry *e)
{
    struct cache *c = s->c;
    struct cache_ask *a = s->ask;

    if (a->explain)
        mailbox_post(a->reply_to, &a->msg);
    else if (v == CACHE_HIT_SEMANTIC)
        cache_lookup_answer(c, a, v, e);
    else
        cache_lookup_miss(c, a);
    drop_neighbours(s);
    free(s);
}

/* A question about today is not answered with yesterday's answer to a question that did not say so.
 */
static bool is_too_old(const struct search *s, const struct cache_entry *e)
{
    return s->timely && cache_now_ms(s->c) - e->f.created_ms >= s->ask->q.rules.timely_ttl_ms;
}

/* Takes out what may not be served whatever it says; true while something is left. */
static bool sift(struct search *s)
{
    struct cache *c = s->c;
    size_t kept = 0;

    for (size_t i = 0; i < s->count; i++) {
        struct neighbour n = s->near[i];
        const struct cache_entry *e = n.entry;
        bool same_rest = e && digest_eq(e->f.rest, s->ask->q.rest) && is_ours(c, &e->f);
        if (same_rest && cache_may_serve(c, s->ask, e) && !is_too_old(s, e)) {
            n.cosine = vslab_cosine(s->ask->vector, e->f.vector, (size_t)c->opt.dim);
            s->near[kept++] = n;
            continue;
        }
        /* Too old for this caller is not too old for all. */
        bool gone = !same_rest || !cache_entry_serves(e, cache_now_ms(c)) ||
                    e->f.generation != store_generation(c->store, e->f.scope);
        if (gone)
            vindex_del(c->meaning->index, n.id);
        cache_entry_unref(n.entry);
    }
    s->count = kept;
    return kept > 0;
}

/* The gates, and how alike the texts are. */
static void compare_texts(struct search *s, struct guard_likeness *like)
{
    struct guard_facts mine, theirs;

    guard_read(s->ask->q.text, &mine);
    for (size_t i = 0; i < s->count; i++) {
        guard_read(s->near[i].entry->f.text, &theirs);
        int refused = guard_refuses(&mine, &theirs, s->ask->q.rules.guards);
        guard_compare(&mine, &theirs, &like[i]);
        s->near[i].fits = refused < 0;
        s->near[i].guard = refused;
        if (i == 0)
            s->ask->why.guard = refused;
    }
}

static bool is_first_of_its_answer(const struct search *s, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (s->near[k].fits && s->near[k].entry->f.answer == s->near[i].entry->f.answer)
            return false;
    return s->near[i].fits;
}

static void admit(struct cache *c, uint64_t answer)
{
    c->meaning->admitted[answer % ADMITTED] = answer;
}

/* Of a shared scope: may this tenant be given that answer? The head of cache.h says why. */
static bool is_admitted(const struct search *s, const struct cache_entry *best)
{
    struct slice asker = s->ask->q.asker;

    if (best->f.scope.n > 0 || slice_eq(best->f.owner, asker) ||
        s->c->meaning->admitted[best->f.answer % ADMITTED] == best->f.answer)
        return true;
    for (size_t i = 0; i < s->count; i++) {
        const struct cache_fields *f = &s->near[i].entry->f;
        bool other = !slice_eq(f->owner, best->f.owner);
        bool operators = f->source == CACHE_FROM_WARMING || f->source == CACHE_FROM_IMPORT;
        if (f->answer == best->f.answer && (other || operators)) {
            admit(s->c, best->f.answer);
            return true;
        }
    }
    return false;
}

/* What may not be served stands back where there is something that may; alone it is there to be
 * learned about. */
static int prefer_admitted(const struct search *s, struct risk_neighbour *out, size_t *which, int n)
{
    int kept = 0;

    for (int i = 0; i < n; i++)
        if (is_admitted(s, s->near[which[i]].entry)) {
            out[kept] = out[i];
            which[kept++] = which[i];
        }
    return kept > 0 ? kept : n;
}

/* One candidate for each answer that passed the gates; which[]: its neighbour. */
static int candidates(const struct search *s, const struct guard_likeness *like,
                      struct risk_neighbour *out, size_t *which)
{
    int n = 0;

    for (size_t i = 0; i < s->count; i++) {
        uint64_t answer = s->near[i].entry->f.answer;
        int keys = 0;
        double rival = 0;
        if (!is_first_of_its_answer(s, i))
            continue;
        for (size_t k = 0; k < s->count; k++) {
            bool same = s->near[k].entry->f.answer == answer;
            keys += same;
            if (!same && s->near[k].cosine > rival)
                rival = s->near[k].cosine;
        }
        which[n] = i;
        out[n++] = (struct risk_neighbour){.answer = answer,
                                           .cosine = (float)s->near[i].cosine,
                                           .rival = (float)rival,
                                           .votes = (float)keys / (float)s->count,
                                           .keys = keys,
                                           .like = like[i]};
    }
    return prefer_admitted(s, out, which, n);
}

/* What decide would have done, and why; nothing of it is done. */
static void explain(struct search *s)
{
    struct cache_explained *x = s->ask->explain;
    struct cache_budgets *budgets = s->c->meaning->budgets;
    struct guard_likeness like[NEIGHBOURS];
    struct risk_neighbour n[NEIGHBOURS];
    size_t which[NEIGHBOURS];
    double p[NEIGHBOURS];
    struct risk_verdict v;

    compare_texts(s, like);
    int count = candidates(s, like, n, which);
    x->by_meaning = true;
    x->count = s->count;
    for (size_t i = 0; i < s->count; i++)
        x->near[i] = (struct cache_neighbour){.entry = cache_entry_ref(s->near[i].entry),
                                              .cosine = s->near[i].cosine,
                                              .guard = s->near[i].guard,
                                              .probability = -1,
                                              .admitted = is_admitted(s, s->near[i].entry)};
    x->budget = cache_budgets_find(budgets, s->ask->q.scope, &s->ask->q.rules);
    risk_peek(cache_budgets_risk(budgets, x->budget), n, count, p, &v);
    for (int i = 0; i < count; i++) {
        x->near[which[i]].probability = p[i];
        risk_features(&n[i], x->near[which[i]].features);
    }
    risk_facts(cache_budgets_risk(budgets, x->budget), &x->risk);
    x->cut = v.cut;
    x->choice = v.choice < 0 ? -1 : (int)which[v.choice];
    x->would_serve = v.would_serve;
    x->serve = v.serve && !s->ask->q.rules.shadow && x->near[x->choice].admitted;
    mailbox_post(s->ask->reply_to, &s->ask->msg);
    drop_neighbours(s);
    free(s);
}

static void decide(struct search *s)
{
    struct cache *c = s->c;
    struct cache_ask *a = s->ask;
    struct guard_likeness like[NEIGHBOURS];
    struct risk_neighbour n[NEIGHBOURS];
    size_t which[NEIGHBOURS];
    struct risk_verdict v;

    if (s->count > 0) {
        a->why.cosine = s->near[0].cosine;
        a->why.entry = s->near[0].entry->f.id;
        a->why.answer = s->near[0].entry->f.answer;
    }
    compare_texts(s, like);
    int count = candidates(s, like, n, which);
    struct cache_budgets *budgets = c->meaning->budgets;
    a->why.budget = cache_budgets_find(budgets, a->q.scope, &a->q.rules);
    risk_consider(cache_budgets_risk(budgets, a->why.budget), n, count, rng_unit(&c->rng), &v);
    a->why.cut = v.cut;
    a->why.shadow = a->q.rules.shadow || (v.would_serve && !v.serve);
    if (v.choice < 0) {
        a->why.budget = 0;
        end_search(s, CACHE_MISS, NULL);
        return;
    }
    const struct neighbour *best = &s->near[which[v.choice]];
    a->why.cosine = best->cosine;
    a->why.entry = best->entry->f.id;
    a->why.answer = best->entry->f.answer;
    a->why.guard = -1;
    a->why.probability = v.p;
    memcpy(a->why.features, v.features, sizeof a->why.features);
    bool serve = v.serve && !a->q.rules.shadow && is_admitted(s, best->entry);
    a->why.audit = serve && v.audit;
    /* What is not served is answered afresh anyway: it is compared in any case. */
    a->why.audit_share = serve ? v.audit_share : v.would_serve ? 1 : 0;
    if (!serve)
        a->neighbour = cache_entry_ref(best->entry);
    end_search(s, serve ? CACHE_HIT_SEMANTIC : CACHE_MISS, serve ? best->entry : NULL);
}

static void look_at(struct search *s)
{
    size_t found = s->count;

    if (!sift(s) && found == NEIGHBOURS && ++s->round < ROUNDS)
        find(s); /* all of them were of the past: what lies behind them? */
    else if (s->ask->explain)
        explain(s);
    else
        decide(s);
}

static void on_missing(void *ctx, enum err err, struct cache_entry *const *e, size_t n)
{
    struct search *s = ctx;

    if (err != ERR_OK || s->c->closing || s->meaning != s->c->meaning) {
        end_search(s, CACHE_MISS, NULL);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct neighbour *at = &s->near[s->missing[i]];
        struct cache_entry *newer =
            e[i] ? cache_residents_exact(&s->c->residents, &e[i]->f.exact) : NULL;
        bool fits = e[i] && e[i]->f.id == at->id && (!newer || newer->f.id == at->id);
        struct cache_entry *kept = fits ? cache_keep_read(s->c, e[i], s->since) : NULL;
        at->entry = kept ? cache_entry_ref(kept) : NULL;
    }
    look_at(s);
}

static void fetch_missing(struct search *s)
{
    struct store_ref refs[NEIGHBOURS];

    for (size_t i = 0; i < s->missing_count; i++)
        refs[i] = (struct store_ref){s->ask->q.scope, s->near[s->missing[i]].id};
    s->since = cache_removals_now(&s->c->removals);
    store_get(s->c->store, refs, s->missing_count, on_missing, s);
}

static void find(struct search *s)
{
    struct cache *c = s->c;
    struct vindex_hit hits[NEIGHBOURS];
    size_t found = 0;

    drop_neighbours(s);
    if (vindex_topk(c->meaning->reader, &s->ask->q.rest, s->ask->vector, NEIGHBOURS,
                    cache_now_ms(c), hits, &found) != ERR_OK) {
        end_search(s, CACHE_MISS, NULL);
        return;
    }
    for (size_t i = 0; i < found; i++) {
        struct cache_entry *e = cache_residents_id(&c->residents, hits[i].id);
        s->near[i] = (struct neighbour){.id = hits[i].id, .entry = e ? cache_entry_ref(e) : NULL};
        if (!e)
            s->missing[s->missing_count++] = i;
    }
    s->count = found;
    if (s->missing_count > 0)
        fetch_missing(s);
    else
        look_at(s);
}

static bool has_our_vector(const struct cache *c, const struct cache_ask *a)
{
    return a->vector && a->dim == c->opt.dim &&
           memcmp(a->fingerprint, c->opt.fingerprint, sizeof a->fingerprint) == 0;
}

bool cache_meaning_begin(struct cache *c, struct cache_ask *a)
{
    const struct cache_rules *rules = &a->q.rules;
    bool possible = c->meaning && has_our_vector(c, a) && rules->semantic && a->q.text.n > 0 &&
                    !c->closing && rules->max_error > 0 && rules->max_error < 0.5 &&
                    cache_is_current(c);

    if (!possible)
        return false;
    struct search *s = mem_zalloc(1, sizeof *s);
    s->c = c;
    s->meaning = c->meaning;
    s->ask = a;
    s->timely = timely_of(a->q.text) != TIMELESS;
    find(s);
    return true;
}

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
        admit(c, answer);
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
    scan_when_wanted(c);
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
