/* See rows.h. Rows are chained in two hash tables: by prompt (what a request asks) and by source
 * and id (what a text file joins). Loading is the only time anything changes. Called by main at
 * start. */
#include "tests/fleet/rows.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>
#include "base/buf.h"
#include "base/mem.h"
#include "tests/fleet/text.h"

#define ROWS_SLOTS     65536u
#define MAX_LINE_BYTES (64u << 20)
#define PRICE_MAX_USD  1000 /* per million tokens: keeps costs within 63 bits */

void rows_init(struct rows *r)
{
    *r = (struct rows){0};
    arena_init(&r->arena, 1 << 16);
    r->by_hash = mem_zalloc(ROWS_SLOTS, sizeof *r->by_hash);
    r->by_id = mem_zalloc(ROWS_SLOTS, sizeof *r->by_id);
}

void rows_clear(struct rows *r)
{
    arena_clear(&r->arena);
    free(r->models);
    free(r->by_hash);
    free(r->by_id);
    *r = (struct rows){0};
}

struct model *rows_find_model(const struct rows *r, struct slice name)
{
    for (size_t i = 0; i < r->model_count; i++)
        if (slice_eq(slice_str(r->models[i]->name), name))
            return r->models[i];
    return NULL;
}

struct model *rows_model(struct rows *r, struct slice name)
{
    struct model *m = rows_find_model(r, name);
    if (m)
        return m;
    r->models = mem_resize(r->models, r->model_count + 1, sizeof(struct model *));
    m = ARENA_NEW(&r->arena, struct model);
    m->name = arena_strdup(&r->arena, name);
    m->index = r->model_count;
    r->models[r->model_count++] = m;
    return m;
}

static uint64_t id_hash(const char *source, const char *id)
{
    return text_hash(slice_str(source)) * 31 + text_hash(slice_str(id));
}

static struct row *find_id(const struct rows *r, const char *source, const char *id)
{
    for (struct row *row = r->by_id[id_hash(source, id) % ROWS_SLOTS]; row; row = row->next_id)
        if (strcmp(row->id, id) == 0 && strcmp(row->source->name, source) == 0)
            return row;
    return NULL;
}

const struct row *rows_find(const struct rows *r, struct slice prompt, const struct model *m,
                            const struct recorded **rec)
{
    struct slice wanted = text_strip(prompt);
    uint64_t hash = text_hash(wanted);
    const struct row *without = NULL;
    *rec = NULL;
    for (const struct row *row = r->by_hash[hash % ROWS_SLOTS]; row; row = row->next_hash) {
        if (row->hash != hash || !slice_eq(text_strip(row->prompt), wanted))
            continue;
        without = row;
        for (size_t i = 0; i < row->source->column_count; i++) {
            if (row->source->columns[i] == m && row->by[i].ran) {
                *rec = &row->by[i];
                return row;
            }
        }
    }
    return without;
}

/* ---- headers ---- */

static nanousd price_of(const json_t *model, const char *key, nanousd otherwise)
{
    const json_t *v = json_object_get(model, key);
    double usd = json_number_value(v);
    return json_is_number(v) && usd >= 0 && usd <= PRICE_MAX_USD ? (nanousd)llround(usd * 1e9)
                                                                 : otherwise;
}

static struct model *column_model(struct rows *r, const json_t *item)
{
    const json_t *name = json_object_get(item, "name");
    struct model *m =
        rows_model(r, (struct slice){json_string_value(name), json_string_length(name)});
    if (!m->priced && json_is_number(json_object_get(item, "usd_in"))) {
        m->priced = true;
        m->price[TOK_INPUT] = price_of(item, "usd_in", 0);
        m->price[TOK_OUTPUT] = price_of(item, "usd_out", 0);
        m->price[TOK_CACHED_INPUT] = price_of(item, "usd_cached_in", m->price[TOK_INPUT]);
        m->price[TOK_CACHE_WRITE] = price_of(item, "usd_cache_write", m->price[TOK_INPUT]);
        m->price[TOK_REASONING] = price_of(item, "usd_reasoning", m->price[TOK_OUTPUT]);
    }
    if (!m->context)
        m->context = json_integer_value(json_object_get(item, "context"));
    return m;
}

struct load {
    struct rows *rows;
    struct row_source *source;
    bool is_text; /* a *_text file: joins, adds no rows */
    bool p_is_logprob;
    const char *joined; /* name of the main source */
};

