/* Answers to questions that mean the same: neighbours from the vector index, looked at one by one,
 * and the decision whether one may be served. Owns the index, what was learned (risk), and the scan
 * that fills the index from the store. Called on the cache thread.
 *
 *   vector -> nearest 8 -> those not in memory from the store -> each: may it be served at all?
 *          -> gates between the two texts -> probability against the budget's cut -> hit or miss
 *
 * The index is a hint: what it names is looked at again in the entry itself, and what turns out to
 * be gone or of another generation leaves it then. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/atomic_file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/cache_int.h"
#include "cache/timely.h"
#include "cache/vindex.h"
#include "cache/vslab.h"

#define NEIGHBOURS    RISK_NEIGHBOURS
#define ROUNDS        4   /* of searches, while all that is found turns out to be gone */
#define MAX_BUDGETS   256 /* scopes with a risk of their own; later ones share one */
#define ROOT_ANSWERS  50000
#define SCOPE_ANSWERS 2000
#define MAKE_ROOM     16  /* entries given up for one that does not fit */
#define SAVE_TICKS    600 /* between notes of what was learned */
#define TEND_ROUNDS   4   /* of a tick */
#define MAX_MARK      65536
#define RISK_NOTE     "risk"

/* A scope's own max_error, cut and audits. */
struct budget {
    char *scope; /* owned */
    size_t scope_bytes;
    double max_error, audit_min;
    struct risk *risk; /* owned */
};

struct cache_meaning {
    struct vindex_options index_options;
    struct vindex *index;
    struct vindex_reader *reader;
    struct risk *root;                       /* learns from all */
    struct budget *budgets[MAX_BUDGETS + 1]; /* owned; the last is shared */
    size_t budget_count;
    bool recalled; /* what was learned before the last start has been asked for */
    uint64_t labels, saved_labels;
    bool scan_wanted, scanning;
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

static void on_fetched_entry(void *ctx, enum err err, struct cache_entry *const *e, size_t n)
{
    struct cache *c = ctx;

    if (err == ERR_OK && n == 1 && e[0] && !c->closing)
        cache_meaning_add(c, &e[0]->f);
}

void cache_meaning_fetch(struct cache *c, struct slice scope, uint64_t id)
{
    if (c->meaning && !vindex_has(c->meaning->index, id))
        store_get(c->store, &(struct store_ref){scope, id}, 1, on_fetched_entry, c);
}

/* ---- filling it ---- */

static void on_page(void *ctx, enum err err, const struct cache_fields *f, size_t n,
                    struct slice next)
{
    struct cache *c = ctx;
    int64_t now_ms = cache_now_ms(c);

    if (c->closing)
        return;
    for (size_t i = 0; i < n; i++)
        if (f[i].expires_ms > now_ms && f[i].generation == store_generation(c->store, f[i].scope))
            cache_meaning_add(c, &f[i]);
    if (err == ERR_OK && next.n > 0) {
        store_scan(c->store, next, on_page, c);
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
    store_scan(c->store, SLICE(""), on_page, c);
}

/* ---- budgets ---- */

static struct budget *new_budget(struct cache_meaning *m, struct slice scope,
                                 const struct cache_rules *rules)
{
    struct budget *b = mem_zalloc(1, sizeof *b);

    b->scope = mem_strdup(scope);
    b->scope_bytes = scope.n;
    b->max_error = rules->max_error;
    b->audit_min = rules->audit_min;
    b->risk = risk_new(&(struct risk_options){.max_error = rules->max_error,
                                              .audit_min = rules->audit_min,
                                              .max_answers = SCOPE_ANSWERS},
                       m->root);
    return b;
}

static bool same_number(double a, double b)
{
    return fabs(a - b) < 1e-12;
}

/* Whose error this question counts against; its number, from 1. */
static unsigned budget_of(struct cache_meaning *m, struct slice scope,
                          const struct cache_rules *rules)
{
    for (size_t i = 0; i < m->budget_count; i++) {
        struct budget *b = m->budgets[i];
        if (slice_eq(slice_make(b->scope, b->scope_bytes), scope) &&
            same_number(b->max_error, rules->max_error) &&
            same_number(b->audit_min, rules->audit_min))
            return (unsigned)i + 1;
    }
    if (m->budget_count < MAX_BUDGETS) {
        m->budgets[m->budget_count++] = new_budget(m, scope, rules);
        return (unsigned)m->budget_count;
    }
    if (!m->budgets[MAX_BUDGETS])
        m->budgets[MAX_BUDGETS] = new_budget(m, SLICE(""), rules);
    struct budget *shared = m->budgets[MAX_BUDGETS];
    if (rules->max_error < shared->max_error) {
        shared->max_error = rules->max_error; /* the strictest of those that share it */
        risk_set(shared->risk, shared->max_error, shared->audit_min);
    }
    return MAX_BUDGETS + 1;
}

static struct risk *risk_of(const struct cache_meaning *m, unsigned budget)
{
    bool known = budget > 0 && budget <= MAX_BUDGETS + 1 && m->budgets[budget - 1];

