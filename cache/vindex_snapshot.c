/* Snapshots of the vector index. Owns nothing between calls. vindex_save is a reader and runs on
 * any thread; vindex_load makes a new index on the thread that is to be its writer.
 *
 *   header     magic, schema, mark of the byte order, dimension, rows per slab, fingerprint
 *   partition* 'P', name, slabs, how many of them are covered by the graph
 *                slab*  covered ones: rows, ids, expiries, vectors (padded, as in memory)
 *                graph  when there are any: nodes, places, entry, top layer, layers, links
 *                slab*  the others
 *   end        'E', how many entries and partitions there were
 *   checksum   SHA-256 of all the above
 *
 * Covered slabs are written whole, since the graph knows their rows by number; of the others only
 * what lives. The checksum is compared at the end, when everything is in memory already: until then
 * no number is believed that was not checked. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/atomic_file.h"
#include "base/mem.h"
#include "cache/vindex_int.h"
#include "cache/vindex_partition.h"
#include "cache/vindex_search.h"

enum { SCHEMA = 1, BYTE_ORDER_MARK = 0x01020304, BUFFER_BYTES = 1 << 20 };
enum { TAG_PARTITION = 'P', TAG_END = 'E' };
static const char magic[8] = {'w', 'e', 'i', 'r', 'v', 'i', 'x', '\n'};

struct header {
    char magic[sizeof magic];
    uint32_t schema, byte_order, dim, slab_rows;
    uint8_t fingerprint[CACHE_FINGERPRINT_BYTES];
};
struct partition_head {
    uint32_t tag;
    struct digest name;
    uint32_t slabs, covered;
};
struct graph_head {
    uint64_t count, places;
    int32_t entry, max_level;
};
struct end {
    uint32_t tag, zero;
    uint64_t entries, partitions;
};

static struct header header_of(const struct vindex *v)
{
    struct header h = {.schema = SCHEMA,
                       .byte_order = BYTE_ORDER_MARK,
                       .dim = (uint32_t)v->dim,
                       .slab_rows = VSLAB_ROWS};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.fingerprint, v->opt.fingerprint, sizeof h.fingerprint);
    return h;
}

/* ---- writing ---- */

struct out {
    struct atomic_file *file;
    struct digest_stream *sum;
    char *buffer; /* [BUFFER_BYTES] */
    size_t n;
    uint64_t entries, partitions;
};

static void flush(struct out *o)
{
    struct slice s = {o->buffer, o->n};
    digest_stream_add(o->sum, s);
    atomic_file_add(o->file, s);
    o->n = 0;
}

static void put(struct out *o, const void *p, size_t n)
{
    const char *from = p;
    while (n > 0) {
        size_t take = n < BUFFER_BYTES - o->n ? n : BUFFER_BYTES - o->n;
        memcpy(o->buffer + o->n, from, take);
        o->n += take;
        from += take;
        n -= take;
        if (o->n == BUFFER_BYTES)
            flush(o);
    }
}

/* Expiries change while we look: the slab is written as one look found it. */
static void put_slab(struct out *o, const struct vslab *s, bool whole)
{
    int64_t until[VSLAB_ROWS];
    uint32_t rows[VSLAB_ROWS], count = vslab_count(s), n = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t at = vslab_until(s, i);
        o->entries += at != VSLAB_DEAD;
        if (at == VSLAB_DEAD && !whole)
            continue;
        until[n] = at;
        rows[n++] = i;
    }
    put(o, &n, sizeof n);
    for (uint32_t i = 0; i < n; i++)
        put(o, &s->ids[rows[i]], sizeof s->ids[0]);
    put(o, until, n * sizeof until[0]);
    for (uint32_t i = 0; i < n; i++)
        put(o, vslab_vec(s, rows[i]), s->stride * sizeof(uint16_t));
}

static void put_graph(struct out *o, const struct vindex_graph *g)
{
    struct vindex_graph_links links;
    vindex_graph_get_links(g, &links);
    struct graph_head head = {links.count, links.places, links.entry, links.max_level};
    put(o, &head, sizeof head);
    put(o, links.levels, links.count * sizeof links.levels[0]);
    put(o, links.neighbors, links.places * sizeof links.neighbors[0]);
}

