/* Entries: found, put (with what must leave for it), removed, flushed, touched, swept away when
 * they have expired. Rows that cannot be read are removed where they are met. */
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/store_sqlite_int.h"

#define SWEEP_ROWS  200
#define SAMPLE_ROWS 24 /* of which an eviction takes the least valuable */

static bool erase(struct store_sqlite *s, uint64_t id, uint64_t bytes)
{
    sql_bind_int(s, SQL_DELETE, 1, (int64_t)id);
    if (!sql_run(s, SQL_DELETE))
        return false;
    s->entries--;
    s->bytes -= bytes;
    return true;
}

/* Of a row that cannot be read: gone, so that nobody reads it again. */
static void erase_bad(struct store_sqlite *s, uint64_t id, uint64_t bytes)
{
    s->stat.bad_entries++;
    log_line(LOG_WARN, "cache", "a stored answer is damaged; removed", "entry=%016llx",
             (unsigned long long)id);
    if (sqlite_begin_write(s))
        sqlite_end_write(s, erase(s, id, bytes));
}

/* The entry of the row that `which` finds, NULL: none, or not readable. */
static struct cache_entry *read_row(struct store_sqlite *s, enum sqlite_statement which)
{
    struct cache_entry *e = NULL;
    uint64_t id = 0, bytes = 0;
    bool bad = false;

    if (sql_step_row(s, which)) {
        struct slice packed = sql_column_bytes(s, which, 1);
        id = sql_column_id(s, which, 0);
        bytes = packed.n;
        bad = cache_entry_unpack(packed, &e) != ERR_OK || e->f.id != id;
    }
    sql_done_with(s, which);
    if (bad) {
        cache_entry_unref(e);
        e = NULL;
        erase_bad(s, id, bytes);
    }
    return e;
}

void sqlite_do_get_exact(struct store_sqlite *s, struct sqlite_call *c)
{
    sql_bind_bytes(s, SQL_GET_EXACT, 1, slice_make((const char *)c->exact.bytes, DIGEST_BYTES));
    struct cache_entry *e = read_row(s, SQL_GET_EXACT);
    struct cache_entry *one =
        e && slice_eq(e->f.scope, c->scope) && digest_eq(e->f.exact, c->exact) ? e : NULL;

    c->fn.entries(c->ctx, ERR_OK, &one, 1);
    cache_entry_unref(e);
}

void sqlite_do_get(struct store_sqlite *s, struct sqlite_call *c)
{
    struct cache_entry *found[STORE_MAX_IDS];

    for (size_t i = 0; i < c->id_count; i++) {
        sql_bind_int(s, SQL_GET, 1, (int64_t)c->ids[i]);
        found[i] = read_row(s, SQL_GET);
    }
    c->fn.entries(c->ctx, ERR_OK, found, c->id_count);
    for (size_t i = 0; i < c->id_count; i++)
        cache_entry_unref(found[i]);
}

/* What the question of digest `exact` has now, 0: nothing. */
static uint64_t find_row(struct store_sqlite *s, enum sqlite_statement which, uint64_t *bytes)
{
    uint64_t id = 0;

    if (sql_step_row(s, which)) {
        id = sql_column_id(s, which, 0);
        *bytes = sql_column_id(s, which, 1);
    }
    sql_done_with(s, which);
    return id;
}

