/* Entries in memory and as bytes. An entry is one block: the struct, its vector, its texts. Called
 * by the stores, the cache thread, the hot sets and the router. */
#include "cache/cache_entry.h"

#include <assert.h>
#include <stdlib.h>
#include "base/mem.h"
#include "base/rng.h"

/* The stored form, little endian:
 *   magic[8]  u32 total bytes
 *   u64 id, answer  u8 exact[32], rest[32], fingerprint[16]
 *   i64 created_ms, expires_ms  u64 generation
 *   i64 tokens[5]  u8 usage source  i64 cost  u8 source, marks, tag count  u32 dim
 *   u32 length + bytes: scope, text, body, dialect, api, model, route, class, owner, the tags
 *   u16 vector[dim]
 *   u8 sum[16]: the first half of the SHA-256 of all before it */
/* Of the marks. */
#define PINNED      1u
#define QUARANTINED 2u

static const char magic[8] = {'w', 'e', 'i', 'r', 'c', 'e', 0, 2};
#define MAX_DIM 4096

const char *cache_source_name(enum cache_source s)
{
    static const char *const names[] = {
        [CACHE_FROM_TRAFFIC] = "traffic",
        [CACHE_FROM_AUDIT] = "audit",
        [CACHE_FROM_WARMING] = "warming",
        [CACHE_FROM_IMPORT] = "import",
    };
    return names[s];
}

/* Every slice of an entry, in the order of the stored form. */
#define TEXTS 9
static void texts_of(struct cache_fields *f, struct slice *out[TEXTS + CACHE_MAX_TAGS])
{
    struct slice *fixed[TEXTS] = {&f->scope, &f->text,  &f->body,        &f->dialect, &f->api,
                                  &f->model, &f->route, &f->class_label, &f->owner};

    memcpy(out, fixed, sizeof fixed);
    for (size_t i = 0; i < f->tag_count; i++)
        out[TEXTS + i] = &f->tags[i];
}

static size_t vector_bytes(const struct cache_fields *f)
{
    return f->vector ? (size_t)f->dim * sizeof *f->vector : 0;
}

static size_t texts_bytes(const struct cache_fields *f)
{
    struct cache_fields copy = *f;
    struct slice *texts[TEXTS + CACHE_MAX_TAGS];
    size_t n = 0;

    texts_of(&copy, texts);
    for (size_t i = 0; i < TEXTS + f->tag_count; i++)
        n += texts[i]->n;
    return n;
}

static uint64_t draw_id(void)
{
    struct rng r;
    uint64_t id;

    do {
        rng_seed_os(&r);
        id = r.s[0];
    } while (id == 0);
    return id;
}

struct cache_entry *cache_entry_new(const struct cache_fields *f)
{
    assert(f->tag_count <= CACHE_MAX_TAGS && f->dim >= 0 && f->dim <= MAX_DIM);
    size_t bytes = sizeof(struct cache_entry) + vector_bytes(f) + texts_bytes(f);
    struct cache_entry *e = mem_alloc(bytes);
    struct slice *texts[TEXTS + CACHE_MAX_TAGS];
    uint16_t *vector = (uint16_t *)(void *)(e + 1);
    char *p = (char *)vector + vector_bytes(f);

    atomic_init(&e->refs, 1);
    atomic_init(&e->dead, false);
    atomic_init(&e->hits, 0);
    e->f = *f;
    e->bytes = bytes;
    if (f->vector)
        e->f.vector = memcpy(vector, f->vector, vector_bytes(f));
    else
        e->f.dim = 0;
    texts_of(&e->f, texts);
    for (size_t i = 0; i < TEXTS + f->tag_count; i++) {
        if (texts[i]->n)
            memcpy(p, texts[i]->p, texts[i]->n);
        texts[i]->p = p;
        p += texts[i]->n;
    }
    if (e->f.id == 0)
        e->f.id = draw_id();
    if (e->f.answer == 0)
        e->f.answer = e->f.id;
    return e;
}

struct cache_entry *cache_entry_ref(struct cache_entry *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return e;
}

void cache_entry_unref(struct cache_entry *e)
{
    if (e && atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) == 1)
        free(e);
}

