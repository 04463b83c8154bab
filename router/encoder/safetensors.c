/* Reads and writes safetensors: 8 bytes of little-endian header length N, N bytes of JSON, then the
 * tensors' bytes end to end (huggingface.co/docs/safetensors, section Format).
 *
 * The JSON is checked by base/json_scan and then walked; what this format forbids beyond JSON is
 * checked here: one object of objects, integers only, no name or key twice. Offsets are proven to
 * tile the data exactly before anybody sees a slice of it. Pure but for open and write; called by
 * bert_model, heads, static_table and the trainers. */
#include "router/encoder/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "router/encoder/block.h"

#define PREFIX_BYTES     8 /* the header's length */
#define MAX_HEADER_BYTES ((size_t)4 << 20)
#define MAX_FILE_BYTES   ((uint64_t)8 << 30) /* bge-large in fp32 has 1.3 GB */
#define MAX_TENSORS      4096
#define MAX_NAME_BYTES   256
#define READ_BYTES       ((size_t)1 << 20) /* hashed while it is still in the CPU's cache */

static const struct {
    const char *name;
    size_t bytes;
} dtypes[TENSOR_DTYPES] = {
    [TENSOR_F64] = {"F64", 8},   [TENSOR_F32] = {"F32", 4}, [TENSOR_F16] = {"F16", 2},
    [TENSOR_BF16] = {"BF16", 2}, [TENSOR_I64] = {"I64", 8}, [TENSOR_I32] = {"I32", 4},
    [TENSOR_I16] = {"I16", 2},   [TENSOR_I8] = {"I8", 1},   [TENSOR_U8] = {"U8", 1},
    [TENSOR_BOOL] = {"BOOL", 1},
};

struct safetensors {
    struct arena arena;           /* names, metadata, tables */
    char *owned;                  /* the file's bytes; NULL when parsed from the caller's */
    struct digest digest;         /* of all bytes */
    struct tensor *tensors;       /* [count], by offset */
    const struct tensor **byname; /* [count], sorted */
    size_t count;
    struct tensor_pair *metadata; /* [pairs], sorted by key */
    size_t pairs;
};

const char *tensor_dtype_name(enum tensor_dtype d)
{
    assert(d < TENSOR_DTYPES);
    return dtypes[d].name;
}

size_t tensor_dtype_bytes(enum tensor_dtype d)
{
    assert(d < TENSOR_DTYPES);
    return dtypes[d].bytes;
}

/* ---- the header ---- */

/* What is known while the header is read. */
struct reading {
    struct safetensors *s;
    struct slice header, data;
    struct err_text *t;
    struct extent {
        size_t begin, end; /* in data */
    } * extents;           /* [count] until the tensors get their slices */
};

static size_t header_offset(const struct reading *r, struct slice at)
{
    return (size_t)(at.p - r->header.p);
}

static enum err refuse(const struct reading *r, const struct json_member *m, const char *what)
{
    err_say(r->t, "header byte %zu, '%.*s': %s", header_offset(r, m->key),
            (int)(m->key.n < MAX_NAME_BYTES ? m->key.n : MAX_NAME_BYTES), m->key.p, what);
    return ERR_BAD_WEIGHTS;
}

static int compare_slices(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

/* The text of a string, or of a key given with its quotes. */
static struct slice decode(struct arena *a, struct slice quoted)
{
    size_t n = json_string_decode(quoted, NULL, 0);
    char *p = arena_alloc(a, n + 1);
    json_string_decode(quoted, p, n);
    p[n] = '\0';
    return slice_make(p, n);
}

static struct slice decode_key(struct arena *a, const struct json_member *m)
{
    return decode(a, slice_make(m->key.p - 1, m->key.n + 2));
}

static bool printable(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7F)
            return false;
    return true;
}

/* A size: an integer without fraction, exponent or sign. */
static bool read_size(struct json_value v, size_t *out)
{
    int64_t n;
    if (v.type != JSON_NUMBER || !json_int(v, &n) || n < 0)
        return false;
    *out = (size_t)n;
    return true;
}

static enum err read_dtype(const struct reading *r, const struct json_member *tensor,
                           struct json_value v, enum tensor_dtype *out)
{
    if (v.type != JSON_STRING)
        return refuse(r, tensor, "dtype is not a string");
    for (int d = 0; d < TENSOR_DTYPES; d++)
        if (v.text.n == strlen(dtypes[d].name) + 2 &&
            memcmp(v.text.p + 1, dtypes[d].name, v.text.n - 2) == 0) {
            *out = (enum tensor_dtype)d;
            return ERR_OK;
        }
    err_say(r->t,
            "header byte %zu, '%.*s': dtype %.*s is not one of F64 F32 F16 BF16 I64 I32 I16 "
            "I8 U8 BOOL",
            header_offset(r, tensor->key), SLICE_ARG(tensor->key),
            (int)(v.text.n < 32 ? v.text.n : 32), v.text.p);
    return ERR_BAD_WEIGHTS;
}

