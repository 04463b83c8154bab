#include "stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/atomic_file.h"
#include "base/digest.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "base/rng.h"
#include "router/encoder/encoder.h"
#include "router/encoder/model_store.h"

#define MAX_TEXT   8192
#define BATCH      64
#define ROWS_BLOCK 64
#define COLS_BLOCK 512

/* ---- reading ---- */

struct class_name {
    struct digest digest;
    int id;
    bool used;
};

/* Names of classes to numbers, in order of appearance. */
struct names {
    struct class_name *slots;
    size_t mask;
    int count;
};

static int class_of(struct names *names, struct slice text)
{
    struct digest d = digest_of(text);
    size_t i;

    memcpy(&i, d.bytes, sizeof i);
    for (i &= names->mask; names->slots[i].used; i = (i + 1) & names->mask)
        if (digest_eq(names->slots[i].digest, d))
            return names->slots[i].id;
    names->slots[i] = (struct class_name){d, names->count, true};
    return names->count++;
}

static struct slice member_text(struct json_value line, struct slice key, char *into)
{
    struct json_member m;
    size_t n;

    if (!json_get(line, key, &m) || m.value.type != JSON_STRING)
        return (struct slice){NULL, 0};
    n = json_string_decode(m.value.text, into, MAX_TEXT);
    return slice_make(into, n < MAX_TEXT ? n : MAX_TEXT);
}

static int count_lines(struct slice s)
{
    int n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '\n';
    return n;
}

static enum err parse(struct stream *s, struct slice file, struct err_text *t)
{
    static char text[MAX_TEXT], name[MAX_TEXT];
    struct names names = {.mask = 1};
    size_t used = 0;
    enum err err = ERR_OK;

    s->count = count_lines(file);
    while (names.mask < 2 * (size_t)s->count)
        names.mask *= 2;
    names.slots = mem_zalloc(names.mask, sizeof *names.slots);
    names.mask--;
    s->texts = mem_zalloc((size_t)s->count + 1, sizeof *s->texts);
    s->classes = mem_zalloc((size_t)s->count + 1, sizeof *s->classes);
    s->bytes = mem_alloc(file.n + 1);
    for (int i = 0; i < s->count && err == ERR_OK; i++) {
        const char *end = memchr(file.p, '\n', file.n);
        struct json_value line = {JSON_OBJECT, slice_make(file.p, (size_t)(end - file.p))};
        struct slice cls, words;
        if (!json_validate(line.text, NULL) || !(cls = member_text(line, SLICE("cls"), name)).p ||
            !(words = member_text(line, SLICE("text"), text)).p) {
            err_say(t, "line %d: expected {\"text\": string, \"cls\": string}", i + 1);
            err = ERR_BAD_REQUEST;
            break;
        }
        s->texts[i] = slice_make(s->bytes + used, words.n);
        memcpy(s->bytes + used, words.p, words.n);
        used += words.n;
        s->classes[i] = class_of(&names, cls);
        file = slice_from(file, line.text.n + 1);
    }
    free(names.slots);
    return err;
}

static enum err read_all(const char *path, char **bytes, size_t *n, struct err_text *t)
{
    FILE *f = fopen(path, "rb");
    size_t cap = 1 << 20, got;

    if (!f) {
        err_say(t, "%s: %s", path, strerror(errno));
        return ERR_BAD_REQUEST;
    }
    *n = 0;
    *bytes = mem_alloc(cap);
    while ((got = fread(*bytes + *n, 1, cap - *n, f)) > 0)
        if ((*n += got) == cap)
            *bytes = mem_resize(*bytes, cap *= 2, 1);
    fclose(f);
    return ERR_OK;
}

/* ---- vectors and neighbours ---- */