bool cache_entry_serves(const struct cache_entry *e, int64_t now_ms)
{
    return !atomic_load_explicit(&e->dead, memory_order_acquire) && !e->f.quarantined &&
           now_ms < e->f.expires_ms;
}

/* ---- bytes ---- */

#define FIXED_BYTES                                                                                \
    (sizeof magic + 4 + 2 * 8 + 2 * DIGEST_BYTES + CACHE_FINGERPRINT_BYTES + 3 * 8 +               \
     TOK_KINDS * 8 + 1 + 8 + 3 + 4)

struct pen {
    char *p;
};

static void put_bytes(struct pen *w, const void *p, size_t n)
{
    if (n)
        memcpy(w->p, p, n);
    w->p += n;
}

static void put_int(struct pen *w, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        *w->p++ = (char)(v >> (8 * i));
}

static uint64_t take_int(struct slice *s, size_t bytes)
{
    uint64_t v = 0;

    for (size_t i = 0; i < bytes; i++)
        v |= (uint64_t)(unsigned char)s->p[i] << (8 * i);
    *s = slice_from(*s, bytes);
    return v;
}

static void take_bytes(struct slice *s, void *out, size_t n)
{
    memcpy(out, s->p, n);
    *s = slice_from(*s, n);
}

size_t cache_entry_pack_bytes(const struct cache_fields *f)
{
    return FIXED_BYTES + 4 * (TEXTS + f->tag_count) + texts_bytes(f) + vector_bytes(f) +
           CACHE_SUM_BYTES;
}

void cache_entry_pack(const struct cache_fields *f, char *out)
{
    struct cache_fields copy = *f;
    struct slice *texts[TEXTS + CACHE_MAX_TAGS];
    size_t total = cache_entry_pack_bytes(f);
    struct pen w = {out};

    assert(total <= UINT32_MAX && f->id != 0 && f->answer != 0);
    put_bytes(&w, magic, sizeof magic);
    put_int(&w, total, 4);
    put_int(&w, f->id, 8);
    put_int(&w, f->answer, 8);
    put_bytes(&w, f->exact.bytes, DIGEST_BYTES);
    put_bytes(&w, f->rest.bytes, DIGEST_BYTES);
    put_bytes(&w, f->fingerprint, CACHE_FINGERPRINT_BYTES);
    put_int(&w, (uint64_t)f->created_ms, 8);
    put_int(&w, (uint64_t)f->expires_ms, 8);
    put_int(&w, f->generation, 8);
    for (int k = 0; k < TOK_KINDS; k++)
        put_int(&w, (uint64_t)f->usage.n[k], 8);
    put_int(&w, (uint64_t)f->usage.source, 1);
    put_int(&w, (uint64_t)f->cost, 8);
    put_int(&w, (uint64_t)f->source, 1);
    put_int(&w, (f->pinned ? PINNED : 0) | (f->quarantined ? QUARANTINED : 0), 1);
    put_int(&w, f->tag_count, 1);
    put_int(&w, f->vector ? (uint64_t)f->dim : 0, 4);
    texts_of(&copy, texts);
    for (size_t i = 0; i < TEXTS + f->tag_count; i++) {
        put_int(&w, texts[i]->n, 4);
        put_bytes(&w, texts[i]->p, texts[i]->n);
    }
    for (int i = 0; f->vector && i < f->dim; i++)
        put_int(&w, f->vector[i], 2);
    struct digest d = digest_of(slice_make(out, (size_t)(w.p - out)));
    put_bytes(&w, d.bytes, CACHE_SUM_BYTES);
    assert((size_t)(w.p - out) == total);
}

void cache_entry_sum(const struct cache_fields *f, uint8_t out[static CACHE_SUM_BYTES])
{
    size_t n = cache_entry_pack_bytes(f);
    char *packed = mem_alloc(n);

    cache_entry_pack(f, packed);
    memcpy(out, packed + n - CACHE_SUM_BYTES, CACHE_SUM_BYTES);
    free(packed);
}

static bool envelope_holds(struct slice packed)
{
    if (packed.n < FIXED_BYTES + 4 * TEXTS + CACHE_SUM_BYTES ||
        memcmp(packed.p, magic, sizeof magic) != 0)
        return false;
    struct slice after = slice_from(packed, sizeof magic);
    return take_int(&after, 4) == packed.n;
}