static enum err read_shape(const struct reading *r, const struct json_member *tensor,
                           struct json_value v, struct tensor *x)
{
    if (v.type != JSON_ARRAY)
        return refuse(r, tensor, "shape is not an array");
    struct json_iter it;
    struct json_member m;
    json_iter_init(&it, v);
    x->rank = 0;
    x->count = 1;
    while (json_iter_next(&it, &m)) {
        if (x->rank == TENSOR_MAX_RANK)
            return refuse(r, tensor, "shape has more than 8 dimensions");
        size_t n;
        if (!read_size(m.value, &n))
            return refuse(r, tensor, "shape holds something else than non-negative integers");
        x->shape[x->rank++] = n;
        if (__builtin_mul_overflow(x->count, n, &x->count))
            return refuse(r, tensor, "shape's product does not fit 64 bits");
    }
    return ERR_OK;
}

static enum err read_extent(const struct reading *r, const struct json_member *tensor,
                            struct json_value v, struct extent *x)
{
    struct json_iter it;
    struct json_member m;
    size_t pair[2], n = 0;
    json_iter_init(&it, v);
    if (v.type == JSON_ARRAY)
        while (json_iter_next(&it, &m)) {
            if (n == 2 || !read_size(m.value, &pair[n]))
                return refuse(r, tensor, "data_offsets are not two non-negative integers");
            n++;
        }
    if (n != 2)
        return refuse(r, tensor, "data_offsets are not two non-negative integers");
    *x = (struct extent){pair[0], pair[1]};
    if (x->begin > x->end)
        return refuse(r, tensor, "data_offsets end before they begin");
    if (x->end > r->data.n)
        return refuse(r, tensor, "data_offsets reach beyond the end of the file");
    return ERR_OK;
}

/* Each of the three members exactly once, nothing else. */
static enum err read_members(const struct reading *r, const struct json_member *tensor,
                             struct tensor *x, struct extent *extent)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4, ALL = 7 };
    struct json_iter it;
    struct json_member m;
    unsigned seen = 0;
    if (tensor->value.type != JSON_OBJECT)
        return refuse(r, tensor, "is not described by an object");
    json_iter_init(&it, tensor->value);
    while (json_iter_next(&it, &m)) {
        unsigned which = json_key_is(&m, SLICE("dtype"))          ? DTYPE
                         : json_key_is(&m, SLICE("shape"))        ? SHAPE
                         : json_key_is(&m, SLICE("data_offsets")) ? OFFSETS
                                                                  : 0;
        if (!which)
            return refuse(r, &m, "is no key of a tensor (dtype, shape, data_offsets)");
        if (seen & which)
            return refuse(r, &m, "stands twice in one tensor");
        seen |= which;
        enum err e = which == DTYPE   ? read_dtype(r, tensor, m.value, &x->dtype)
                     : which == SHAPE ? read_shape(r, tensor, m.value, x)
                                      : read_extent(r, tensor, m.value, extent);
        if (e != ERR_OK)
            return e;
    }
    return seen == ALL ? ERR_OK : refuse(r, tensor, "lacks dtype, shape or data_offsets");
}

static enum err read_tensor(const struct reading *r, const struct json_member *m, struct tensor *x,
                            struct extent *extent)
{
    if (m->key.n > MAX_NAME_BYTES)
        return refuse(r, m, "the name is longer than 256 bytes");
    x->name = decode_key(&r->s->arena, m);
    if (x->name.n == 0 || !printable(x->name))
        return refuse(r, m, "the name is empty or holds control characters");
    enum err e = read_members(r, m, x, extent);
    if (e != ERR_OK)
        return e;
    size_t bytes;
    if (__builtin_mul_overflow(x->count, dtypes[x->dtype].bytes, &bytes) ||
        bytes != extent->end - extent->begin) {
        err_say(r->t,
                "header byte %zu, '%.*s': data_offsets span %zu bytes, shape and dtype ask "
                "for another number",
                header_offset(r, m->key), SLICE_ARG(m->key), extent->end - extent->begin);
        return ERR_BAD_WEIGHTS;
    }
    x->data = slice_make(r->data.p + extent->begin, bytes);
    return ERR_OK;
}

static int compare_pairs(const void *a, const void *b)
{
    const struct tensor_pair *x = a, *y = b;
    return compare_slices(x->key, y->key);
}

