/* Counters. A table is a list of cells that only grows at its head, plus a hash index that only its
 * writer looks at. Readers follow the list: a cell is complete before the head's release store
 * makes it visible, and nothing is ever taken out, so they need no lock. Numbers are relaxed
 * atomics: a reader may see one counter a moment before another.
 *
 * The number of label sets is bounded, since some labels come from requests. Thread: one writer per
 * table (a worker), any number of readers (the admin API's /metrics). */
#include "base/stats.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "base/utf8.h"

#define CELLS_MAX       4096
#define INDEX_SLOTS     16384 /* a power of two; CELLS_MAX + STAT_FAMILIES fill a third at most */
#define VALUE_MAX_BYTES 128   /* of one label value, escaped; the rest is cut */
#define LABELS_MAX      8
#define KEY_BYTES       ((VALUE_MAX_BYTES + 32) * LABELS_MAX)

struct stats_node {
    struct stats_cell cell;
    struct stats_node *next; /* older; set before the node is published */
};

struct stats {
    _Atomic(struct stats_node *) head; /* owned, all of the list */
    struct stats_node **index;         /* owned; writer only; open addressing */
    size_t cells;
};

struct family {
    enum stats_kind kind;
    const char *name, *labels, *help;
};

static const struct family families[STAT_FAMILIES] = {
#define STAT(id, kind, name, labels, help) [STAT_##id] = {STATS_##kind, name, labels, help},
#include "base/stats.def"
#undef STAT
};

struct stats *stats_new(void)
{
    struct stats *s = mem_zalloc(1, sizeof *s);
    s->index = mem_zalloc(INDEX_SLOTS, sizeof *s->index);
    return s;
}

void stats_free(struct stats *s)
{
    if (!s)
        return;
    struct stats_node *n = atomic_load(&s->head);
    while (n) {
        struct stats_node *older = n->next;
        free(n->cell.labels);
        free(n->cell.buckets);
        free(n);
        n = older;
    }
    free(s->index);
    free(s);
}

/* ---- finding a cell ---- */

/* A label value as the text format wants it. Prometheus drops a whole scrape over one byte that is
 * not UTF-8. */
static size_t put_value(char *out, const char *value)
{
    size_t n = 0, left = value ? strlen(value) : 0;
    while (left) {
        size_t taken = utf8_char_bytes(value, left), len = taken;
        const char *put = value;
        if (taken == 0)
            put = "\xEF\xBF\xBD", taken = 1, len = 3;
        else if (*value == '\\')
            put = "\\\\", len = 2;
        else if (*value == '"')
            put = "\\\"", len = 2;
        else if (*value == '\n')
            put = "\\n", len = 2;
        if (n + len > VALUE_MAX_BYTES)
            break;
        memcpy(out + n, put, len);
        n += len;
        value += taken;
        left -= taken;
    }
    return n;
}

/* 'api="chat",code="200"' into key; without values each is "other". */
static void make_key(char key[KEY_BYTES], const char *names, const char *const *values)
{
    size_t n = 0;
    for (size_t i = 0; *names; i++) {
        size_t len = strcspn(names, ",");
        assert(i < LABELS_MAX && len < 24);
        if (i)
            key[n++] = ',';
        memcpy(key + n, names, len);
        n += len;
        key[n++] = '=';
        key[n++] = '"';
        n += put_value(key + n, values ? values[i] : "other");
        key[n++] = '"';
        names += len + (names[len] == ',');
    }
    key[n] = '\0';
}

/* FNV-1a. */
static size_t hash(enum stats_family f, const char *key)
{
    uint64_t h = UINT64_C(14695981039346656037) ^ (uint64_t)f;
    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * UINT64_C(1099511628211);
    return (size_t)(h ^ h >> 32) & (INDEX_SLOTS - 1);
}

