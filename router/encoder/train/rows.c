/* Reads rows. A line is validated whole, then its few members are picked out; what is wrong is said
 * with file and line. Called by cmd_train, cmd_eval and cmd_bench. */
#include "router/encoder/train/rows.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>
#include "base/json_scan.h"
#include "base/mem.h"

#define MAX_LINE_BYTES   ((size_t)8 << 20)
#define MAX_TEXT_BYTES   ((size_t)1 << 20)
#define MAX_LABEL_BYTES  200
#define MAX_COST_NANOUSD 1e15
#define MAX_VOTES        10000
#define ROWS_FORMAT      "routing-rows/1"

struct source {
    struct rows *rows;
    const struct rows_options *opt;
    const char *path;
    gzFile file;
    size_t line; /* counted from 1 */
    char *text;  /* of the line; owned */
    size_t cap;
    size_t *model; /* of the header, in the rows' arena */
    size_t models;
    double cost_unit_nanousd; /* of the header; 0: it names none */
    bool log_confidence;      /* "p" is a log-probability */
    struct err_text *t;
};

void rows_init(struct rows *r)
{
    *r = (struct rows){.count = 0};
    arena_init(&r->arena, 65536);
}

void rows_clear(struct rows *r)
{
    free(r->row);
    free(r->class_name);
    free(r->model_name);
    arena_clear(&r->arena);
    *r = (struct rows){.count = 0};
}

float rows_score(const struct row *row, size_t model)
{
    for (size_t i = 0; i < row->score_count; i++)
        if (row->model[i] == model)
            return row->score[i];
    return NAN;
}