static enum err encode(const struct stream *s, const char *model, const char *precision,
                       float **vectors, int *dim, struct err_text *t)
{
    struct encoder_options opt = {.device = ENCODER_CPU, .precision = -1};
    struct encoder *encoder = NULL;
    struct encoder_session *session;
    char folder[4096];
    enum err err = model_store_find(model, folder, sizeof folder, t);

    opt.folder = folder;
    for (int p = 0; p < ENCODER_PRECISIONS; p++)
        if (!strcmp(precision, encoder_precision_name((enum encoder_precision)p)))
            opt.precision = p;
    if (err != ERR_OK || (err = encoder_open(&opt, &encoder, t)) != ERR_OK)
        return err;
    *dim = encoder_facts(encoder).dim;
    *vectors = mem_zalloc((size_t)s->count * (size_t)*dim, sizeof **vectors);
    session = encoder_session_new(encoder);
    for (int i = 0; i < s->count && err == ERR_OK; i += BATCH) {
        int n = s->count - i < BATCH ? s->count - i : BATCH;
        struct encoder_vectors out = {*vectors + (size_t)i * (size_t)*dim, NULL};
        err = encoder_embed(session, s->texts + i, n, &out, NULL, t);
        if (i % (BATCH * 32) == 0)
            fprintf(stderr, "\r%s: %d of %d encoded", s->name, i, s->count);
    }
    fprintf(stderr, "\r%s: %d encoded          \n", s->name, s->count);
    encoder_session_free(session);
    encoder_free(encoder);
    return err;
}

