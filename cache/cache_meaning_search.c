/* A question by its meaning: neighbours from the vector index, looked at one by one, and the
 * decision whether one may be served. Owns what a search holds until it ends. Called on the cache
 * thread.
 *
 *   vector -> nearest 8 -> those not in memory from the store -> each: may it be served at all?
 *          -> gates between the two texts -> probability against the budget's cut -> hit or miss
 *
 * The index is a hint: what it names is looked at again in the entry itself, and what turns out to
 * be gone or of another generation leaves it then. */
#include "cache/cache_meaning_int.h"

#include <stdlib.h>
#include "base/mem.h"
#include "cache/timely.h"
#include "cache/vslab.h"

#define NEIGHBOURS RISK_NEIGHBOURS
#define ROUNDS     4 /* of searches, while all that is found turns out to be gone */

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
        bool same_rest = e && digest_eq(e->f.rest, s->ask->q.rest) && cache_meaning_fits(c, &e->f);
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

/* Of a shared scope: may this tenant be given that answer? The head of cache.h says why. */
static bool is_admitted(const struct search *s, const struct cache_entry *best)
{
    struct slice asker = s->ask->q.asker;

    if (best->f.scope.n > 0 || slice_eq(best->f.owner, asker) ||
        *cache_meaning_admitted(s->c, best->f.answer) == best->f.answer)
        return true;
    for (size_t i = 0; i < s->count; i++) {
        const struct cache_fields *f = &s->near[i].entry->f;
        bool other = !slice_eq(f->owner, best->f.owner);
        bool operators = f->source == CACHE_FROM_WARMING || f->source == CACHE_FROM_IMPORT;
        if (f->answer == best->f.answer && (other || operators)) {
            *cache_meaning_admitted(s->c, best->f.answer) = best->f.answer;
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
