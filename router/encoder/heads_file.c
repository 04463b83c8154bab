/* Heads as a safetensors file (heads_parts.h has the list of tensors). The file is untrusted: every
 * shape is checked against the others and the bounds, every number is finite, before anything is
 * built. Called by whoever opens heads; writing by the trainer. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "router/encoder/features.h"
#include "router/encoder/heads.h"
#include "router/encoder/heads_parts.h"
#include "router/encoder/safetensors.h"

#define MAX_SCOPE_ROWS 4096
#define MAX_NAME_BYTES 256

/* ---- reading ---- */

struct reading {
    const struct safetensors *file;
    struct arena arena; /* what the parts point to until heads_new has copied them */
    struct heads_parts p;
    struct err_text *t;
};

static enum err refuse(const struct reading *r, const char *what, const char *name)
{
    err_say(r->t, "%s '%s'", what, name);
    return ERR_BAD_WEIGHTS;
}

/* The tensor of that name as floats, its shape rows x columns (columns 0: one dimension). */
static enum err read_tensor(struct reading *r, const char *name, size_t rows, size_t columns,
                            const float **out)
{
    const struct tensor *x = safetensors_find(r->file, slice_str(name));
    int rank = columns ? 2 : 1;
    if (!x)
        return refuse(r, "there is no tensor", name);
    if (x->rank != rank || x->shape[0] != rows || (columns && x->shape[1] != columns) ||
        x->dtype != TENSOR_F32) {
        err_say(r->t, "tensor '%s' is not F32 of %zu%s%.0zu", name, rows, columns ? " x " : "",
                columns);
        return ERR_BAD_WEIGHTS;
    }
    float *values = arena_alloc(&r->arena, (x->count + 1) * sizeof *values);
    *out = values;
    return tensor_read_f32(x, values, r->t);
}

/* The size of a tensor's dimension, 0 when there is no such tensor. */
static size_t size_of(const struct reading *r, const char *name, int dimension)
{
    const struct tensor *x = safetensors_find(r->file, slice_str(name));
    return x && x->rank > dimension ? x->shape[dimension] : 0;
}

static enum err read_metadata(const struct reading *r, const char *key, struct slice *out)
{
    *out = safetensors_metadata(r->file, slice_str(key));
    return out->p ? ERR_OK : refuse(r, "there is no metadata", key);
}

/* A JSON array of distinct, non-empty strings. */
static enum err read_names(struct reading *r, const char *key, size_t max,
                           const struct slice **names, size_t *count)
{
    struct slice text = safetensors_metadata(r->file, slice_str(key));
    struct json_value list = {JSON_ARRAY, text};
    struct json_iter it;
    struct json_member m;
    if (!text.p)
        return ERR_OK;
    size_t n = 0;
    if (!json_validate(text, NULL) || text.n < 2 || text.p[0] != '[')
        return refuse(r, "metadata is not a JSON array:", key);
    for (json_iter_init(&it, list); json_iter_next(&it, &m); n++)
        if (m.value.type != JSON_STRING)
            return refuse(r, "not every element is a string in metadata", key);
    if (n > max)
        return refuse(r, "too many names in metadata", key);
    struct slice *out = ARENA_ARRAY(&r->arena, struct slice, n + 1);
    size_t i = 0;
    for (json_iter_init(&it, list); json_iter_next(&it, &m); i++) {
        size_t bytes = json_string_decode(m.value.text, NULL, 0);
        char *name = arena_alloc(&r->arena, bytes + 1);
        json_string_decode(m.value.text, name, bytes);
        out[i] = slice_make(name, bytes);
        if (bytes == 0 || bytes > MAX_NAME_BYTES)
            return refuse(r, "a name is empty or too long in metadata", key);
        for (size_t j = 0; j < i; j++)
            if (slice_eq(out[i], out[j]))
                return refuse(r, "a name stands twice in metadata", key);
    }
    *names = out;
    *count = n;
    return ERR_OK;
}