static void put_partition(struct out *o, const struct vindex_partition *p)
{
    const struct vindex_view *view = atomic_load(&p->view);
    struct partition_head head = {TAG_PARTITION, p->name, (uint32_t)view->slabs,
                                  (uint32_t)view->covered};
    put(o, &head, sizeof head);
    for (size_t i = 0; i < view->covered; i++)
        put_slab(o, view->slab[i], true);
    if (view->covered)
        put_graph(o, view->graph);
    for (size_t i = view->covered; i < view->slabs; i++)
        put_slab(o, view->slab[i], false);
    o->partitions++;
}

enum err vindex_save(struct vindex_reader *r, const char *path, struct err_text *t)
{
    struct vindex *v = r->v;
    struct vindex_table_cursor c = {0};
    const struct vindex_partition *p;
    struct header header = header_of(v);
    struct out o = {0};
    enum err e = atomic_file_begin(path, 0600, &o.file, t);
    if (e != ERR_OK)
        return e;
    o.buffer = mem_alloc(BUFFER_BYTES);
    o.sum = digest_stream_new();
    put(&o, &header, sizeof header);
    vindex_epoch_enter(&v->epoch, &r->slot);
    while ((p = vindex_table_next(&v->table, &c)))
        put_partition(&o, p);
    vindex_epoch_leave(&r->slot);
    struct end end = {TAG_END, 0, o.entries, o.partitions};
    put(&o, &end, sizeof end);
    flush(&o);
    struct digest sum = digest_stream_end(o.sum);
    atomic_file_add(o.file, (struct slice){(const char *)sum.bytes, sizeof sum.bytes});
    free(o.buffer);
    return atomic_file_end(o.file, t);
}

/* ---- reading ---- */

struct in {
    FILE *file;
    const char *path;
    struct digest_stream *sum;
    uint64_t left; /* bytes before the checksum */
    struct err_text *t;
};

static enum err refuse(const struct in *in, const char *why)
{
    err_say(in->t, "%s: %s", in->path, why);
    return ERR_BAD_CACHE_ENTRY;
}

static enum err get(struct in *in, void *p, uint64_t n)
{
    if (n > in->left || fread(p, 1, (size_t)n, in->file) != n)
        return refuse(in, "it is not whole");
    in->left -= n;
    digest_stream_add(in->sum, (struct slice){p, (size_t)n});
    return ERR_OK;
}

/* Memory for a content of n bytes that is still to be read: so no more than the file holds. */
static enum err make_room(const struct in *in, struct vindex *v, uint64_t n, uint64_t memory)
{
    if (n > in->left)
        return refuse(in, "it is not whole");
    if (vindex_fits(v, (size_t)memory))
        return ERR_OK;
    err_say(in->t, "%s: what it holds takes more than %zu bytes", in->path, v->opt.max_bytes);
    return ERR_TOO_LARGE;
}

/* A slab with what the file says, whatever that is. */
static enum err get_slab(struct in *in, struct vindex *v, struct vslab **out)
{
    uint32_t count;
    enum err e = get(in, &count, sizeof count);
    *out = NULL;
    if (e != ERR_OK)
        return e;
    if (count > VSLAB_ROWS)
        return refuse(in, "a slab has too many rows");
    if (count == 0)
        return ERR_OK;
    uint64_t ids = count * sizeof(uint64_t), vecs = count * v->stride * sizeof(uint16_t);
    e = make_room(in, v, 2 * ids + vecs, vslab_bytes(v->stride, count) + 4 * ids);
    if (e != ERR_OK)
        return e;
    struct vslab *s = vslab_new(v->stride, count);
    int64_t until[VSLAB_ROWS];
    if ((e = get(in, s->ids, ids)) != ERR_OK || (e = get(in, until, ids)) != ERR_OK ||
        (e = get(in, s->vecs, vecs)) != ERR_OK) {
        vslab_free(s);
        return e;
    }
    for (uint32_t i = 0; i < count; i++) {
        atomic_store_explicit(&s->until[i], until[i], memory_order_relaxed);
        s->living += until[i] != VSLAB_DEAD;
    }
    atomic_store(&s->count, count);
    *out = s;
    return ERR_OK;
}

static bool row_is_good(const struct vindex *v, const struct vslab *s, uint32_t row)
{
    const uint16_t *vec = vslab_vec(s, row);
    for (size_t i = v->dim; i < v->stride; i++)
        if (vec[i] != 0)
            return false;
    float square = v->dot->row_row(vec, vec, v->stride);
    return square > 0.98f && square < 1.02f && s->ids[row] != 0;
}