/* The index slot that holds the cell, or the empty one where it belongs. */
static struct stats_node **find_slot(struct stats *s, enum stats_family f, const char *key)
{
    size_t i = hash(f, key);
    while (s->index[i]) {
        const struct stats_cell *c = &s->index[i]->cell;
        if (c->family == f && strcmp(c->labels, key) == 0)
            break;
        i = (i + 1) & (INDEX_SLOTS - 1);
    }
    return &s->index[i];
}

static struct stats_node *node_new(enum stats_family f, const char *key)
{
    struct stats_node *n = mem_zalloc(1, sizeof *n);
    n->cell.family = f;
    n->cell.labels = mem_strdup(slice_str(key));
    if (families[f].kind == STATS_HISTOGRAM)
        n->cell.buckets = mem_zalloc(STATS_BUCKETS, sizeof *n->cell.buckets);
    return n;
}

struct stats_cell *stats_cell(struct stats *s, enum stats_family f, const char *const *label_values)
{
    assert(f < STAT_FAMILIES);
    char key[KEY_BYTES];
    make_key(key, families[f].labels, label_values);
    struct stats_node **slot = find_slot(s, f, key);
    if (!*slot && s->cells >= CELLS_MAX) {
        make_key(key, families[f].labels, NULL);
        slot = find_slot(s, f, key);
    }
    if (!*slot) {
        struct stats_node *n = *slot = node_new(f, key);
        n->next = atomic_load_explicit(&s->head, memory_order_relaxed);
        atomic_store_explicit(&s->head, n, memory_order_release);
        s->cells++;
    }
    return &(*slot)->cell;
}