static bool insert(struct store_sqlite *s, const struct cache_entry *e)
{
    size_t n = cache_entry_pack_bytes(&e->f);
    char *packed = mem_alloc(n);

    cache_entry_pack(&e->f, packed);
    sql_bind_int(s, SQL_INSERT, 1, (int64_t)e->f.id);
    sql_bind_bytes(s, SQL_INSERT, 2, slice_make((const char *)e->f.exact.bytes, DIGEST_BYTES));
    sql_bind_int(s, SQL_INSERT, 3, e->f.expires_ms);
    sql_bind_int(s, SQL_INSERT, 4, e->f.cost);
    sql_bind_int(s, SQL_INSERT, 5, (int64_t)n);
    sql_bind_int(s, SQL_INSERT, 6, e->f.pinned);
    sql_bind_int(s, SQL_INSERT, 7, (int64_t)e->f.tag_count);
    sql_bind_bytes(s, SQL_INSERT, 8, slice_make(packed, n));
    bool good = sql_run(s, SQL_INSERT);
    free(packed);
    for (size_t i = 0; good && i < e->f.tag_count; i++) {
        sql_bind_bytes(s, SQL_TAG, 1, e->f.tags[i]);
        sql_bind_int(s, SQL_TAG, 2, (int64_t)store_home(e->f.scope));
        sql_bind_int(s, SQL_TAG, 3, (int64_t)e->f.id);
        good = sql_run(s, SQL_TAG);
    }
    if (good) {
        s->entries++;
        s->bytes += n;
    }
    return good;
}

/* What keeping a row saves per byte: its cost again for each further hit that may be expected. */
static double row_value(struct store_sqlite *s, int64_t now_ms)
{
    double bytes = (double)sqlite3_column_int64(s->sql[SQL_SAMPLE], 1);
    double cost = (double)sqlite3_column_int64(s->sql[SQL_SAMPLE], 3);
    double hits = (double)sqlite3_column_int64(s->sql[SQL_SAMPLE], 4);

    if (sqlite3_column_int64(s->sql[SQL_SAMPLE], 2) <= now_ms)
        return -1;
    return (1 + cost) * (1 + hits) / (bytes + 1);
}

/* The least valuable of some rows from a random place on, and round the end of all: ids are drawn
 * uniformly, and the last ones must not be compared with few. false: there is nothing that may go.
 */
static bool evict_one(struct store_sqlite *s)
{
    uint64_t id = 0, bytes = 0;
    double least = 0;
    int64_t now_ms = clock_wall_us() / 1000, from = (int64_t)rng_u64(&s->rng);

    for (int round = 0, rows = 0; round < 2 && rows < SAMPLE_ROWS; round++, from = INT64_MIN) {
        sql_bind_int(s, SQL_SAMPLE, 1, from);
        sql_bind_int(s, SQL_SAMPLE, 2, SAMPLE_ROWS - rows);
        while (sql_step_row(s, SQL_SAMPLE)) {
            double v = row_value(s, now_ms);
            rows++;
            if (id == 0 || v < least) {
                least = v;
                id = sql_column_id(s, SQL_SAMPLE, 0);
                bytes = sql_column_id(s, SQL_SAMPLE, 1);
            }
        }
        sql_done_with(s, SQL_SAMPLE);
    }
    return id && erase(s, id, bytes) &&
           sqlite_write_log(s, &(struct store_change){.kind = STORE_DEL, .id = id});
}

static bool over_capacity(const struct store_sqlite *s)
{
    return s->entries > s->opt.max_entries || s->bytes > s->opt.max_bytes;
}

static enum err put_entry(struct store_sqlite *s, struct cache_entry *e, uint64_t *replaced)
{
    uint64_t old_bytes = 0, entries = s->entries, bytes = s->bytes;

    if (e->f.generation != generations_of(&s->generations, e->f.scope))
        return ERR_CONFLICT;
    if (cache_entry_pack_bytes(&e->f) > s->opt.max_bytes / 8)
        return ERR_TOO_LARGE;
    if (!sqlite_begin_write(s))
        return ERR_OVERLOADED;
    sql_bind_bytes(s, SQL_FIND_EXACT, 1, slice_make((const char *)e->f.exact.bytes, DIGEST_BYTES));
    *replaced = find_row(s, SQL_FIND_EXACT, &old_bytes);
    bool good = (*replaced == 0 || erase(s, *replaced, old_bytes)) && insert(s, e);
    good = good && sqlite_write_log(s, &(struct store_change){.kind = STORE_PUT,
                                                              .bucket = store_bucket(e->f.scope),
                                                              .id = e->f.id,
                                                              .replaced = *replaced,
                                                              .scope = e->f.scope});
    while (good && over_capacity(s) && evict_one(s))
        ;
    if (!good) {
        s->entries = entries;
        s->bytes = bytes;
    }
    return sqlite_end_write(s, good) ? ERR_OK : ERR_OVERLOADED;
}