static bool load_header(struct load *l, const json_t *h, struct err_text *why)
{
    const char *format = json_string_value(json_object_get(h, "format"));
    const char *name = json_string_value(json_object_get(h, "source"));
    const json_t *models = json_object_get(h, "models");
    if (!format || strcmp(format, "routing-rows/1") != 0 || !name) {
        err_say(why, "the first line is not a routing-rows/1 header");
        return false;
    }
    struct arena *a = &l->rows->arena;
    struct row_source *s = ARENA_NEW(a, struct row_source);
    size_t n = strlen(name), suffix = sizeof "_text" - 1;
    l->is_text = n > suffix && strcmp(name + n - suffix, "_text") == 0;
    l->joined = arena_strdup(a, slice_make(name, l->is_text ? n - suffix : n));
    const char *conf = json_string_value(json_object_get(h, "conf"));
    l->p_is_logprob = conf && strstr(conf, "log-prob");
    s->name = l->joined;
    s->column_count = json_array_size(models);
    s->columns = ARENA_ARRAY(a, struct model *, s->column_count);
    for (size_t i = 0; i < s->column_count; i++) {
        const json_t *item = json_array_get(models, i);
        if (!json_is_string(json_object_get(item, "name"))) {
            err_say(why, "models[%zu] has no name", i);
            return false;
        }
        s->columns[i] = column_model(l->rows, item);
    }
    s->next = l->rows->sources;
    l->rows->sources = s;
    l->source = s;
    return true;
}

/* ---- rows ---- */

static const char *dup_string(struct arena *a, const json_t *v)
{
    return json_is_string(v)
               ? arena_strdup(a, (struct slice){json_string_value(v), json_string_length(v)})
               : NULL;
}

/* "a" is an array of short answers, or one string with the letter of the option that each model
 * picked. */
static const char *brief_answer(struct arena *a, const json_t *answers, size_t column)
{
    if (!json_is_string(answers))
        return dup_string(a, json_array_get(answers, column));
    if (column >= json_string_length(answers) || json_string_value(answers)[column] == '-')
        return NULL;
    return arena_printf(a, "The answer is (%c).", json_string_value(answers)[column]);
}

static double logprob_of(const struct load *l, const json_t *row, size_t column)
{
    const json_t *q = json_array_get(json_object_get(row, "q"), column);
    const json_t *p = json_array_get(json_object_get(row, "p"), column);
    if (json_is_number(q))
        return log(fmax(json_number_value(q), 1e-13));
    return l->p_is_logprob && json_is_number(p) ? json_number_value(p) : (double)NAN;
}

static void load_recorded(const struct load *l, const json_t *row, size_t column,
                          struct recorded *rec)
{
    const json_t *score = json_array_get(json_object_get(row, "s"), column);
    const json_t *tokens = json_array_get(json_object_get(row, "n"), column);
    const json_t *ms = json_array_get(json_object_get(row, "t"), column);
    const json_t *answers = json_object_get(row, "a");
    struct arena *a = &l->rows->arena;
    rec->ran = json_is_number(score);
    rec->score = json_number_value(score);
    rec->text = dup_string(a, json_array_get(json_object_get(row, "x"), column));
    rec->brief = brief_answer(a, answers ? answers : json_object_get(row, "pred"), column);
    rec->logprob = logprob_of(l, row, column);
    rec->tokens_in =
        json_array_size(tokens) == 2 ? json_integer_value(json_array_get(tokens, 0)) : -1;
    rec->tokens_out =
        json_array_size(tokens) == 2 ? json_integer_value(json_array_get(tokens, 1)) : -1;
    rec->latency_ms = json_is_number(ms) ? (int64_t)json_number_value(ms) : -1;
}

static void add_row(const struct load *l, const json_t *item, const char *id, const json_t *prompt)
{
    struct rows *r = l->rows;
    struct row *row = ARENA_NEW(&r->arena, struct row);
    const char *cls = json_string_value(json_object_get(item, "class"));
    row->id = arena_strdup(&r->arena, slice_str(id));
    row->cls = arena_strdup(&r->arena, slice_str(cls ? cls : ""));
    row->prompt =
        arena_dup(&r->arena, slice_make(json_string_value(prompt), json_string_length(prompt)));
    row->hash = text_hash(text_strip(row->prompt));
    row->source = l->source;
    row->by = ARENA_ARRAY(&r->arena, struct recorded, l->source->column_count);
    for (size_t i = 0; i < l->source->column_count; i++)
        load_recorded(l, item, i, &row->by[i]);

    struct row **slot = &r->by_hash[row->hash % ROWS_SLOTS];
    row->next_hash = *slot;
    *slot = row;
    slot = &r->by_id[id_hash(l->source->name, row->id) % ROWS_SLOTS];
    row->next_id = *slot;
    *slot = row;
    if (r->last)
        r->last->next = row;
    else
        r->first = row;
    r->last = row;
    r->count++;
}

