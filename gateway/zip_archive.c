/* ZIP archives in memory. The central directory at the end is the truth; a file's local header is
 * only skipped, after its name has been compared. Called by model_fetch. */
#include "gateway/zip_archive.h"

#include <stdlib.h>
#include <zlib.h>
#include "base/mem.h"

enum {
    END_BYTES = 22,      /* end of central directory record, without its comment */
    CENTRAL_BYTES = 46,  /* a file's record in the central directory, without names */
    LOCAL_BYTES = 30,    /* a file's local header, without names */
    MAX_COMMENT = 65535, /* of the archive */
    MAX_ENTRIES = 10000,
    MAX_NAME = 1024,
    PIECE_BYTES = 1 << 16,
};
#define END_MAGIC       0x06054B50U
#define CENTRAL_MAGIC   0x02014B50U
#define LOCAL_MAGIC     0x04034B50U
#define FLAG_ENCRYPTED  1U
#define METHOD_STORED   0
#define METHOD_DEFLATED 8

struct zip_archive {
    struct zip_entry *entries; /* [count], by name */
    size_t count;
};

static uint32_t u16(struct slice b, size_t at)
{
    const unsigned char *p = (const unsigned char *)b.p + at;
    return p[0] | (uint32_t)p[1] << 8;
}

static uint32_t u32(struct slice b, size_t at)
{
    return u16(b, at) | u16(b, at + 2) << 16;
}

static enum err refuse(struct err_text *t, const char *what)
{
    err_say(t, "not a usable ZIP archive: %s", what);
    return ERR_BAD_WEIGHTS;
}

static enum err refuse_entry(struct err_text *t, struct slice name, const char *what)
{
    err_say(t, "not a usable ZIP archive: '%.*s' %s", (int)(name.n < 200 ? name.n : 200), name.p,
            what);
    return ERR_BAD_WEIGHTS;
}

/* ---- the directory ---- */

/* The record lies at the very end, behind it only its own comment. */
static bool find_end(struct slice b, size_t *at)
{
    if (b.n < END_BYTES)
        return false;
    size_t last = b.n - END_BYTES, first = last > MAX_COMMENT ? last - MAX_COMMENT : 0;
    for (size_t i = last + 1; i-- > first;)
        if (u32(b, i) == END_MAGIC && i + END_BYTES + u16(b, i + 20) == b.n) {
            *at = i;
            return true;
        }
    return false;
}

/* A relative path downwards, in printable bytes. */
static bool safe_name(struct slice name)
{
    if (name.n == 0 || name.n > MAX_NAME || name.p[0] == '/')
        return false;
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < ' ' || name.p[i] == '\\' || name.p[i] == 0x7F)
            return false;
    for (struct slice rest = name; rest.n;) {
        const char *slash = memchr(rest.p, '/', rest.n);
        struct slice part = slice_make(rest.p, slash ? (size_t)(slash - rest.p) : rest.n);
        if (slice_eq(part, SLICE("..")) || slice_eq(part, SLICE(".")) || part.n == 0)
            return false;
        rest = slice_from(rest, part.n + 1);
    }
    return true;
}

/* From the local header at `at` to the packed bytes behind it, which end before the directory. */
static enum err find_packed(struct slice b, size_t directory, size_t at, size_t packed,
                            struct zip_entry *e, struct err_text *t)
{
    if (at > directory || directory - at < LOCAL_BYTES || u32(b, at) != LOCAL_MAGIC)
        return refuse_entry(t, e->name, "has no local header");
    size_t name = u16(b, at + 26), extra = u16(b, at + 28), room = directory - at - LOCAL_BYTES;
    if (name + extra > room || packed > room - name - extra)
        return refuse_entry(t, e->name, "reaches into the directory");
    if (!slice_eq(slice_make(b.p + at + LOCAL_BYTES, name), e->name))
        return refuse_entry(t, e->name, "has another name in its local header");
    e->packed = slice_make(b.p + at + LOCAL_BYTES + name + extra, packed);
    return ERR_OK;
}

/* One record of the directory, `room` bytes of it are left; *used is its length. */
static enum err read_entry(struct slice b, size_t directory, size_t at, size_t room,
                           struct zip_entry *e, size_t *used, struct err_text *t)
{
    if (room < CENTRAL_BYTES || u32(b, at) != CENTRAL_MAGIC)
        return refuse(t, "its directory is damaged");
    size_t name = u16(b, at + 28);
    *used = CENTRAL_BYTES + name + u16(b, at + 30) + u16(b, at + 32);
    if (*used > room)
        return refuse(t, "its directory is damaged");
    e->name = slice_make(b.p + at + CENTRAL_BYTES, name);
    /* A folder ends with a slash and holds nothing. */
    struct slice plain = e->name;
    if (plain.n && plain.p[plain.n - 1] == '/')
        plain.n--;
    if (!safe_name(plain))
        return refuse(t, "it holds a name that leaves its folder, or is no name");
    uint32_t flags = u16(b, at + 8), method = u16(b, at + 10), packed = u32(b, at + 20);
    e->crc = u32(b, at + 16);
    e->bytes = u32(b, at + 24);
    e->deflated = method == METHOD_DEFLATED;
    if (flags & FLAG_ENCRYPTED)
        return refuse_entry(t, e->name, "is encrypted");
    if (method != METHOD_STORED && method != METHOD_DEFLATED)
        return refuse_entry(t, e->name, "is packed by a method other than deflate");
    if (packed == UINT32_MAX || e->bytes == UINT32_MAX || u32(b, at + 42) == UINT32_MAX)
        return refuse_entry(t, e->name, "needs ZIP64");
    if (!e->deflated && packed != e->bytes)
        return refuse_entry(t, e->name, "is stored in another size than its own");
    return find_packed(b, directory, u32(b, at + 42), packed, e, t);
}