void sqlite_do_put(struct store_sqlite *s, struct sqlite_call *c)
{
    uint64_t replaced = 0;
    enum err err = put_entry(s, c->entry, &replaced);

    c->fn.put(c->ctx, err, err == ERR_OK ? replaced : 0);
}

void sqlite_do_del(struct store_sqlite *s, struct sqlite_call *c)
{
    uint64_t bytes = 0;

    sql_bind_int(s, SQL_FIND_ID, 1, (int64_t)c->ids[0]);
    uint64_t id = find_row(s, SQL_FIND_ID, &bytes);
    enum err err = ERR_OK;
    if (id) {
        struct store_change change = {
            .kind = STORE_DEL, .bucket = store_bucket(c->scope), .id = id};
        bool good = sqlite_begin_write(s) &&
                    sqlite_end_write(s, erase(s, id, bytes) && sqlite_write_log(s, &change));
        err = good ? sqlite_commit(s) : ERR_OVERLOADED;
    }
    c->fn.done(c->ctx, err, id ? 1 : 0);
}

void sqlite_do_flush(struct store_sqlite *s, struct sqlite_call *c)
{
    uint64_t now = (uint64_t)clock_wall_us(), old = generations_of(&s->generations, c->scope);
    struct store_change change = {.kind = STORE_FLUSH,
                                  .bucket = store_bucket(c->scope),
                                  .scope = c->scope,
                                  .generation = now > old ? now : old + 1};

    sql_bind_bytes(s, SQL_FLUSH, 1, c->scope);
    sql_bind_int(s, SQL_FLUSH, 2, (int64_t)change.generation);
    bool good = sqlite_begin_write(s) &&
                sqlite_end_write(s, sql_run(s, SQL_FLUSH) && sqlite_write_log(s, &change));
    enum err err = good ? sqlite_commit(s) : ERR_OVERLOADED;
    if (err == ERR_OK)
        generations_set(&s->generations, c->scope, change.generation);
    c->fn.done(c->ctx, err, err == ERR_OK ? change.generation : 0);
}

void sqlite_do_touch(struct store_sqlite *s, struct sqlite_call *c)
{
    sql_bind_int(s, SQL_HITS, 1, (int64_t)c->ids[0]);
    sql_bind_int(s, SQL_HITS, 2, c->hits);
    if (sqlite_begin_write(s))
        sqlite_end_write(s, sql_run(s, SQL_HITS));
}

void sqlite_on_sweep(evutil_socket_t fd, short what, void *ctx)
{
    struct store_sqlite *s = ctx;
    uint64_t ids[SWEEP_ROWS], bytes[SWEEP_ROWS];
    size_t n = 0;

    (void)fd, (void)what;
    sql_bind_int(s, SQL_EXPIRED, 1, clock_wall_us() / 1000);
    sql_bind_int(s, SQL_EXPIRED, 2, SWEEP_ROWS);
    while (sql_step_row(s, SQL_EXPIRED)) {
        ids[n] = sql_column_id(s, SQL_EXPIRED, 0);
        bytes[n++] = sql_column_id(s, SQL_EXPIRED, 1);
    }
    sql_done_with(s, SQL_EXPIRED);
    bool good = n > 0 && sqlite_begin_write(s);
    for (size_t i = 0; good && i < n; i++)
        good = erase(s, ids[i], bytes[i]);
    if (n > 0 && s->writes > 0)
        sqlite_end_write(s, good);
}