static enum err read_facts(struct reading *r)
{
    struct heads_parts *p = &r->p;
    struct slice format, space, link = {NULL, 0};
    enum err e = read_metadata(r, "format", &format);
    if (e == ERR_OK && !slice_eq(format, slice_str(HEADS_FORMAT)))
        return refuse(r, "these are not heads, their metadata 'format' is not", HEADS_FORMAT);
    if (e != ERR_OK || (e = read_metadata(r, "encoder", &p->encoder)) != ERR_OK ||
        (e = read_metadata(r, "space", &space)) != ERR_OK ||
        (e = read_metadata(r, "layout", &p->layout)) != ERR_OK)
        return e;
    if (!fingerprint_parse(space, &p->space))
        return refuse(r, "not a fingerprint: metadata", "space");
    if (!slice_eq(p->layout, slice_str(FEATURES_LAYOUT)) &&
        !slice_eq(p->layout, slice_str(FEATURES_LAYOUT_STATIC)))
        return refuse(r, "this weir does not know the features of metadata", "layout");
    p->report = safetensors_metadata(r->file, SLICE("report"));
    if (!p->report.p)
        p->report = SLICE("{}");
    if (!json_scan_object(p->report, NULL, NULL, NULL))
        return refuse(r, "not a JSON object: metadata", "report");
    if ((e = read_names(r, "labels", HEADS_MAX_CLASSES, &p->label, &p->classes)) != ERR_OK ||
        (e = read_names(r, "models", HEADS_MAX_MODELS, &p->model, &p->models)) != ERR_OK)
        return e;
    if (p->classes == 1 || p->classes + p->models == 0)
        return refuse(r, "there are neither two classes nor a model in metadata", "labels");
    if (p->models && (e = read_metadata(r, "link", &link)) != ERR_OK)
        return e;
    p->tiers = slice_eq(link, SLICE("tiers"));
    if (p->models && !p->tiers && !slice_eq(link, SLICE("logistic")))
        return refuse(r, "neither logistic nor tiers: metadata", "link");
    p->features = size_of(r, p->classes ? "class.weight" : "success.weight", 1);
    if (p->features <= FEATURES_SCALARS || p->features > HEADS_MAX_FEATURES)
        return refuse(r, "no usable number of features in tensor",
                      p->classes ? "class.weight" : "success.weight");
    return ERR_OK;
}

static enum err read_class(struct reading *r)
{
    struct heads_parts *p = &r->p;
    const float *temperature = NULL;
    enum err e;
    if ((e = read_tensor(r, "class.weight", p->classes, p->features, &p->class_weight)) != ERR_OK ||
        (e = read_tensor(r, "class.bias", p->classes, 0, &p->class_bias)) != ERR_OK ||
        (e = read_tensor(r, "class.temperature", 1, 0, &temperature)) != ERR_OK)
        return e;
    p->temperature = temperature[0];
    return p->temperature > 0 ? ERR_OK
                              : refuse(r, "not a temperature: tensor", "class.temperature");
}

static enum err read_scope(struct reading *r)
{
    struct heads_parts *p = &r->p;
    const float *scale = NULL;
    enum err e;
    p->scope_count = size_of(r, "scope.score", 0);
    p->scope.centers = size_of(r, "scope.center", 0);
    p->scope.dim = size_of(r, "scope.center", 1);
    if (p->scope_count + p->scope.centers == 0)
        return ERR_OK;
    if (p->scope_count > MAX_SCOPE_ROWS || p->scope.centers > HEADS_MAX_CLASSES ||
        p->scope.dim > p->features)
        return refuse(r, "too large: tensor", "scope.score or scope.center");
    if ((e = read_tensor(r, "scope.score", p->scope_count, 0, &p->scope_score)) != ERR_OK ||
        (e = read_tensor(r, "scope.center", p->scope.centers, p->scope.dim, &p->scope.center)) !=
            ERR_OK ||
        (e = read_tensor(r, "scope.scale", 2, 0, &scale)) != ERR_OK)
        return e;
    p->scope.scale[0] = scale[0];
    p->scope.scale[1] = scale[1];
    for (size_t i = 1; i < p->scope_count; i++)
        if (p->scope_score[i] < p->scope_score[i - 1])
            return refuse(r, "not in ascending order: tensor", "scope.score");
    return ERR_OK;
}

static enum err read_success(struct reading *r)
{
    struct heads_parts *p = &r->p;
    enum err e;
    if ((e = read_tensor(r, "success.weight", p->models, p->features, &p->success_weight)) !=
            ERR_OK ||
        (e = read_tensor(r, "success.bias", p->models, 0, &p->success_bias)) != ERR_OK ||
        (e = read_tensor(r, "success.platt", p->models, 2, &p->platt)) != ERR_OK)
        return e;
    p->knots = size_of(r, "success.knot_x", 1);
    if (p->knots == 0 && !safetensors_find(r->file, SLICE("success.knot_x")))
        return ERR_OK;
    if (p->knots < 2 || p->knots > HEADS_MAX_KNOTS)
        return refuse(r, "no usable number of knots in tensor", "success.knot_x");
    if ((e = read_tensor(r, "success.knot_x", p->models, p->knots, &p->knot_x)) != ERR_OK ||
        (e = read_tensor(r, "success.knot_y", p->models, p->knots, &p->knot_y)) != ERR_OK)
        return e;
    for (size_t i = 0; i < p->models * p->knots; i++) {
        if (!(p->knot_y[i] >= 0 && p->knot_y[i] <= 1))
            return refuse(r, "not a probability in tensor", "success.knot_y");
        if (i % p->knots && (p->knot_x[i] < p->knot_x[i - 1] || p->knot_y[i] < p->knot_y[i - 1]))
            return refuse(r, "a row falls in tensor", "success.knot_x or success.knot_y");
    }
    return ERR_OK;
}