static int by_name(const void *a, const void *b)
{
    const struct zip_entry *x = a, *y = b;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int order = n ? memcmp(x->name.p, y->name.p, n) : 0;
    return order ? order : (x->name.n > y->name.n) - (x->name.n < y->name.n);
}

static enum err read_directory(struct slice b, struct zip_archive *z, struct err_text *t)
{
    size_t end, used;
    if (!find_end(b, &end))
        return refuse(t, "it has no directory (it may be cut short)");
    size_t count = u16(b, end + 10), bytes = u32(b, end + 12), at = u32(b, end + 16);
    if (u16(b, end + 4) != 0 || u16(b, end + 6) != 0 || u16(b, end + 8) != count)
        return refuse(t, "it spans several files");
    if (count > MAX_ENTRIES)
        return refuse(t, "it holds too many files");
    if (at > end || bytes != end - at)
        return refuse(t, "its directory is not where it says");
    size_t directory = at;
    z->entries = mem_zalloc(count, sizeof *z->entries);
    for (; z->count < count; z->count++, at += used) {
        enum err e = read_entry(b, directory, at, end - at, &z->entries[z->count], &used, t);
        if (e != ERR_OK)
            return e;
    }
    if (at != end)
        return refuse(t, "its directory is longer than its count");
    if (count)
        qsort(z->entries, count, sizeof *z->entries, by_name);
    for (size_t i = 1; i < count; i++)
        if (slice_eq(z->entries[i - 1].name, z->entries[i].name))
            return refuse_entry(t, z->entries[i].name, "is in it twice");
    return ERR_OK;
}

enum err zip_archive_open(struct slice bytes, struct zip_archive **out, struct err_text *t)
{
    struct zip_archive *z = mem_zalloc(1, sizeof *z);
    enum err e = read_directory(bytes, z, t);
    if (e == ERR_OK)
        *out = z;
    else
        zip_archive_free(z);
    return e;
}

void zip_archive_free(struct zip_archive *z)
{
    if (!z)
        return;
    free(z->entries);
    free(z);
}

size_t zip_archive_count(const struct zip_archive *z)
{
    return z->count;
}

const struct zip_entry *zip_archive_at(const struct zip_archive *z, size_t i)
{
    return i < z->count ? &z->entries[i] : NULL;
}

const struct zip_entry *zip_archive_find(const struct zip_archive *z, struct slice name)
{
    const struct zip_entry key = {.name = name};
    return z->count ? bsearch(&key, z->entries, z->count, sizeof key, by_name) : NULL;
}

/* ---- unpacking ---- */

/* What has come out of a file so far. */
struct unpacking {
    const struct zip_entry *entry;
    zip_sink_fn sink;
    void *ctx;
    uint64_t bytes;
    uLong crc;
    struct err_text *t;
};

static enum err hand_out(struct unpacking *u, struct slice piece)
{
    u->bytes += piece.n;
    if (u->bytes > u->entry->bytes)
        return refuse_entry(u->t, u->entry->name, "unpacks to more than its size");
    u->crc = crc32(u->crc, (const Bytef *)piece.p, (uInt)piece.n);
    if (piece.n == 0 || u->sink(piece, u->ctx))
        return ERR_OK;
    err_say(u->t, "unpacking was stopped");
    return ERR_INTERNAL;
}

static enum err unpack_stored(struct unpacking *u)
{
    enum err e = ERR_OK;
    for (struct slice rest = u->entry->packed; e == ERR_OK && rest.n;) {
        size_t n = rest.n < PIECE_BYTES ? rest.n : PIECE_BYTES;
        e = hand_out(u, slice_make(rest.p, n));
        rest = slice_from(rest, n);
    }
    return e;
}

static enum err inflate_all(struct unpacking *u, z_stream *s, Bytef *piece)
{
    int rc = Z_OK;
    while (rc != Z_STREAM_END) {
        s->next_out = piece;
        s->avail_out = PIECE_BYTES;
        rc = inflate(s, Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END)
            return refuse_entry(u->t, u->entry->name, "is damaged");
        enum err e = hand_out(u, slice_make((const char *)piece, PIECE_BYTES - s->avail_out));
        if (e != ERR_OK)
            return e;
    }
    return s->avail_in == 0 ? ERR_OK
                            : refuse_entry(u->t, u->entry->name, "has bytes behind its end");
}

static enum err unpack_deflated(struct unpacking *u)
{
    /* The interface is not const-correct; the input is not written. */
    union {
        const char *in;
        Bytef *out;
    } packed = {.in = u->entry->packed.p};
    z_stream s = {.next_in = packed.out, .avail_in = (uInt)u->entry->packed.n};
    if (inflateInit2(&s, -MAX_WBITS) != Z_OK) /* negative: raw, without zlib's header */
        mem_need(NULL);
    Bytef *piece = mem_alloc(PIECE_BYTES);
    enum err e = inflate_all(u, &s, piece);
    free(piece);
    inflateEnd(&s);
    return e;
}

enum err zip_archive_extract(const struct zip_entry *entry, zip_sink_fn sink, void *ctx,
                             struct err_text *t)
{
    struct unpacking u = {
        .entry = entry, .sink = sink, .ctx = ctx, .crc = crc32(0, Z_NULL, 0), .t = t};
    enum err e = entry->deflated ? unpack_deflated(&u) : unpack_stored(&u);
    if (e != ERR_OK)
        return e;
    if (u.bytes != entry->bytes)
        return refuse_entry(t, entry->name, "unpacks to less than its size");
    return u.crc == entry->crc ? ERR_OK : refuse_entry(t, entry->name, "has a wrong checksum");
}
