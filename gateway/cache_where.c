/* Owns nothing. Called by api_cache.c, on the control thread. */
#include "gateway/cache_where.h"

#include "base/ascii.h"
#include "policies/policy_value.h"

#define ID_DIGITS 16

static bool is_hex(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (ascii_hex(s.p[i]) < 0)
            return false;
    return s.n > 0 && s.n <= ID_DIGITS;
}

uint64_t cache_where_id(struct slice hex)
{
    uint64_t id = 0;

    if (hex.n != ID_DIGITS || !is_hex(hex))
        return 0;
    for (size_t i = 0; i < hex.n; i++)
        id = id << 4 | (unsigned)ascii_hex(hex.p[i]);
    return id;
}

static bool set_text(struct admin_job *j, struct slice *to, unsigned condition, struct slice value)
{
    *to = arena_dup(&j->arena, value);
    j->filter.by |= condition;
    return true;
}

static bool set_bool(struct admin_job *j, bool *to, unsigned condition, struct slice value,
                     struct err_text *why)
{
    *to = slice_eq(value, SLICE("true"));
    if (!*to && !slice_eq(value, SLICE("false"))) {
        err_say(why, "'%.*s' is neither true nor false", SLICE_ARG(value));
        return false;
    }
    j->filter.by |= condition;
    return true;
}

/* A moment, or how long ago it was. */
static bool set_time(struct admin_job *j, int64_t *to, unsigned condition, struct slice value,
                     int64_t now_ms, struct err_text *why)
{
    const char *hint = NULL;
    int64_t ago_ms, at_us;

    if (!value_duration(value, &ago_ms, &hint))
        *to = now_ms - ago_ms;
    else if (!value_time(value, &at_us, &hint))
        *to = at_us / 1000;
    else {
        err_say(why, "'%.*s' is neither a duration (\"7d\") nor a time (\"2026-01-01\")",
                SLICE_ARG(value));
        return false;
    }
    j->filter.by |= condition;
    return true;
}

static bool set_source(struct admin_job *j, struct slice value, struct err_text *why)
{
    for (int s = 0; s <= CACHE_FROM_IMPORT; s++)
        if (slice_eq(value, slice_str(cache_source_name((enum cache_source)s)))) {
            j->filter.source = (enum cache_source)s;
            j->filter.by |= ADMIN_BY_SOURCE;
            return true;
        }
    err_say(why, "'%.*s' is none of traffic, audit, warming, import", SLICE_ARG(value));
    return false;
}

static bool set_id(struct admin_job *j, struct slice value, struct err_text *why)
{
    if (is_hex(value))
        return set_text(j, &j->filter.id, ADMIN_BY_ID, value);
    err_say(why, "'%.*s' does not begin an id: 1 to 16 hex digits", SLICE_ARG(value));
    return false;
}

static bool set_answer(struct admin_job *j, struct slice value, struct err_text *why)
{
    j->filter.answer = cache_where_id(value);
    j->filter.by |= ADMIN_BY_ANSWER;
    if (j->filter.answer == 0)
        err_say(why, "'%.*s' is no answer's id: 16 hex digits", SLICE_ARG(value));
    return j->filter.answer != 0;
}

static bool set_dead(struct admin_job *j, struct slice value, struct err_text *why)
{
    bool dead = false;

    if (!set_bool(j, &dead, 0, value, why))
        return false;
    j->life = dead ? ADMIN_DEAD : ADMIN_LIVING;
    return true;
}

static bool set(struct admin_job *j, struct slice key, struct slice value, int64_t now_ms,
                struct err_text *why)
{
    struct admin_filter *f = &j->filter;
    const struct {
        const char *key;
        struct slice *to;
        unsigned condition;
    } texts[] = {
        {"scope", &f->scope, ADMIN_BY_SCOPE},       {"tag", &f->tag, ADMIN_BY_TAG},
        {"model", &f->model, ADMIN_BY_MODEL},       {"route", &f->route, ADMIN_BY_ROUTE},
        {"class", &f->class_label, ADMIN_BY_CLASS}, {"prefix", &f->text, ADMIN_BY_TEXT},
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (slice_eq(key, slice_str(texts[i].key)))
            return set_text(j, texts[i].to, texts[i].condition, value);
    if (slice_eq(key, SLICE("id")))
        return set_id(j, value, why);
    if (slice_eq(key, SLICE("answer")))
        return set_answer(j, value, why);
    if (slice_eq(key, SLICE("source")))
        return set_source(j, value, why);
    if (slice_eq(key, SLICE("pinned")))
        return set_bool(j, &f->pinned, ADMIN_BY_PINNED, value, why);
    if (slice_eq(key, SLICE("quarantined")))
        return set_bool(j, &f->quarantined, ADMIN_BY_QUARANTINED, value, why);
    if (slice_eq(key, SLICE("older")))
        return set_time(j, &f->older_ms, ADMIN_BY_OLDER, value, now_ms, why);
    if (slice_eq(key, SLICE("newer")))
        return set_time(j, &f->newer_ms, ADMIN_BY_NEWER, value, now_ms, why);
    if (slice_eq(key, SLICE("dead")))
        return set_dead(j, value, why);
    err_say(why,
            "no such condition; there are scope, tag, model, route, class, prefix, id, answer, "
            "source, pinned, quarantined, older, newer, dead");
    return false;
}

bool cache_where_set(struct admin_job *j, struct slice key, struct slice value, int64_t now_ms,
                     struct err_text *why)
{
    struct err_text what = {""};

    if (set(j, key, value, now_ms, &what))
        return true;
    err_say(why, "%.*s: %.400s.", SLICE_ARG(key), what.s);
    return false;
}

bool cache_where_json(struct admin_job *j, json_t *where, int64_t now_ms, struct err_text *why)
{
    void *at;

    if (!json_is_object(where)) {
        err_say(why, "where: an object is wanted; {} means everything.");
        return false;
    }
    for (at = json_object_iter(where); at; at = json_object_iter_next(where, at)) {
        struct slice key = slice_str(json_object_iter_key(at));
        const json_t *value = json_object_iter_value(at);
        struct slice text = slice_make(json_string_value(value), json_string_length(value));
        if (json_is_boolean(value))
            text = json_is_true(value) ? SLICE("true") : SLICE("false");
        else if (!json_is_string(value)) {
            err_say(why, "where.%.*s: a string or a boolean is wanted.", SLICE_ARG(key));
            return false;
        }
        if (!cache_where_set(j, key, text, now_ms, why))
            return false;
    }
    return true;
}