static enum err read_heads(const struct safetensors *file, struct heads **out, struct err_text *t)
{
    struct reading r = {.file = file, .t = t};
    arena_init(&r.arena, 65536);
    enum err e = read_facts(&r);
    if (e == ERR_OK && r.p.classes)
        e = read_class(&r);
    if (e == ERR_OK && r.p.classes)
        e = read_scope(&r);
    if (e == ERR_OK && r.p.models)
        e = read_success(&r);
    if (e == ERR_OK)
        *out = heads_new(&r.p);
    arena_clear(&r.arena);
    return e;
}

enum err heads_parse(struct slice bytes, struct heads **out, struct err_text *t)
{
    struct safetensors *file;
    enum err e = safetensors_parse(bytes, &file, t);
    if (e != ERR_OK)
        return e;
    e = read_heads(file, out, t);
    safetensors_free(file);
    return e;
}

enum err heads_open(const char *path, struct heads **out, struct err_text *t)
{
    struct safetensors *file;
    struct err_text why = {""};
    enum err e = safetensors_open(path, &file, t);
    if (e != ERR_OK)
        return e;
    e = read_heads(file, out, &why);
    safetensors_free(file);
    if (e != ERR_OK)
        err_say(t, "%s: %s", path, why.s);
    return e;
}

/* ---- writing ---- */

#define MAX_TENSORS 12

struct writing {
    struct tensor tensor[MAX_TENSORS];
    size_t count;
};

static void put(struct writing *w, const char *name, const float *values, size_t rows,
                size_t columns)
{
    size_t count = rows * (columns ? columns : 1);
    assert(w->count < MAX_TENSORS);
    w->tensor[w->count++] = (struct tensor){
        .name = slice_str(name),
        .dtype = TENSOR_F32,
        .rank = columns ? 2 : 1,
        .shape = {rows, columns},
        .count = count,
        .data = slice_make((const char *)values, count * sizeof *values),
    };
}

/* ["a","b"]; freed by the caller. */
static char *names_json(const struct slice *names, size_t count)
{
    size_t room = 3, at = 0;
    for (size_t i = 0; i < count; i++)
        room += 6 * names[i].n + 3;
    char *text = mem_alloc(room);
    text[at++] = '[';
    for (size_t i = 0; i < count; i++) {
        if (i)
            text[at++] = ',';
        at += json_string_encode(names[i], text + at, room - at);
    }
    text[at++] = ']';
    text[at] = '\0';
    return text;
}

enum err heads_write(const char *path, const struct heads_parts *p, struct err_text *t)
{
    struct writing w = {.count = 0};
    if (p->classes) {
        put(&w, "class.weight", p->class_weight, p->classes, p->features);
        put(&w, "class.bias", p->class_bias, p->classes, 0);
        put(&w, "class.temperature", &p->temperature, 1, 0);
    }
    if (p->scope_count) {
        put(&w, "scope.center", p->scope.center, p->scope.centers, p->scope.dim);
        put(&w, "scope.scale", p->scope.scale, 2, 0);
        put(&w, "scope.score", p->scope_score, p->scope_count, 0);
    }
    if (p->models) {
        put(&w, "success.weight", p->success_weight, p->models, p->features);
        put(&w, "success.bias", p->success_bias, p->models, 0);
        put(&w, "success.platt", p->platt, p->models, 2);
    }
    if (p->models && p->knots) {
        put(&w, "success.knot_x", p->knot_x, p->models, p->knots);
        put(&w, "success.knot_y", p->knot_y, p->models, p->knots);
    }
    char space[FINGERPRINT_TEXT_BYTES];
    fingerprint_text(p->space, space);
    char *labels = names_json(p->label, p->classes), *models = names_json(p->model, p->models);
    const struct tensor_pair metadata[] = {
        {SLICE("format"), slice_str(HEADS_FORMAT)},
        {SLICE("encoder"), p->encoder},
        {SLICE("space"), slice_str(space)},
        {SLICE("layout"), p->layout},
        {SLICE("labels"), slice_str(labels)},
        {SLICE("models"), slice_str(models)},
        {SLICE("link"), p->tiers ? SLICE("tiers") : SLICE("logistic")},
        {SLICE("report"), p->report},
    };
    enum err e =
        safetensors_write(path, w.tensor, w.count, metadata, sizeof metadata / sizeof *metadata, t);
    free(models);
    free(labels);
    return e;
}