static int nearer(const void *a, const void *b)
{
    const struct stream_near *x = a, *y = b;

    if (x->cosine != y->cosine)
        return x->cosine < y->cosine ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

/* A heap with the farthest on top, so that it is the one that goes. */
static void keep_nearest(struct stream_near *heap, int index, float cosine)
{
    int i = 0;

    if (cosine <= heap[0].cosine)
        return;
    for (;;) {
        int child = 2 * i + 1;
        if (child >= STREAM_NEAREST)
            break;
        if (child + 1 < STREAM_NEAREST && heap[child + 1].cosine < heap[child].cosine)
            child++;
        if (heap[child].cosine >= cosine)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = (struct stream_near){index, cosine};
}

static float dot(const float *restrict a, const float *restrict b, int n)
{
    float sum[16] = {0}, total = 0;

    for (int i = 0; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++)
            sum[j] += a[i + j] * b[i + j];
    for (int j = 0; j < 16; j++)
        total += sum[j];
    for (int i = n - n % 16; i < n; i++)
        total += a[i] * b[i];
    return total;
}

static void find_nearest(struct stream *s, const float *vectors, int dim)
{
    size_t all = (size_t)s->count * STREAM_NEAREST, width = (size_t)dim;

    for (size_t i = 0; i < all; i++)
        s->nearest[i] = (struct stream_near){-1, -2};
    for (int row = 0; row < s->count; row += ROWS_BLOCK) {
        int row_end = row + ROWS_BLOCK < s->count ? row + ROWS_BLOCK : s->count;
        for (int col = 0; col < s->count; col += COLS_BLOCK) {
            int col_end = col + COLS_BLOCK < s->count ? col + COLS_BLOCK : s->count;
            for (int i = row; i < row_end; i++)
                for (int j = col; j < col_end; j++)
                    if (i != j)
                        keep_nearest(
                            s->nearest + (size_t)i * STREAM_NEAREST, j,
                            dot(vectors + (size_t)i * width, vectors + (size_t)j * width, dim));
        }
        for (int i = row; i < row_end; i++)
            qsort(s->nearest + (size_t)i * STREAM_NEAREST, STREAM_NEAREST, sizeof *s->nearest,
                  nearer);
    }
}

/* What vectors and neighbours follow from, as the beginning of their files' names. */
static char *kept_name(const struct stream *s, const struct stream_options *opt, struct slice file)
{
    struct digest_stream *d = digest_stream_new();
    int shape[2] = {STREAM_NEAREST, s->count};
    char hex[DIGEST_HEX_BYTES], name[4096];

    digest_stream_add(d, slice_str(opt->model));
    digest_stream_add(d, slice_str(opt->precision));
    digest_stream_add(d, slice_make((const char *)shape, sizeof shape));
    digest_stream_add(d, file);
    digest_hex(digest_stream_end(d), hex);
    snprintf(name, sizeof name, "%s/%.16s", opt->keep, hex);
    return mem_strdup(slice_str(name));
}

static void kept_path(const struct stream *s, const char *what, char out[static 4200])
{
    snprintf(out, 4200, "%s.%s", s->kept, what);
}

static enum err keep(const struct stream *s, const char *what, const void *bytes, size_t n,
                     struct err_text *t)
{
    char path[4200];

    kept_path(s, what, path);
    return atomic_file_write(path, 0644, slice_make(bytes, n), t);
}

static bool recall_nearest(struct stream *s)
{
    size_t all = (size_t)s->count * STREAM_NEAREST;
    char path[4200];
    FILE *f, *vectors;
    bool whole;

    kept_path(s, "vectors", path);
    vectors = fopen(path, "rb");
    kept_path(s, "nearest", path);
    f = fopen(path, "rb");
    whole = vectors && f && fread(s->nearest, sizeof *s->nearest, all, f) == all;
    if (f)
        fclose(f);
    if (vectors)
        fclose(vectors);
    return whole;
}

enum err stream_keep_order(const struct stream *s, struct err_text *t)
{
    return keep(s, "order", s->order, (size_t)s->count * sizeof *s->order, t);
}

static enum err fill_nearest(struct stream *s, const struct stream_options *opt, struct slice file,
                             struct err_text *t)
{
    size_t all = (size_t)s->count * STREAM_NEAREST;
    float *vectors = NULL;
    int dim = 0;

    s->nearest = mem_alloc((all + 1) * sizeof *s->nearest);
    if (opt->keep)
        s->kept = kept_name(s, opt, file);
    if (s->kept && recall_nearest(s))
        return ERR_OK;
    enum err err = encode(s, opt->model, opt->precision, &vectors, &dim, t);
    if (err == ERR_OK)
        find_nearest(s, vectors, dim);
    if (err == ERR_OK && s->kept)
        err = keep(s, "vectors", vectors, (size_t)s->count * (size_t)dim * sizeof *vectors, t);
    if (err == ERR_OK && s->kept) /* last: it says that both are there */
        err = keep(s, "nearest", s->nearest, all * sizeof *s->nearest, t);
    free(vectors);
    return err;
}

enum err stream_open(const char *path, const struct stream_options *opt, struct stream *out,
                     struct err_text *t)
{
    const char *slash = strrchr(path, '/');
    char *file = NULL;
    size_t n = 0;
    enum err err = read_all(path, &file, &n, t);

    *out = (struct stream){.name = mem_strdup(slice_str(slash ? slash + 1 : path))};
    if (err == ERR_OK)
        err = parse(out, slice_make(file, n), t);
    if (err == ERR_OK)
        err = fill_nearest(out, opt, slice_make(file, n), t);
    free(file);
    if (err != ERR_OK)
        return err;
    out->facts = mem_zalloc((size_t)out->count, sizeof *out->facts);
    out->order = mem_zalloc((size_t)out->count, sizeof *out->order);
    for (int i = 0; i < out->count; i++)
        guard_read(out->texts[i], &out->facts[i]);
    return ERR_OK;
}

void stream_clear(struct stream *s)
{
    free(s->name);
    free(s->texts);
    free(s->classes);
    free(s->facts);
    free(s->nearest);
    free(s->order);
    free(s->bytes);
    free(s->kept);
}

void stream_shuffle(struct stream *s, uint64_t seed)
{
    struct rng r;

    rng_seed(&r, seed);
    for (int i = 0; i < s->count; i++)
        s->order[i] = i;
    for (int i = s->count - 1; i > 0; i--) {
        int j = (int)rng_below(&r, (uint64_t)i + 1), x = s->order[i];
        s->order[i] = s->order[j];
        s->order[j] = x;
    }
}
