/* See fault.h. jansson reads the script: it is small, and read between requests. Thread: the
 * loop's. */
#include "tests/fleet/fault.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "base/rng.h"
#include "tests/fleet/text.h"

#define NTH_MAX 64

static const struct {
    const char *name;
} kinds[FAULT_KINDS] = {
#define FAULT(id, name, help) {name},
#include "tests/fleet/fault.def"
#undef FAULT
};

static const char *const status_shorthands[] = {"400", "401", "403", "404", "408", "413", "422",
                                                "429", "500", "502", "503", "504", "529"};

/* One entry of the script: when, and what. Strings inside what point into json. */
struct entry {
    struct fault what;
    json_t *json;       /* owned */
    struct slice model; /* "" = any */
    double probability; /* < 0 = not by chance */
    struct rng rng;
    int64_t nth[NTH_MAX];
    size_t nth_count;
    int64_t every, times; /* 0 = no rule; times < 0 = no limit */
    int64_t seen, met;
};

struct fault_script {
    struct entry *entries; /* owned */
    size_t n;
};

struct fault_script *fault_script_new(void)
{
    return mem_zalloc(1, sizeof(struct fault_script));
}

static void entries_free(struct entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_decref(entries[i].json);
    free(entries);
}

void fault_script_free(struct fault_script *s)
{
    if (!s)
        return;
    entries_free(s->entries, s->n);
    free(s);
}

static struct fault fault_blank(void)
{
    return (struct fault){
        .after = -1, .retry_after_s = -1, .retry_after_ms = -1, .delay_ms = 1000, .bytes = 8 << 20};
}

