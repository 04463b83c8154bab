/* What the index of meanings holds: entries come and go, and a scan fills it from the store. Called
 * on the cache thread. */
#include "cache/cache_meaning_int.h"

#include <stdlib.h>
#include "base/mem.h"

#define MAKE_ROOM 16 /* entries given up for one that does not fit */

/* ---- entries ---- */

bool cache_meaning_fits(const struct cache *c, const struct cache_fields *f)
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

    if (!m || !cache_meaning_fits(c, f) || vindex_has(m->index, f->id))
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

void cache_meaning_scan(struct cache *c)
{
    struct cache_meaning *m = c->meaning;

    if (!m->scan_wanted || m->scanning || !cache_is_current(c))
        return;
    m->scan_wanted = false;
    m->scanning = true;
    scan_from(m, SLICE(""));
}