/* Rows that no graph knows go the way of new ones. */
static enum err load_rows(struct in *in, struct vindex *v, const struct digest *name)
{
    struct vslab *s;
    enum err e = get_slab(in, v, &s);
    for (uint32_t i = 0; e == ERR_OK && s && i < vslab_count(s); i++) {
        e = row_is_good(v, s, i)
                ? vindex_add(v, name, s->ids[i], vslab_vec(s, i), vslab_until(s, i))
                : ERR_BAD_REQUEST;
        if (e == ERR_TOO_LARGE || e == ERR_OVERLOADED) {
            e = ERR_TOO_LARGE;
            err_say(in->t, "%s: what it holds takes more than %zu bytes", in->path,
                    v->opt.max_bytes);
        } else if (e != ERR_OK) {
            e = refuse(in, "an entry that cannot be");
        }
    }
    vslab_free(s);
    return e;
}

/* A slab under a graph: it is the view's from here on. */
static enum err load_covered(struct in *in, struct vindex *v, struct vindex_partition *p,
                             struct vindex_view *view, size_t i)
{
    enum err e = get_slab(in, v, &view->slab[i]);
    struct vslab *s = view->slab[i];
    if (e != ERR_OK)
        return e;
    if (!s)
        return refuse(in, "a graph over an empty slab");
    s->partition = p;
    v->bytes += vslab_bytes(v->stride, s->cap);
    vindex_count(&v->dead, (ptrdiff_t)(s->cap - s->living));
    vindex_count(&v->entries, (ptrdiff_t)s->living);
    p->living += s->living;
    for (uint32_t row = 0; row < s->cap; row++) {
        if (!row_is_good(v, s, row))
            return refuse(in, "an entry that cannot be");
        if (vslab_until(s, row) == VSLAB_DEAD)
            continue;
        if (vindex_ids_get(&v->ids, s->ids[row]))
            return refuse(in, "an id that is there twice");
        v->bytes += vindex_ids_set(&v->ids, s->ids[row], s);
    }
    return ERR_OK;
}

static bool row_exists(void *ctx, uint32_t node)
{
    const struct vindex_view *view = ctx;
    return node % VSLAB_ROWS < view->slab[node / VSLAB_ROWS]->cap;
}

static enum err load_graph(struct in *in, struct vindex *v, struct vindex_view *view)
{
    struct graph_head head;
    enum err e = get(in, &head, sizeof head);
    size_t nodes = (view->covered - 1) * VSLAB_ROWS + view->slab[view->covered - 1]->cap;
    if (e != ERR_OK)
        return e;
    if (head.count != nodes || head.places > in->left)
        return refuse(in, "a graph of another size");
    uint64_t bytes = (head.count + head.places) * sizeof(int32_t);
    if ((e = make_room(in, v, bytes, 2 * bytes + nodes * sizeof(size_t))) != ERR_OK)
        return e;
    int32_t *levels = mem_zalloc(head.count, sizeof *levels);
    int32_t *neighbors = mem_zalloc(head.places + 1, sizeof *neighbors);
    const uint16_t **vecs = mem_zalloc(view->covered, sizeof *vecs);
    for (size_t i = 0; i < view->covered; i++)
        vecs[i] = view->slab[i]->vecs;
    if ((e = get(in, levels, head.count * sizeof *levels)) == ERR_OK &&
        (e = get(in, neighbors, head.places * sizeof *neighbors)) == ERR_OK) {
        struct vindex_graph_links links = {head.count, head.places, levels,
                                           neighbors,  head.entry,  head.max_level};
        struct vindex_graph_nodes where = {
            .vecs = vecs, .count = nodes, .stride = v->stride, .lives = row_exists, .ctx = view};
        struct err_text why = {""};
        e = vindex_graph_restore(&links, &where, &view->graph, &why);
        if (e != ERR_OK)
            e = refuse(in, why.s);
    }
    free(levels);
    free(neighbors);
    free(vecs);
    return e;
}

/* The slabs and the graph are read into a view that is shown at once, so that whatever goes wrong
 * later, vindex_free finds them. */