    return known ? m->budgets[budget - 1]->risk : NULL;
}

/* ---- a question ---- */

struct neighbour {
    uint64_t id;
    double cosine;
    struct cache_entry *entry; /* a reference; NULL: not (or no longer) there */
    bool fits;                 /* the gates let it pass */
};

struct search {
    struct cache *c;
    struct cache_ask *ask; /* owned */
    struct neighbour near[NEIGHBOURS];
    size_t count;
    size_t missing[NEIGHBOURS], missing_count;
    int round;
    bool timely; /* the question */
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

    if (v == CACHE_HIT_SEMANTIC)
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
    return n;
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
    a->why.budget = budget_of(c->meaning, a->q.scope, &a->q.rules);
    risk_consider(risk_of(c->meaning, a->why.budget), n, count, rng_unit(&c->rng), &v);
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
    a->why.audit = v.audit;
    a->why.audit_share = v.serve ? v.audit_share : v.would_serve ? 1 : 0;
    memcpy(a->why.features, v.features, sizeof a->why.features);
    bool serve = v.serve && !a->q.rules.shadow;
    end_search(s, serve ? CACHE_HIT_SEMANTIC : CACHE_MISS, serve ? best->entry : NULL);
}

static void look_at(struct search *s)
{
    size_t found = s->count;

    if (!sift(s) && found == NEIGHBOURS && ++s->round < ROUNDS)
        find(s); /* all of them were of the past: what lies behind them? */
    else
        decide(s);
}

static void on_missing(void *ctx, enum err err, struct cache_entry *const *e, size_t n)
{
    struct search *s = ctx;

    if (err != ERR_OK || s->c->closing) {
        end_search(s, CACHE_MISS, NULL);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct neighbour *at = &s->near[s->missing[i]];
        struct cache_entry *newer =
            e[i] ? cache_residents_exact(&s->c->residents, &e[i]->f.exact) : NULL;
        if (e[i] && e[i]->f.id == at->id && (!newer || newer->f.id == at->id))
            at->entry = cache_entry_ref(cache_residents_add(&s->c->residents, e[i]));
    }
    look_at(s);
}

static void fetch_missing(struct search *s)
{
    struct store_ref refs[NEIGHBOURS];

    for (size_t i = 0; i < s->missing_count; i++)
        refs[i] = (struct store_ref){s->ask->q.scope, s->near[s->missing[i]].id};
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

bool cache_meaning_begin(struct cache *c, struct cache_ask *a)
{
    const struct cache_rules *rules = &a->q.rules;
    bool possible = c->meaning && a->vector && rules->semantic && a->q.text.n > 0 && !c->closing &&
                    rules->max_error > 0 && rules->max_error < 0.5 && cache_is_current(c);

    if (!possible)
        return false;
    struct search *s = mem_zalloc(1, sizeof *s);
    s->c = c;
    s->ask = a;
    s->timely = timely_of(a->q.text) != TIMELESS;
    find(s);
    return true;
}

void cache_meaning_learn(struct cache *c, const struct cache_label *l)
{
    struct cache_meaning *m = c->meaning;
    struct risk *r = m ? risk_of(m, l->budget) : NULL;
    struct risk_label label = {.answer = l->answer,
                               .p = l->probability,
                               .audit_share = l->audit_share,
                               .weight = l->weight,
                               .right = l->right};

    if (!r || l->answer == 0)
        return;
    memcpy(label.features, l->features, sizeof label.features);
    risk_learn(r, &label);
    m->labels++;
}

/* ---- what outlives the process ---- */

static void on_recalled(void *ctx, enum err err, struct slice saved)
{
    struct cache *c = ctx;

    if (c->closing || err == ERR_NOT_FOUND)
        return;
    if (err != ERR_OK)
        c->meaning->recalled = false; /* once more at the next tick */
    else if (c->meaning->labels == 0 && risk_load(c->meaning->root, saved) != ERR_OK)
        log_line(LOG_WARN, "cache", "what was learned about answers cannot be read; starting anew",
                 NULL);
}

static void on_noted(void *ctx, enum err err, uint64_t value)
{
    (void)ctx, (void)err, (void)value;
}

static void note_risk(struct cache *c)
{
    struct cache_meaning *m = c->meaning;
    size_t n = risk_save_bytes(m->root);
    char *saved = mem_alloc(n);

    risk_save(m->root, saved);
    store_note(c->store, SLICE(RISK_NOTE), slice_make(saved, n), on_noted, NULL);
    free(saved);
    m->saved_labels = m->labels;
}

void cache_meaning_tick(struct cache *c)
{
    struct cache_meaning *m = c->meaning;
    struct vindex_stat st;

    if (!m)
        return;
    if (!m->recalled && cache_is_current(c)) {
        m->recalled = true;
        store_recall(c->store, SLICE(RISK_NOTE), on_recalled, c);
    }
    scan_when_wanted(c);
    for (int i = 0; i < TEND_ROUNDS && vindex_tend(m->index, cache_now_ms(c)); i++)
        ;
    if (c->ticks % SAVE_TICKS == 0 && m->labels != m->saved_labels)
        note_risk(c);
    vindex_stat(m->index, &st);
    c->facts.indexed = st.entries;
    c->facts.index_bytes = st.bytes;
    c->facts.scanning = m->scanning || m->scan_wanted;
    risk_facts(m->root, &c->facts.risk);
}

static void mark_path(const struct cache *c, char out[static 4096])
{
    snprintf(out, 4096, "%s.mark", c->snapshot_path);
}

/* The index first: a mark that is older than it only tells some changes twice. */
void cache_meaning_save(struct cache *c)
{
    struct cache_meaning *m = c->meaning;
    struct err_text t;
    struct buf mark;
    char path[4096], text[sizeof t.s];

    if (!m)
        return;
    if (m->labels != m->saved_labels)
        note_risk(c);
    if (!c->snapshot_path || m->scanning || m->scan_wanted)
        return;
    buf_init(&mark, MAX_MARK);
    mark_path(c, path);
    enum err err = store_mark(c->store, &mark);
    err_say(&t, "%s", err_text(err));
    if (err == ERR_OK)
        err = vindex_save(m->reader, c->snapshot_path, &t);
    if (err == ERR_OK)
        err = atomic_file_write(path, 0600, buf_slice(&mark), &t);
    if (err != ERR_OK)
        log_line(LOG_WARN, "cache", "no snapshot of the index was written", "reason=%s",
                 log_quote(slice_str(t.s), text, sizeof text));
    buf_clear(&mark);
}

/* true: the index is as it was, and the store tells what happened since. */
static bool load_snapshot(struct cache *c)
{
    struct cache_meaning *m = c->meaning;
    char path[4096], *mark = NULL;
    struct err_text t;
    size_t n = 0;

    if (!c->snapshot_path)
        return false;
    mark_path(c, path);
    bool good = atomic_file_read(path, MAX_MARK, &mark, &n, &t) == ERR_OK &&
                vindex_load(&m->index_options, c->snapshot_path, &m->index, &t) == ERR_OK;
    if (good && !store_resume(c->store, slice_make(mark, n))) {
        vindex_free(m->index);
        m->index = NULL;
        good = false;
    }
    free(mark);
    return good;
}

enum err cache_meaning_open(struct cache *c, struct err_text *t)
{
    if (c->opt.dim == 0)
        return ERR_OK;
    struct cache_meaning *m = c->meaning = mem_zalloc(1, sizeof *m);
    m->index_options = vindex_defaults;
    m->index_options.dim = c->opt.dim;
    m->index_options.max_bytes = c->opt.max_bytes / 2;
    memcpy(m->index_options.fingerprint, c->opt.fingerprint, sizeof c->opt.fingerprint);
    /* Its own budget is never used: each question has one. */
    m->root = risk_new(
        &(struct risk_options){.max_error = 0.01, .audit_min = 0, .max_answers = ROOT_ANSWERS},
        NULL);
    if (!load_snapshot(c)) {
        enum err err = vindex_new(&m->index_options, &m->index, t);
        if (err != ERR_OK) {
            cache_meaning_close(c);
            return err;
        }
        m->scan_wanted = true;
    }
    m->reader = vindex_reader_new(m->index);
    return ERR_OK;
}

void cache_meaning_close(struct cache *c)
{
    struct cache_meaning *m = c->meaning;

    if (!m)
        return;
    vindex_reader_free(m->reader);
    vindex_free(m->index);
    for (size_t i = 0; i <= MAX_BUDGETS; i++)
        if (m->budgets[i]) {
            risk_free(m->budgets[i]->risk);
            free(m->budgets[i]->scope);
            free(m->budgets[i]);
        }
    risk_free(m->root);
    free(m);
    c->meaning = NULL;
}