__attribute__((format(printf, 2, 3))) static enum err refuse(const struct source *s,
                                                             const char *fmt, ...)
{
    char what[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    err_say(s->t, "%s:%zu: %s", s->path, s->line, what);
    return ERR_BAD_REQUEST;
}

/* ---- names ---- */

/* The name's index in a growing table, added when it is new. */
static size_t intern(struct rows *r, struct slice **names, size_t *count, size_t *cap,
                     struct slice name)
{
    for (size_t i = 0; i < *count; i++)
        if (slice_eq((*names)[i], name))
            return i;
    if (*count == *cap) {
        *cap = *cap ? 2 * *cap : 64;
        *names = mem_resize(*names, *cap, sizeof **names);
    }
    (*names)[*count] = arena_dup(&r->arena, name);
    return (*count)++;
}

/* A string's value in the rows' arena. */
static struct slice decode(struct rows *r, struct json_value v)
{
    size_t n = json_string_decode(v.text, NULL, 0);
    char *p = arena_alloc(&r->arena, n + 1);
    json_string_decode(v.text, p, n);
    return slice_make(p, n);
}

static bool get(struct json_value object, const char *key, struct json_value *out)
{
    struct json_member m;
    if (!json_get(object, slice_str(key), &m) || m.value.type == JSON_NULL)
        return false;
    *out = m.value;
    return true;
}

/* ---- the header ---- */

static enum err read_models(struct source *s, struct json_value list)
{
    struct json_iter it;
    struct json_member m;
    struct json_value name;
    if (list.type != JSON_ARRAY)
        return refuse(s, "'models' is not an array");
    for (json_iter_init(&it, list); json_iter_next(&it, &m);)
        s->models++;
    s->model = ARENA_ARRAY(&s->rows->arena, size_t, s->models);
    size_t i = 0;
    for (json_iter_init(&it, list); json_iter_next(&it, &m); i++) {
        if (m.value.type == JSON_STRING)
            name = m.value;
        else if (m.value.type != JSON_OBJECT || !get(m.value, "name", &name) ||
                 name.type != JSON_STRING)
            return refuse(s, "model %zu of 'models' has no name", i + 1);
        struct rows *r = s->rows;
        s->model[i] = intern(r, &r->model_name, &r->models, &r->model_cap, decode(r, name));
        for (size_t j = 0; j < i; j++)
            if (s->model[j] == s->model[i])
                return refuse(s, "'models' names '%.*s' twice",
                              SLICE_ARG(r->model_name[s->model[i]]));
    }
    return ERR_OK;
}

static bool mentions(struct json_value line, const char *key, struct slice what)
{
    struct json_value v;
    return get(line, key, &v) && memmem(v.text.p, v.text.n, what.p, what.n);
}

/* Units are told to people, in a sentence that always has these words. */
static void read_units(struct source *s, struct json_value line)
{
    if (mentions(line, "cost", SLICE("USD x 1e6")) || mentions(line, "row", SLICE("USD x 1e6")))
        s->cost_unit_nanousd = 1000;
    if (mentions(line, "cost", SLICE("USD x 1e9")) || mentions(line, "row", SLICE("USD x 1e9")))
        s->cost_unit_nanousd = 1;
    s->log_confidence = mentions(line, "conf", SLICE("log-prob"));
}

static enum err read_header(struct source *s, struct json_value line, struct json_value format)
{
    struct json_value models;
    if (format.type != JSON_STRING || !slice_eq(format.text, SLICE("\"" ROWS_FORMAT "\"")))
        return refuse(s, "the format is %.*s, not \"%s\"",
                      (int)(format.text.n < 60 ? format.text.n : 60), format.text.p, ROWS_FORMAT);
    read_units(s, line);
    return get(line, "models", &models) ? read_models(s, models) : ERR_OK;
}

/* ---- one row ---- */

static enum err read_text(struct source *s, struct json_value line, struct row *row)
{
    struct json_value prompt, text;
    bool has_prompt = get(line, "prompt", &prompt), has_text = get(line, "text", &text);
    if (has_prompt == has_text)
        return refuse(s, has_text ? "both 'prompt' and 'text' are given"
                                  : "there is neither 'prompt' nor 'text'");
    if (has_prompt)
        text = prompt;
    if (text.type != JSON_STRING)
        return refuse(s, "'%s' is not a string", has_prompt ? "prompt" : "text");
    if (text.text.n > MAX_TEXT_BYTES)
        return refuse(s, "the text is longer than %zu bytes", MAX_TEXT_BYTES);
    row->text = decode(s->rows, text);
    for (size_t i = 0; i < row->text.n; i++)
        if (!strchr(" \t\r\n", row->text.p[i]))
            return ERR_OK;
    return refuse(s, "the text is empty");
}

static enum err read_label(struct source *s, struct json_value line, struct row *row)
{
    const char *key = s->opt->class_key ? s->opt->class_key : "class";
    struct json_value v;
    struct rows *r = s->rows;
    row->label = ROWS_NO_CLASS;
    if (s->opt->class_name) {
        struct slice given = slice_str(s->opt->class_name);
        row->label = (int)intern(r, &r->class_name, &r->classes, &r->class_cap, given);
        return ERR_OK;
    }
    if (!get(line, key, &v)) {
        key = "label";
        if (s->opt->class_key || !get(line, key, &v))
            return ERR_OK;
    }
    if (v.type != JSON_STRING)
        return refuse(s, "'%s' is not a string", key);
    struct slice name = decode(s->rows, v);
    if (name.n == 0 || name.n > MAX_LABEL_BYTES)
        return refuse(s, "'%s' is empty or longer than %d bytes", key, MAX_LABEL_BYTES);
    if (s->opt->out_of_scope && slice_eq(name, slice_str(s->opt->out_of_scope))) {
        row->label = ROWS_OUT_OF_SCOPE;
        return ERR_OK;
    }
    row->label = (int)intern(r, &r->class_name, &r->classes, &r->class_cap, name);
    return ERR_OK;
}

static enum err read_scores(struct source *s, struct json_value line, struct row *row)
{
    struct json_value list;
    struct json_iter it;
    struct json_member m;
    if (!get(line, "s", &list))
        return ERR_OK;
    if (list.type != JSON_ARRAY)
        return refuse(s, "'s' is not an array");
    if (s->models == 0)
        return refuse(s, "there are scores, but no header that names the models");
    float *score = arena_alloc(&s->rows->arena, s->models * sizeof *score);
    size_t n = 0;
    for (json_iter_init(&it, list); json_iter_next(&it, &m); n++) {
        double d = (double)NAN;
        if (n == s->models)
            return refuse(s, "there are more scores than the %zu models of the header", s->models);
        if (m.value.type != JSON_NULL &&
            (m.value.type != JSON_NUMBER || !json_number(m.value, &d) || !(d >= 0 && d <= 1)))
            return refuse(s, "score %zu is neither null nor a number in 0..1", n + 1);
        score[n] = (float)d;
    }
    if (n != s->models)
        return refuse(s, "there are %zu scores for the %zu models of the header", n, s->models);
    row->score = score;
    row->model = s->model;
    row->score_count = n;
    return ERR_OK;
}

/* ---- recorded answers ---- */

typedef enum err (*outcome_fn)(struct source *s, struct json_value v, struct row_outcome *out);

static enum err take_cost(struct source *s, struct json_value v, struct row_outcome *out)
{
    double d;
    if (s->cost_unit_nanousd <= 0)
        return refuse(s, "there are costs, but the header does not say in which unit");
    if (!json_number(v, &d) || !(d >= 0))
        return refuse(s, "a cost of 'c' is neither null nor a number of at least 0");
    if (d * s->cost_unit_nanousd > MAX_COST_NANOUSD)
        return refuse(s, "a cost of 'c' is more than a million dollars");
    out->cost_nanousd = d * s->cost_unit_nanousd;
    return ERR_OK;
}

static enum err take_confidence(struct source *s, struct json_value v, struct row_outcome *out)
{
    double d;
    if (!json_number(v, &d) || (s->log_confidence ? d > 0 : d < 0 || d > 1))
        return refuse(s, "a confidence of 'p' is neither null nor a %s",
                      s->log_confidence ? "log-probability" : "number in 0..1");
    out->confidence = s->log_confidence ? exp(d) : d;
    return ERR_OK;
}

/* The last number: [in, out], or out alone. */
static enum err take_tokens(struct source *s, struct json_value v, struct row_outcome *out)
{
    struct json_iter it;
    struct json_member m = {.value = v};
    if (v.type == JSON_ARRAY)
        for (json_iter_init(&it, v); json_iter_next(&it, &m);)
            ;
    if (!json_number(m.value, &out->tokens_out) || !(out->tokens_out >= 0))
        return refuse(s, "tokens of 'n' are neither null nor numbers of at least 0");
    return ERR_OK;
}

/* Counts, the first of them that of the answer which the score is of. */
static enum err take_votes(struct source *s, struct json_value v, struct row_outcome *out)
{
    struct json_iter it;
    struct json_member m;
    double d, first = 0, all = 0;
    if (v.type != JSON_ARRAY)
        return refuse(s, "votes of 'v' are neither null nor an array");
    for (json_iter_init(&it, v); json_iter_next(&it, &m); all += d) {
        if (!json_number(m.value, &d) || !(d >= 0 && d <= MAX_VOTES) || d != floor(d))
            return refuse(s, "a vote of 'v' is no whole number from 0 to %d", MAX_VOTES);
        first = all > 0 || first > 0 ? first : d;
    }
    if (all > MAX_VOTES)
        return refuse(s, "the votes of 'v' are more than %d", MAX_VOTES);
    out->samples = all > 1 && first > 0 ? (int)all - 1 : 0;
    out->repeats = out->samples ? (int)first - 1 : 0;
    return ERR_OK;
}

static enum err take_answer(struct source *s, struct json_value v, struct row_outcome *out)
{
    if (v.type != JSON_STRING)
        return refuse(s, "an answer of 'a' is neither null nor a string");
    out->answer = decode(s->rows, v);
    return ERR_OK;
}

/* One member of a row: an array with a value or null for each model. */
static enum err read_outcome(struct source *s, struct json_value line, const char *key,
                             outcome_fn take, struct row_outcome *out)
{
    struct json_value list;
    struct json_iter it;
    struct json_member m;
    size_t n = 0;
    enum err e = ERR_OK;
    if (!get(line, key, &list))
        return ERR_OK;
    if (list.type != JSON_ARRAY)
        return refuse(s, "'%s' is not an array", key);
    for (json_iter_init(&it, list); e == ERR_OK && json_iter_next(&it, &m); n++) {
        if (n == s->models)
            return refuse(s, "there are more values of '%s' than the %zu models of the header", key,
                          s->models);
        if (m.value.type != JSON_NULL)
            e = take(s, m.value, &out[n]);
    }
    if (e == ERR_OK && n != s->models)
        return refuse(s, "there are %zu values of '%s' for the %zu models of the header", n, key,
                      s->models);
    return e;
}

/* One letter per model. */
static void read_letters(struct source *s, struct json_value text, struct row_outcome *out)
{
    struct slice letters = decode(s->rows, text);
    for (size_t i = 0; i < s->models && i < letters.n; i++)
        if (letters.p[i] != '-')
            out[i].answer = slice_make(letters.p + i, 1);
}

static enum err read_outcomes(struct source *s, struct json_value line, struct row *row)
{
    struct json_value answers;
    struct row_outcome *out = ARENA_ARRAY(&s->rows->arena, struct row_outcome, s->models + 1);
    enum err e;
    for (size_t i = 0; i < s->models; i++)
        out[i].cost_nanousd = out[i].confidence = out[i].tokens_out = (double)NAN;
    if ((e = read_outcome(s, line, "c", take_cost, out)) != ERR_OK ||
        (e = read_outcome(s, line, "p", take_confidence, out)) != ERR_OK ||
        (e = read_outcome(s, line, "n", take_tokens, out)) != ERR_OK ||
        (e = read_outcome(s, line, "v", take_votes, out)) != ERR_OK)
        return e;
    row->outcome = out;
    if (get(line, "a", &answers) && answers.type == JSON_STRING) {
        read_letters(s, answers, out);
        return ERR_OK;
    }
    return read_outcome(s, line, get(line, "a", &answers) ? "a" : "pred", take_answer, out);
}

static enum err read_row(struct source *s, struct json_value line)
{
    struct rows *r = s->rows;
    struct row row = {.label = ROWS_NO_CLASS};
    enum err e = read_text(s, line, &row);
    if (e != ERR_OK || (e = read_label(s, line, &row)) != ERR_OK ||
        (e = read_scores(s, line, &row)) != ERR_OK ||
        (s->opt->outcomes && (e = read_outcomes(s, line, &row)) != ERR_OK))
        return e;
    if (r->count == r->row_cap) {
        r->row_cap = r->row_cap ? 2 * r->row_cap : 1024;
        r->row = mem_resize(r->row, r->row_cap, sizeof *r->row);
    }
    r->row[r->count++] = row;
    return ERR_OK;
}

/* ---- lines ---- */

/* The next line without its end; *end at the end of the file. */
static enum err next_line(struct source *s, struct slice *out, bool *end)
{
    size_t n = 0;
    *end = false;
    s->line++;
    for (;;) {
        if (s->cap - n < 2) {
            if (s->cap > MAX_LINE_BYTES)
                return refuse(s, "the line is longer than %zu bytes", MAX_LINE_BYTES);
            s->cap = s->cap ? 2 * s->cap : 65536;
            s->text = mem_resize(s->text, s->cap, 1);
        }
        if (!gzgets(s->file, s->text + n, (int)(s->cap - n))) {
            int code;
            const char *why = gzerror(s->file, &code);
            if (code != Z_OK && code != Z_STREAM_END)
                return refuse(s, "cannot be read: %s", code == Z_ERRNO ? strerror(errno) : why);
            *end = n == 0;
            break;
        }
        /* A NUL hides what follows it, up to the line's end: JSON has none, so the rest fails. */
        n += strlen(s->text + n);
        if (n > 0 && s->text[n - 1] == '\n')
            break;
    }
    while (n > 0 && (s->text[n - 1] == '\n' || s->text[n - 1] == '\r'))
        n--;
    *out = slice_make(s->text, n);
    return ERR_OK;
}

static enum err read_line(struct source *s, struct slice text)
{
    struct json_value line = {JSON_OBJECT, text}, format;
    size_t at;
    if (slice_trim(text).n == 0)
        return ERR_OK;
    if (!json_scan_object(text, NULL, NULL, &at))
        return refuse(s, "not a JSON object, at byte %zu of the line", at + 1);
    if (s->line == 1 && get(line, "format", &format))
        return read_header(s, line, format);
    return read_row(s, line);
}

enum err rows_read(struct rows *r, const char *path, const struct rows_options *opt,
                   struct err_text *t)
{
    struct source s = {.rows = r, .opt = opt, .path = path, .t = t};
    size_t before = r->count;
    s.file = gzopen(path, "rb");
    if (!s.file) {
        err_say(t, "%s: %s", path, errno ? strerror(errno) : "no memory");
        return ERR_BAD_REQUEST;
    }
    enum err e;
    bool end = false;
    do {
        struct slice line = SLICE("");
        e = next_line(&s, &line, &end);
        if (e == ERR_OK && !end)
            e = read_line(&s, line);
    } while (e == ERR_OK && !end);
    if (e == ERR_OK && r->count == before) {
        err_say(t, "%s: there are no rows in it", path);
        e = ERR_BAD_REQUEST;
    }
    if (gzclose(s.file) == Z_BUF_ERROR && e == ERR_OK) {
        err_say(t, "%s: the compressed file ends too early", path);
        e = ERR_BAD_REQUEST;
    }
    free(s.text);
    return e;
}