static enum err load_with_graph(struct in *in, struct vindex *v, const struct digest *name,
                                size_t covered)
{
    if (covered > VINDEX_GRAPH_NODES / VSLAB_ROWS || covered > in->left / sizeof(uint32_t))
        return refuse(in, "a graph that is too large");
    if (vindex_table_get(&v->table, name))
        return refuse(in, "a partition that is there twice");
    struct vindex_partition *p = vindex_partition_new(v, name);
    struct vindex_view *view = vindex_view_new(v, covered);
    enum err e = ERR_OK;
    size_t got = 0;
    while (e == ERR_OK && got < covered)
        if ((e = load_covered(in, v, p, view, got)) == ERR_OK || view->slab[got])
            got++;
    view->slabs = got;
    view->covered = got;
    if (e == ERR_OK)
        e = load_graph(in, v, view);
    vindex_partition_show(v, p, view);
    if (e != ERR_OK)
        return e;
    v->bytes += vindex_graph_bytes(view->graph);
    vindex_partition_recount(v, p);
    return ERR_OK;
}

static enum err load_partition(struct in *in, struct vindex *v)
{
    struct partition_head head;
    enum err e = get(in, (char *)&head + sizeof head.tag, sizeof head - sizeof head.tag);
    if (e != ERR_OK)
        return e;
    if (head.covered > head.slabs)
        return refuse(in, "a graph over slabs that are not there");
    if (head.covered)
        e = load_with_graph(in, v, &head.name, head.covered);
    for (uint32_t i = head.covered; e == ERR_OK && i < head.slabs; i++)
        e = load_rows(in, v, &head.name);
    return e;
}

static enum err check_header(struct in *in, const struct vindex *v)
{
    struct header h, want = header_of(v);
    enum err e = get(in, &h, sizeof h);
    if (e != ERR_OK)
        return e;
    if (memcmp(h.magic, want.magic, sizeof h.magic) != 0)
        return refuse(in, "it is not a snapshot of a vector index");
    if (h.byte_order != want.byte_order)
        return refuse(in, "it was written on a machine of another byte order");
    if (h.schema != want.schema || h.slab_rows != want.slab_rows)
        return refuse(in, "it was written by another version");
    if (memcmp(h.fingerprint, want.fingerprint, sizeof h.fingerprint) != 0)
        return refuse(in, "its vectors are another encoder's");
    if (h.dim != want.dim)
        return refuse(in, "its vectors have another dimension");
    return ERR_OK;
}

static enum err load_all(struct in *in, struct vindex *v)
{
    uint32_t tag = 0;
    uint64_t partitions = 0;
    enum err e = check_header(in, v);
    while (e == ERR_OK && (e = get(in, &tag, sizeof tag)) == ERR_OK && tag == TAG_PARTITION) {
        e = load_partition(in, v);
        partitions++;
    }
    if (e != ERR_OK)
        return e;
    struct end end = {.tag = tag};
    if (tag != TAG_END)
        return refuse(in, "neither a partition nor the end is where one should be");
    if ((e = get(in, (char *)&end + sizeof tag, sizeof end - sizeof tag)) != ERR_OK)
        return e;
    struct vindex_stat s;
    vindex_stat(v, &s);
    if (end.zero != 0 || end.entries != s.entries || end.partitions != partitions || in->left != 0)
        return refuse(in, "its end does not agree with what was before it");
    return ERR_OK;
}

/* A regular file, and how long it is. */
static enum err open_file(struct in *in)
{
    struct stat st;
    int fd = open(in->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        err_say(in->t, "%s: %s", in->path, strerror(errno));
        return errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_BAD_CACHE_ENTRY;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < DIGEST_BYTES) {
        close(fd);
        return refuse(in, "it is not a snapshot of a vector index");
    }
    in->left = (uint64_t)st.st_size - DIGEST_BYTES;
    in->file = fdopen(fd, "rb");
    mem_need(in->file);
    return ERR_OK;
}

enum err vindex_load(const struct vindex_options *opt, const char *path, struct vindex **out,
                     struct err_text *t)
{
    struct in in = {.path = path, .t = t};
    struct vindex *v;
    struct digest stored;
    *out = NULL;
    enum err e = open_file(&in);
    if (e != ERR_OK)
        return e;
    e = vindex_new(opt, &v, t);
    if (e == ERR_OK) {
        in.sum = digest_stream_new();
        e = load_all(&in, v);
        struct digest sum = digest_stream_end(in.sum);
        if (e == ERR_OK &&
            (fread(stored.bytes, 1, sizeof stored.bytes, in.file) != sizeof stored.bytes ||
             !digest_eq(stored, sum)))
            e = refuse(&in, "its checksum is wrong");
    }
    fclose(in.file);
    if (e == ERR_OK)
        *out = v;
    else
        vindex_free(v);
    return e;
}