/* The text file's columns are a subset of the main file's, in an order of its own. */
static void join_text(const struct load *l, const json_t *item, struct row *row)
{
    for (size_t i = 0; i < l->source->column_count; i++) {
        const char *text =
            dup_string(&l->rows->arena, json_array_get(json_object_get(item, "x"), i));
        for (size_t j = 0; text && j < row->source->column_count; j++)
            if (row->source->columns[j] == l->source->columns[i])
                row->by[j].text = text;
    }
}

static bool load_line(struct load *l, struct slice line, bool first, struct err_text *why)
{
    json_error_t e;
    json_t *item = json_loadb(line.p, line.n, 0, &e);
    bool ok = false;
    if (!json_is_object(item)) {
        err_say(why, "not a JSON object: %s", item ? "another type" : e.text);
        goto out;
    }
    if (first) {
        ok = load_header(l, item, why);
        goto out;
    }
    const char *id = json_string_value(json_object_get(item, "id"));
    const json_t *prompt = json_object_get(item, "prompt");
    struct row *known = id ? find_id(l->rows, l->joined, id) : NULL;
    ok = id && (l->is_text ? known != NULL : json_is_string(prompt));
    if (!ok)
        err_say(why, "a row of %s needs an id and %s", l->joined,
                l->is_text ? "a row to join" : "a prompt");
    else if (l->is_text)
        join_text(l, item, known);
    else
        add_row(l, item, id, prompt);
out:
    json_decref(item);
    return ok;
}

/* One line without its end into line; false at the end of the file. */
static bool read_line(gzFile f, struct buf *line)
{
    char part[16384];
    buf_reset(line);
    while (gzgets(f, part, sizeof part)) {
        size_t n = strlen(part);
        bool whole = n && part[n - 1] == '\n';
        text_must(buf_append(line, part, whole ? n - 1 : n));
        if (whole)
            return true;
    }
    return buf_len(line) > 0;
}

bool rows_load(struct rows *r, const char *path, struct err_text *why)
{
    struct load l = {.rows = r};
    struct err_text detail = {""};
    struct buf line;
    size_t number = 0;
    bool ok = true;
    gzFile f = gzopen(path, "rb");
    if (!f) {
        err_say(why, "%s: cannot be opened", path);
        return false;
    }
    buf_init(&line, MAX_LINE_BYTES);
    while (ok && read_line(f, &line)) {
        number++;
        if (text_strip(buf_slice(&line)).n)
            ok = load_line(&l, buf_slice(&line), number == 1, &detail);
    }
    if (!ok)
        err_say(why, "%s:%zu: %s", path, number, detail.s);
    else if (number == 0)
        err_say(why, "%s: empty", path);
    buf_clear(&line);
    gzclose(f);
    return ok && number > 0;
}

/* ---- truth ---- */

static void write_truth(FILE *f, struct buf *b, const struct row *row, size_t column)
{
    const struct recorded *rec = &row->by[column];
    TEXT_LIT(b, "{\"id\":");
    text_json(b, slice_str(row->id));
    TEXT_LIT(b, ",\"source\":");
    text_json(b, slice_str(row->source->name));
    TEXT_LIT(b, ",\"class\":");
    text_json(b, slice_str(row->cls));
    TEXT_LIT(b, ",\"model\":");
    text_json(b, slice_str(row->source->columns[column]->name));
    TEXT_ADD(b, ",\"prompt_fnv1a64\":\"%016llx\",\"score\":%.6g,\"right\":%s}\n",
             (unsigned long long)row->hash, rec->score, rec->score >= 0.5 ? "true" : "false");
    fwrite(b->data + b->head, 1, buf_len(b), f);
    buf_reset(b);
}

bool rows_write_truth(const struct rows *r, const char *path)
{
    FILE *f = fopen(path, "we");
    if (!f)
        return false;
    struct buf b;
    buf_init(&b, MAX_TEXT_BYTES);
    for (const struct row *row = r->first; row; row = row->next)
        for (size_t i = 0; i < row->source->column_count; i++)
            if (row->by[i].ran)
                write_truth(f, &b, row, i);
    buf_clear(&b);
    bool written = !ferror(f);
    return fclose(f) == 0 && written;
}
