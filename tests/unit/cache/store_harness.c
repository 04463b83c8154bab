/* See the header. Used by the tests of both stores. */
#include "tests/unit/cache/store_harness.h"

#include "base/clock.h"
#include "base/mem.h"

static void on_change(void *ctx, const struct store_change *c)
{
    struct store_harness *h = ctx;

    if (h->change_count < sizeof h->changes / sizeof h->changes[0]) {
        h->changes[h->change_count] = *c;
        h->changes[h->change_count++].scope = SLICE("");
    }
}

struct store_options store_harness_options(struct store_harness *h)
{
    return (struct store_options){
        .base = h->base,
        .changed = on_change,
        .ctx = h,
        .budget_us = 200000,
        .max_entries = 1000000,
        .max_bytes = (size_t)1 << 30,
    };
}

void store_harness_init(struct store_harness *h)
{
    memset(h, 0, sizeof *h);
    h->base = event_base_new();
    mem_need(h->base);
    buf_init(&h->bytes, 1 << 20);
}

static void forget(struct store_harness *h)
{
    for (size_t i = 0; i < h->count; i++)
        cache_entry_unref(h->entries[i]);
    h->count = 0;
    h->page_count = 0;
    h->answered = false;
    h->value = 0;
    buf_reset(&h->bytes);
}

void store_harness_clear(struct store_harness *h)
{
    forget(h);
    store_close(h->store);
    event_base_free(h->base);
    buf_clear(&h->bytes);
}

bool store_harness_until(struct store_harness *h, bool (*so)(struct store_harness *h),
                         int timeout_ms)
{
    int64_t end_us = clock_mono_us() + timeout_ms * INT64_C(1000);

    while (!so(h)) {
        if (clock_mono_us() > end_us)
            return false;
        event_base_loopexit(h->base, &(struct timeval){.tv_usec = 20000});
        event_base_loop(h->base, EVLOOP_ONCE);
    }
    return true;
}

static bool answered(struct store_harness *h)
{
    return h->answered;
}

static void wait_answer(struct store_harness *h)
{
    if (!store_harness_until(h, answered, STORE_HARNESS_PATIENCE_MS))
        h->err = ERR_INTERNAL;
}

static void on_entries(void *ctx, enum err err, struct cache_entry *const *e, size_t n)
{
    struct store_harness *h = ctx;

    h->answered = true;
    h->err = err;
    h->count = n;
    for (size_t i = 0; i < n; i++)
        h->entries[i] = e[i] ? cache_entry_ref(e[i]) : NULL;
}

static void on_done(void *ctx, enum err err, uint64_t value)
{
    struct store_harness *h = ctx;

    h->answered = true;
    h->err = err;
    h->value = value;
}

static void on_bytes(void *ctx, enum err err, struct slice value)
{
    struct store_harness *h = ctx;

    h->answered = true;
    h->err =
        buf_append_slice(&h->bytes, value) || buf_append(&h->bytes, "", 1) ? ERR_TOO_LARGE : err;
}

static void on_page(void *ctx, enum err err, const struct cache_fields *f, size_t n,
                    struct slice next)
{
    struct store_harness *h = ctx;

    h->answered = true;
    h->err = err;
    for (size_t i = 0; i < n && h->page_count < sizeof h->page_ids / sizeof h->page_ids[0]; i++)
        h->page_ids[h->page_count++] = f[i].id;
    buf_reset(&h->bytes);
    if (buf_append_slice(&h->bytes, next))
        h->err = ERR_TOO_LARGE;
}

struct cache_entry *store_harness_exact(struct store_harness *h, const struct cache_fields *f)
{
    forget(h);
    store_get_exact(h->store, f->scope, f->exact, on_entries, h);
    wait_answer(h);
    return h->count ? h->entries[0] : NULL;
}

struct cache_entry *store_harness_get(struct store_harness *h, const char *scope, uint64_t id)
{
    forget(h);
    store_get(h->store, &(struct store_ref){slice_str(scope), id}, 1, on_entries, h);
    wait_answer(h);
    return h->count ? h->entries[0] : NULL;
}

uint64_t store_harness_put(struct store_harness *h, struct cache_fields *f)
{
    forget(h);
    f->generation = store_generation(h->store, f->scope);
    struct cache_entry *e = cache_entry_new(f);
    uint64_t id = e->f.id;
    store_put(h->store, e, on_done, h);
    cache_entry_unref(e);
    wait_answer(h);
    return h->err == ERR_OK ? id : 0;
}

enum err store_harness_del(struct store_harness *h, const char *scope, uint64_t id)
{
    forget(h);
    store_del(h->store, &(struct store_ref){slice_str(scope), id}, on_done, h);
    wait_answer(h);
    return h->err;
}

enum err store_harness_flush(struct store_harness *h, const char *scope)
{
    forget(h);
    store_flush(h->store, slice_str(scope), on_done, h);
    wait_answer(h);
    return h->err;
}

/* tag: NULL: everything. */
static size_t walk(struct store_harness *h, const struct store_tag *tag)
{
    char room[256];
    struct slice cursor = SLICE("");

    forget(h);
    h->pages = 0;
    do {
        h->answered = false;
        if (tag)
            store_tagged(h->store, tag, cursor, on_page, h);
        else
            store_scan(h->store, cursor, on_page, h);
        wait_answer(h);
        h->pages++;
        cursor = slice_make(room, buf_len(&h->bytes) < sizeof room ? buf_len(&h->bytes) : 0);
        memcpy(room, buf_slice(&h->bytes).p, cursor.n);
    } while (h->err == ERR_OK && cursor.n);
    return h->page_count;
}

size_t store_harness_scan(struct store_harness *h)
{
    return walk(h, NULL);
}

size_t store_harness_tagged(struct store_harness *h, const char *scope, const char *tag)
{
    return walk(h, &(struct store_tag){.tag = slice_str(tag),
                                       .scope = slice_str(scope ? scope : ""),
                                       .any_scope = !scope});
}

enum err store_harness_note(struct store_harness *h, const char *name, const char *value)
{
    forget(h);
    store_note(h->store, slice_str(name), slice_str(value), on_done, h);
    wait_answer(h);
    return h->err;
}

enum err store_harness_append(struct store_harness *h, const char *name, const char *record)
{
    forget(h);
    store_append(h->store, slice_str(name), slice_str(record), on_done, h);
    wait_answer(h);
    return h->err;
}

const char *store_harness_recall(struct store_harness *h, const char *name)
{
    forget(h);
    store_recall(h->store, slice_str(name), on_bytes, h);
    wait_answer(h);
    return h->err == ERR_OK ? buf_slice(&h->bytes).p : NULL;
}