static bool sum_holds(struct slice packed)
{
    size_t body = packed.n - CACHE_SUM_BYTES;
    struct digest d = digest_of(slice_make(packed.p, body));

    return memcmp(d.bytes, packed.p + body, CACHE_SUM_BYTES) == 0;
}

/* s: behind the magic and the length; holds FIXED_BYTES in all. *dim and the tag count are as they
 * stand there. */
static void take_fixed(struct slice *s, struct cache_fields *f, uint64_t *marks, uint64_t *dim)
{
    f->id = take_int(s, 8);
    f->answer = take_int(s, 8);
    take_bytes(s, f->exact.bytes, DIGEST_BYTES);
    take_bytes(s, f->rest.bytes, DIGEST_BYTES);
    take_bytes(s, f->fingerprint, CACHE_FINGERPRINT_BYTES);
    f->created_ms = (int64_t)take_int(s, 8);
    f->expires_ms = (int64_t)take_int(s, 8);
    f->generation = take_int(s, 8);
    for (int k = 0; k < TOK_KINDS; k++)
        f->usage.n[k] = (int64_t)take_int(s, 8);
    f->usage.source = (enum usage_source)take_int(s, 1);
    f->cost = (int64_t)take_int(s, 8);
    f->source = (enum cache_source)take_int(s, 1);
    *marks = take_int(s, 1);
    f->pinned = *marks & PINNED;
    f->quarantined = *marks & QUARANTINED;
    f->tag_count = take_int(s, 1);
    *dim = take_int(s, 4);
}

static bool take_texts(struct slice *s, struct cache_fields *f)
{
    struct slice *texts[TEXTS + CACHE_MAX_TAGS];

    texts_of(f, texts);
    for (size_t i = 0; i < TEXTS + f->tag_count; i++) {
        if (s->n < 4)
            return false;
        size_t n = take_int(s, 4);
        if (s->n < n)
            return false;
        *texts[i] = slice_make(s->p, n);
        *s = slice_from(*s, n);
    }
    return true;
}

/* Not a number or infinite: it would poison every comparison it takes part in. */
static bool vector_is_finite(const uint16_t *v, int dim)
{
    for (int i = 0; i < dim; i++)
        if ((v[i] & 0x7C00) == 0x7C00)
            return false;
    return true;
}

static enum err unpack(struct slice packed, bool head_only, struct cache_entry **out)
{
    struct cache_fields f = {0};
    uint64_t marks, dim;
    uint16_t vector[MAX_DIM];

    *out = NULL;
    if (!envelope_holds(packed) || (!head_only && !sum_holds(packed)))
        return ERR_BAD_CACHE_ENTRY;
    struct slice s =
        slice_make(packed.p + sizeof magic + 4, packed.n - sizeof magic - 4 - CACHE_SUM_BYTES);
    take_fixed(&s, &f, &marks, &dim);
    if (f.id == 0 || f.answer == 0 || marks > (PINNED | QUARANTINED) ||
        f.tag_count > CACHE_MAX_TAGS || dim > MAX_DIM || f.usage.source > USAGE_ESTIMATED ||
        f.source > CACHE_FROM_IMPORT)
        return ERR_BAD_CACHE_ENTRY;
    if (!take_texts(&s, &f) || s.n != dim * sizeof *vector)
        return ERR_BAD_CACHE_ENTRY;
    for (size_t i = 0; i < dim; i++)
        vector[i] = (uint16_t)take_int(&s, 2);
    f.dim = (int)dim;
    f.vector = dim ? vector : NULL;
    if (!vector_is_finite(vector, f.dim))
        return ERR_BAD_CACHE_ENTRY;
    if (head_only) {
        f.body_bytes = f.body.n;
        f.body = SLICE("");
    }
    *out = cache_entry_new(&f);
    return ERR_OK;
}

enum err cache_entry_unpack(struct slice packed, struct cache_entry **out)
{
    return unpack(packed, false, out);
}

enum err cache_entry_unpack_head(struct slice packed, struct cache_entry **out)
{
    return unpack(packed, true, out);
}