static enum err read_metadata(const struct reading *r, const struct json_member *metadata)
{
    struct safetensors *s = r->s;
    struct json_iter it;
    struct json_member m;
    size_t n = 0;
    if (metadata->value.type != JSON_OBJECT)
        return refuse(r, metadata, "is not an object");
    for (json_iter_init(&it, metadata->value); json_iter_next(&it, &m); n++)
        if (m.value.type != JSON_STRING)
            return refuse(r, &m, "a value of __metadata__ is not a string");
    s->metadata = ARENA_ARRAY(&s->arena, struct tensor_pair, n);
    for (json_iter_init(&it, metadata->value); json_iter_next(&it, &m); s->pairs++) {
        s->metadata[s->pairs].key = decode_key(&s->arena, &m);
        s->metadata[s->pairs].value = decode(&s->arena, m.value.text);
    }
    if (n > 1)
        qsort(s->metadata, n, sizeof *s->metadata, compare_pairs);
    for (size_t i = 1; i < n; i++)
        if (slice_eq(s->metadata[i - 1].key, s->metadata[i].key))
            return refuse(r, metadata, "a key stands twice");
    return ERR_OK;
}

static int compare_data(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    if (x->data.p != y->data.p)
        return x->data.p < y->data.p ? -1 : 1;
    return (x->data.n > y->data.n) - (x->data.n < y->data.n); /* empty ones first */
}

static int compare_names(const void *a, const void *b)
{
    const struct tensor *const *x = a, *const *y = b;
    return compare_slices((*x)->name, (*y)->name);
}

/* Sorts both ways; the data must be tiled without hole or overlap, and names be unique. */
static enum err check_table(const struct reading *r)
{
    struct safetensors *s = r->s;
    if (s->count) /* qsort wants a pointer even for nothing */
        qsort(s->tensors, s->count, sizeof *s->tensors, compare_data);
    const char *expected = r->data.p;
    for (size_t i = 0; i < s->count; i++) {
        const struct tensor *x = &s->tensors[i];
        if (x->data.p != expected) {
            err_say(r->t, "'%.*s' begins at byte %zu of the data, %s byte %zu", SLICE_ARG(x->name),
                    (size_t)(x->data.p - r->data.p),
                    x->data.p < expected ? "inside a tensor that goes to" : "after a hole from",
                    (size_t)(expected - r->data.p));
            return ERR_BAD_WEIGHTS;
        }
        expected += x->data.n;
    }
    if (expected != r->data.p + r->data.n) {
        err_say(r->t, "the tensors end at byte %zu of the data, the file has %zu",
                (size_t)(expected - r->data.p), r->data.n);
        return ERR_BAD_WEIGHTS;
    }
    s->byname = ARENA_ARRAY(&s->arena, const struct tensor *, s->count);
    for (size_t i = 0; i < s->count; i++)
        s->byname[i] = &s->tensors[i];
    if (s->count)
        qsort(s->byname, s->count, sizeof *s->byname, compare_names);
    for (size_t i = 1; i < s->count; i++)
        if (slice_eq(s->byname[i - 1]->name, s->byname[i]->name)) {
            err_say(r->t, "the name '%.*s' stands twice", SLICE_ARG(s->byname[i]->name));
            return ERR_BAD_WEIGHTS;
        }
    return ERR_OK;
}

struct tally {
    size_t tensors, metadata;
};

static bool count_member(const struct json_member *m, void *ctx)
{
    struct tally *n = ctx;
    if (json_key_is(m, SLICE("__metadata__")))
        n->metadata++;
    else
        n->tensors++;
    return true;
}

static enum err read_header(struct reading *r)
{
    struct safetensors *s = r->s;
    struct tally n = {0};
    size_t at;
    if (r->header.p[0] != '{') {
        err_say(r->t, "the header does not begin with '{': not a safetensors file");
        return ERR_BAD_WEIGHTS;
    }
    if (!json_scan_object(r->header, count_member, &n, &at)) {
        err_say(r->t, "header byte %zu: not a JSON object", at);
        return ERR_BAD_WEIGHTS;
    }
    if (n.tensors > MAX_TENSORS || n.metadata > 1) {
        err_say(r->t, n.metadata > 1 ? "__metadata__ stands twice" : "more than %d tensors",
                MAX_TENSORS);
        return ERR_BAD_WEIGHTS;
    }
    s->tensors = ARENA_ARRAY(&s->arena, struct tensor, n.tensors);
    struct json_iter it;
    struct json_member m;
    json_iter_init(&it, (struct json_value){JSON_OBJECT, r->header});
    while (json_iter_next(&it, &m)) {
        struct extent extent = {0, 0};
        enum err e = json_key_is(&m, SLICE("__metadata__"))
                         ? read_metadata(r, &m)
                         : read_tensor(r, &m, &s->tensors[s->count++], &extent);
        if (e != ERR_OK)
            return e;
    }
    return check_table(r);
}

static uint64_t load_le64(const char *p)
{
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | (unsigned char)p[i];
    return n;
}