static bool set_kind(struct fault *f, struct slice name)
{
    f->name = name;
    for (size_t i = 0; i < FAULT_KINDS; i++) {
        if (slice_eq(name, slice_str(kinds[i].name))) {
            f->kind = (enum fault_kind)i;
            if (f->kind == FAULT_STATUS && !f->status)
                f->status = 500;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof status_shorthands / sizeof *status_shorthands; i++) {
        if (slice_eq(name, slice_str(status_shorthands[i]))) {
            f->kind = FAULT_STATUS;
            f->status = strtol(status_shorthands[i], NULL, 10);
            return true;
        }
    }
    return false;
}

/* The parameter of that name, or NULL. */
static int64_t *number_of(struct fault *f, struct slice key)
{
    const struct {
        const char *name;
        int64_t *at;
    } numbers[] = {{"status", &f->status},
                   {"after", &f->after},
                   {"delay_ms", &f->delay_ms},
                   {"retry_after_s", &f->retry_after_s},
                   {"retry_after_ms", &f->retry_after_ms},
                   {"cached", &f->cached},
                   {"cache_write", &f->cache_write},
                   {"reasoning", &f->reasoning},
                   {"bytes", &f->bytes}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (slice_eq(key, slice_str(numbers[i].name)))
            return numbers[i].at;
    return NULL;
}

static bool tokens_sane(int64_t n)
{
    return n >= 0 &&
           n <= 1000000; /* times a price of USD 1000 per million, this still fits 63 bits */
}

/* What the parameters may be, or the fleet would misbehave in ways nobody asked for. */
static bool sane(const struct fault *f, struct err_text *why)
{
    if (f->kind == FAULT_STATUS && (f->status < 400 || f->status > 599))
        err_say(why, "status must be 400..599");
    else if (f->after < -1 || f->delay_ms < 0 || f->delay_ms > 3600000)
        err_say(why, "after and delay_ms must not be negative (delay_ms at most an hour)");
    else if (!tokens_sane(f->cached) || !tokens_sane(f->cache_write) || !tokens_sane(f->reasoning))
        err_say(why, "token counts must be 0..1000000");
    else if (f->bytes < 0 || f->bytes > 64 << 20)
        err_say(why, "bytes must be 0..64 MiB");
    else
        return true;
    return false;
}

static bool read_when(struct entry *e, const char *key, const json_t *v, bool *known)
{
    *known = true;
    if (strcmp(key, "model") == 0) {
        e->model = slice_make(json_string_value(v), json_string_length(v));
        return json_is_string(v);
    }
    if (strcmp(key, "probability") == 0) {
        e->probability = json_number_value(v);
        return json_is_number(v) && e->probability >= 0 && e->probability <= 1;
    }
    if (strcmp(key, "seed") == 0) {
        rng_seed(&e->rng, (uint64_t)json_integer_value(v));
        return json_is_integer(v);
    }
    if (strcmp(key, "every") == 0 || strcmp(key, "times") == 0) {
        *(key[0] == 'e' ? &e->every : &e->times) = json_integer_value(v);
        return json_is_integer(v) && json_integer_value(v) > 0;
    }
    if (strcmp(key, "nth") == 0) {
        e->nth_count = json_array_size(v);
        for (size_t i = 0; i < e->nth_count && i < NTH_MAX; i++)
            e->nth[i] = json_integer_value(json_array_get(v, i));
        return json_is_array(v) && e->nth_count <= NTH_MAX;
    }
    *known = false;
    return false;
}

static bool read_entry(struct entry *e, json_t *item, struct err_text *why)
{
    const char *key;
    json_t *v;
    *e = (struct entry){.what = fault_blank(), .probability = -1, .times = -1};
    rng_seed(&e->rng, 1);
    const json_t *kind = json_object_get(item, "kind");
    struct slice name = {json_string_value(kind), json_string_length(kind)};
    if (!json_is_string(kind) || !set_kind(&e->what, name)) {
        err_say(why, "unknown kind '%.*s'", SLICE_ARG(name));
        return false;
    }
    json_object_foreach(item, key, v)
    {
        bool known;
        int64_t *number = number_of(&e->what, slice_str(key));
        bool ok = read_when(e, key, v, &known);
        if (!known && number) {
            *number = json_integer_value(v);
            ok = json_is_integer(v);
        } else if (!known && strcmp(key, "text") == 0) {
            e->what.text = slice_make(json_string_value(v), json_string_length(v));
            ok = json_is_string(v);
        } else if (!known && strcmp(key, "kind") == 0) {
            ok = true;
        }
        if (!ok) {
            err_say(why, "bad or unknown member '%s'", key);
            return false;
        }
    }
    e->json = json_incref(item);
    return sane(&e->what, why);
}

bool fault_script_load(struct fault_script *s, struct slice json, bool add, struct err_text *why)
{
    json_error_t error;
    json_t *doc = json_loadb(json.p, json.n, 0, &error);
    json_t *list = json_is_object(doc) ? json_object_get(doc, "faults") : doc;
    size_t kept = add ? s->n : 0, fresh = json_array_size(list), done = 0;
    struct entry *entries = NULL;
    bool ok = json_is_array(list);
    if (!ok)
        err_say(why, "faults must be a JSON array: %s", doc ? "it is not" : error.text);
    else
        entries = mem_zalloc(kept + fresh + 1, sizeof *entries);
    while (ok && done < fresh) {
        ok = read_entry(&entries[kept + done], json_array_get(list, done), why);
        if (ok)
            done++;
    }
    if (ok) {
        for (size_t i = 0; i < kept; i++) {
            entries[i] = s->entries[i];
            json_incref(entries[i].json);
        }
        entries_free(s->entries, s->n);
        s->entries = entries;
        s->n = kept + fresh;
    } else if (entries) {
        for (size_t i = 0; i <= done && i < fresh; i++)
            json_decref(entries[kept + i].json);
        free(entries);
    }
    json_decref(doc);
    return ok;
}

static bool entry_meets(struct entry *e)
{
    int64_t number = ++e->seen;
    bool hit = !e->nth_count && !e->every && e->probability < 0;
    for (size_t i = 0; i < e->nth_count; i++)
        hit = hit || e->nth[i] == number;
    hit = hit || (e->every && number % e->every == 0);
    if (e->probability >= 0 && rng_unit(&e->rng) < e->probability)
        hit = true;
    if (!hit || (e->times >= 0 && e->met >= e->times))
        return false;
    e->met++;
    return true;
}

void fault_script_pick(struct fault_script *s, struct slice model, struct arena *a,
                       struct fault_set *out)
{
    out->n = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct entry *e = &s->entries[i];
        bool ours = !e->model.n || slice_eq(e->model, SLICE("*")) || slice_eq(e->model, model);
        if (!ours || !entry_meets(e) || out->n == FAULT_SET_MAX)
            continue;
        struct fault *f = &out->list[out->n++];
        *f = e->what;
        f->name = arena_dup(a, f->name);
        f->text = arena_dup(a, f->text);
    }
}

void fault_script_print(const struct fault_script *s, struct buf *out)
{
    TEXT_LIT(out, "{\"faults\":[");
    for (size_t i = 0; i < s->n; i++) {
        char *spec = json_dumps(s->entries[i].json, JSON_COMPACT);
        TEXT_ADD(out, "%s{\"seen\":%lld,\"met\":%lld,\"entry\":%s}", i ? "," : "",
                 (long long)s->entries[i].seen, (long long)s->entries[i].met, spec ? spec : "null");
        free(spec);
    }
    TEXT_LIT(out, "]}");
}

/* ---- the header ---- */

/* Cuts s at the first sep; *s becomes the rest. */
static struct slice cut(struct slice *s, char sep)
{
    const char *at = s->n ? memchr(s->p, sep, s->n) : NULL;
    struct slice head = at ? slice_make(s->p, (size_t)(at - s->p)) : *s;
    *s = slice_from(*s, head.n + 1);
    return slice_trim(head);
}

static bool parse_parameter(struct fault *f, struct slice parameter, struct arena *a)
{
    struct slice value = parameter, key = cut(&value, '=');
    int64_t *number = number_of(f, key);
    if (!number) {
        f->text = arena_dup(a, slice_trim(value));
        return slice_eq(key, SLICE("text"));
    }
    char *end, *digits = arena_strdup(a, slice_trim(value));
    *number = strtoll(digits, &end, 10);
    return *digits && !*end;
}

bool fault_parse_header(struct slice value, struct arena *a, struct fault_set *out,
                        struct err_text *why)
{
    out->n = 0;
    if (slice_eq(slice_trim(value), SLICE("none")))
        return true;
    while (value.n) {
        struct slice one = cut(&value, ','), name = cut(&one, ';');
        struct fault f = fault_blank();
        if (out->n == FAULT_SET_MAX || !set_kind(&f, arena_dup(a, name))) {
            err_say(why, "unknown kind '%.*s' in x-fleet-fault", SLICE_ARG(name));
            return false;
        }
        while (one.n) {
            struct slice parameter = cut(&one, ';');
            if (!parse_parameter(&f, parameter, a)) {
                err_say(why, "bad parameter '%.*s' in x-fleet-fault", SLICE_ARG(parameter));
                return false;
            }
        }
        if (!sane(&f, why))
            return false;
        out->list[out->n++] = f;
    }
    return true;
}

const struct fault *fault_get(const struct fault_set *set, enum fault_kind kind)
{
    for (size_t i = 0; i < set->n; i++)
        if (set->list[i].kind == kind)
            return &set->list[i];
    return NULL;
}