void stats_observe_us(struct stats_cell *c, int64_t us)
{
    uint64_t hundreds = us > 100 ? (uint64_t)(us - 1) / 100 : 0;
    int bucket = hundreds ? 64 - __builtin_clzll(hundreds) : 0; /* smallest i with us <= 100 << i */
    if (bucket >= STATS_BUCKETS)
        bucket = STATS_BUCKETS - 1;
    _Atomic int64_t *b = &c->buckets[bucket];
    atomic_store_explicit(b, atomic_load_explicit(b, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    stats_add(c, us > 0 ? us : 0);
}

/* ---- writing them out ---- */

/* v / 10^decimals, exactly, without trailing zeros. */
static const char *fixed_point(int64_t v, int decimals, char out[40])
{
    uint64_t unit = 1, magnitude = v < 0 ? -(uint64_t)v : (uint64_t)v;
    for (int i = 0; i < decimals; i++)
        unit *= 10;
    int n = snprintf(out, 40, "%s%" PRIu64, v < 0 ? "-" : "", magnitude / unit);
    if (magnitude % unit == 0)
        return out;
    n += snprintf(out + n, 40 - (size_t)n, ".%0*" PRIu64, decimals, magnitude % unit);
    while (out[n - 1] == '0')
        out[--n] = '\0';
    return out;
}

static const char *kind_name(enum stats_kind k)
{
    switch (k) {
    case STATS_COUNTER:
        return "counter";
    case STATS_GAUGE:
        return "gauge";
    case STATS_HISTOGRAM:
        return "histogram";
    }
    return "untyped";
}

static bool ends_in(struct slice s, struct slice suffix)
{
    return s.n > suffix.n && slice_eq(slice_from(s, s.n - suffix.n), suffix);
}

static bool in_usd(const struct family *f)
{
    struct slice name = slice_str(f->name);
    return ends_in(name, SLICE("_usd_total")) || ends_in(name, SLICE("_usd"));
}

/* One label set of one family, summed over the tables. */
struct total {
    int64_t value;
    int64_t buckets[STATS_BUCKETS];
};

static void total_add(struct total *t, struct stats_cell *c)
{
    t->value = stats_sum(t->value, atomic_load_explicit(&c->value, memory_order_relaxed));
    for (int i = 0; c->buckets && i < STATS_BUCKETS; i++)
        t->buckets[i] += atomic_load_explicit(&c->buckets[i], memory_order_relaxed);
}

static enum err write_histogram(const char *name, const char *labels, const struct total *t,
                                struct buf *out)
{
    const char *comma = labels[0] ? "," : "";
    int64_t count = 0;
    char text[40];
    enum err e;
    for (int i = 0; i < STATS_BUCKETS; i++) {
        bool last = i == STATS_BUCKETS - 1;
        count += t->buckets[i];
        e = buf_printf(out, "%s_bucket{%s%sle=\"%s\"} %" PRId64 "\n", name, labels, comma,
                       last ? "+Inf" : fixed_point(INT64_C(100) << i, 6, text), count);
        if (e)
            return e;
    }
    const char *open = labels[0] ? "{" : "", *close = labels[0] ? "}" : "";
    e = buf_printf(out, "%s_sum%s%s%s %s\n", name, open, labels, close,
                   fixed_point(t->value, 6, text));
    return e ? e
             : buf_printf(out, "%s_count%s%s%s %" PRId64 "\n", name, open, labels, close, count);
}

static enum err write_total(const struct family *f, const char *labels, const struct total *t,
                            struct buf *out)
{
    char text[40];
    if (f->kind == STATS_HISTOGRAM)
        return write_histogram(f->name, labels, t, out);
    return buf_printf(out, labels[0] ? "%s{%s} %s\n" : "%s%s %s\n", f->name, labels,
                      fixed_point(t->value, in_usd(f) ? 9 : 0, text));
}

static int by_family_and_labels(const void *a, const void *b)
{
    const struct stats_cell *const *x = a, *const *y = b;
    if ((*x)->family != (*y)->family)
        return (*x)->family < (*y)->family ? -1 : 1;
    return strcmp((*x)->labels, (*y)->labels);
}

/* Every cell that is visible now, equal label sets side by side; the caller frees the array. */
static struct stats_cell **gather(struct stats *const *tables, size_t n, size_t *count)
{
    struct stats_cell **cells = NULL;
    size_t cap = 0;
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        struct stats_node *node = atomic_load_explicit(&tables[i]->head, memory_order_acquire);
        for (; node; node = node->next) {
            if (*count == cap) {
                cap = cap ? cap * 2 : 256;
                cells = mem_resize(cells, cap, sizeof(struct stats_cell *));
            }
            cells[(*count)++] = &node->cell;
        }
    }
    if (*count)
        qsort(cells, *count, sizeof(struct stats_cell *), by_family_and_labels);
    return cells;
}

/* One family with the cells that belong to it, cells[*at] onwards; moves *at behind them. */
static enum err write_family(enum stats_family id, struct stats_cell *const *cells, size_t count,
                             size_t *at, struct buf *out)
{
    const struct family *f = &families[id];
    enum err e = buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name,
                            kind_name(f->kind));
    if (!e && !f->labels[0] && (*at == count || cells[*at]->family != id)) {
        static const struct total zero;
        return write_total(f, "", &zero, out); /* without labels it exists from the start */
    }
    while (!e && *at < count && cells[*at]->family == id) {
        const char *labels = cells[*at]->labels;
        struct total t = {0};
        for (; *at < count && cells[*at]->family == id && strcmp(cells[*at]->labels, labels) == 0;
             (*at)++)
            total_add(&t, cells[*at]);
        e = write_total(f, labels, &t, out);
    }
    return e;
}

enum err stats_write_prometheus(struct stats *const *tables, size_t n, struct buf *out)
{
    size_t count, at = 0;
    struct stats_cell **cells = gather(tables, n, &count);
    enum err e = ERR_OK;
    for (enum stats_family id = 0; id < STAT_FAMILIES && !e; id++)
        e = write_family(id, cells, count, &at, out);
    free(cells);
    return e;
}

enum err stats_write_reference(struct buf *out)
{
    enum err e = buf_printf(out, "| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < STAT_FAMILIES && !e; i++) {
        const struct family *f = &families[i];
        e = buf_printf(out, "| `%s` | %s | %s | %s |\n", f->name, kind_name(f->kind),
                       f->labels[0] ? f->labels : "-", f->help);
    }
    return e;
}