static enum err parse(struct slice bytes, struct safetensors *s, struct err_text *t)
{
    if (bytes.n < PREFIX_BYTES) {
        err_say(t, "%zu bytes are too few for a safetensors file", bytes.n);
        return ERR_BAD_WEIGHTS;
    }
    uint64_t n = load_le64(bytes.p);
    if (n < 2 || n > MAX_HEADER_BYTES) {
        err_say(t, "the header's length %" PRIu64 " is not within 2 and %zu", n, MAX_HEADER_BYTES);
        return ERR_BAD_WEIGHTS;
    }
    if (n > bytes.n - PREFIX_BYTES) {
        err_say(t, "the header's length %" PRIu64 " goes beyond the file's %zu bytes", n, bytes.n);
        return ERR_BAD_WEIGHTS;
    }
    struct reading r = {.s = s,
                        .header = slice_make(bytes.p + PREFIX_BYTES, (size_t)n),
                        .data = slice_make(bytes.p + PREFIX_BYTES + n, bytes.n - PREFIX_BYTES - n),
                        .t = t};
    return read_header(&r);
}

/* ---- opening ---- */

static struct safetensors *new_empty(void)
{
    struct safetensors *s = mem_zalloc(1, sizeof *s);
    arena_init(&s->arena, 16 << 10);
    return s;
}

void safetensors_free(struct safetensors *s)
{
    if (!s)
        return;
    arena_clear(&s->arena);
    free(s->owned);
    free(s);
}

enum err safetensors_parse(struct slice bytes, struct safetensors **out, struct err_text *t)
{
    struct safetensors *s = new_empty();
    enum err e = parse(bytes, s, t);
    if (e != ERR_OK) {
        safetensors_free(s);
        return e;
    }
    s->digest = digest_of(bytes);
    *out = s;
    return ERR_OK;
}

/* Reads exactly size bytes and hashes them on the way. NULL, or what went wrong. */
static const char *read_and_hash(int fd, char *to, size_t size, struct digest *digest)
{
    struct digest_stream *hash = digest_stream_new();
    const char *wrong = NULL;
    size_t got = 0;
    while (got < size && !wrong) {
        size_t want = size - got < READ_BYTES ? size - got : READ_BYTES;
        ssize_t n = read(fd, to + got, want);
        if (n > 0) {
            digest_stream_add(hash, slice_make(to + got, (size_t)n));
            got += (size_t)n;
        } else if (n == 0) {
            wrong = "the file became shorter while it was read";
        } else if (errno != EINTR) {
            wrong = strerror(errno);
        }
    }
    *digest = digest_stream_end(hash);
    return wrong;
}

static enum err open_file(const char *path, struct safetensors *s, struct err_text *t)
{
    enum err e = ERR_BAD_WEIGHTS;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        err_say(t, "%s: %s", path, strerror(errno));
        return e;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        err_say(t, "%s: not a regular file", path);
        goto out;
    }
    if (st.st_size < 0 || (uint64_t)st.st_size > MAX_FILE_BYTES) {
        err_say(t, "%s: larger than %" PRIu64 " bytes", path, MAX_FILE_BYTES);
        goto out;
    }
    size_t size = (size_t)st.st_size;
    if (!(s->owned = block_new(size))) {
        err_say(t, "%s: no memory for its %zu bytes", path, size);
        goto out;
    }
    const char *wrong = read_and_hash(fd, s->owned, size, &s->digest);
    if (wrong) {
        err_say(t, "%s: %s", path, wrong);
        goto out;
    }
    struct err_text what;
    e = parse(slice_make(s->owned, size), s, &what);
    if (e != ERR_OK)
        err_say(t, "%s: %.400s", path, what.s);
out:
    close(fd);
    return e;
}

enum err safetensors_open(const char *path, struct safetensors **out, struct err_text *t)
{
    struct safetensors *s = new_empty();
    enum err e = open_file(path, s, t);
    if (e == ERR_OK)
        *out = s;
    else
        safetensors_free(s);
    return e;
}

/* ---- asking ---- */

struct digest safetensors_digest(const struct safetensors *s)
{
    return s->digest;
}

size_t safetensors_count(const struct safetensors *s)
{
    return s->count;
}

const struct tensor *safetensors_at(const struct safetensors *s, size_t i)
{
    assert(i < s->count);
    return &s->tensors[i];
}

const struct tensor *safetensors_find(const struct safetensors *s, struct slice name)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_slices(name, s->byname[middle]->name);
        if (order == 0)
            return s->byname[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

struct slice safetensors_metadata(const struct safetensors *s, struct slice key)
{
    for (size_t i = 0; i < s->pairs; i++)
        if (slice_eq(s->metadata[i].key, key))
            return s->metadata[i].value;
    return (struct slice){NULL, 0};
}
