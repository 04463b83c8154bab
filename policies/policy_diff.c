/* Comparing two policies. What they say is compared key by key as policy_spec lists them, so that a
 * new key is compared from the day it exists. For whom it matters is found by asking both policies
 * the same questions: every name a client may use, as every tenant, on every API, with the sizes,
 * tags, headers and classes at which some route of either begins or ends to match. Owns only the
 * diff. Any thread. Called by 'weir diff', the admin API and the reload. */
#include "policies/policy_diff.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include "policies/policy_int.h"
#include "policies/policy_print.h"

/* ---- what they say ---- */

static void *grown(struct arena *a, void *items, size_t count, size_t *cap, size_t item_bytes)
{
    if (count < *cap)
        return items;
    *cap = *cap ? *cap * 2 : 16;
    void *more = arena_zalloc(a, *cap * item_bytes);
    if (count)
        memcpy(more, items, count * item_bytes);
    return more;
}

static void add_change(struct policy_diff *d, struct policy_change c)
{
    d->changes = grown(&d->arena, d->changes, d->change_count, &d->change_cap, sizeof c);
    d->changes[d->change_count++] = c;
    d->restart = d->restart || c.restart;
}

/* A cache that is not open yet may be opened in any way, but for where it lies: what is learned of
 * models lies there from the start. */
static bool needs_restart(const struct policy_diff *d, const char *kind, unsigned flags)
{
    if (strcmp(kind, "server") == 0)
        return !(flags & SPEC_RELOAD);
    if (flags & SPEC_RESTART_ALWAYS)
        return true;
    return (flags & SPEC_RESTART) && d->old->cache.wanted && d->new->cache.wanted;
}

/* Two objects of the same spec: the fields come out in the same order. */
static void compare_fields(struct policy_diff *d, const struct spec_object *o, const char *kind,
                           const char *name, const void *before, const void *after)
{
    struct print_fields a = policy_print_object(&d->arena, d->old, o, before);
    struct print_fields b = policy_print_object(&d->arena, d->new, o, after);
    assert(a.count == b.count);
    for (size_t i = 0; i < a.count; i++) {
        if (strcmp(a.items[i].value, b.items[i].value) == 0)
            continue;
        add_change(d, (struct policy_change){
                          .how = CHANGE_CHANGED,
                          .kind = kind,
                          .name = name,
                          .key = a.items[i].key,
                          .before = a.items[i].value,
                          .after = b.items[i].value,
                          .restart = needs_restart(d, kind, a.items[i].flags),
                      });
    }
}

/* The value behind key_env or key_file: that it changed is said, what it is never. */
static void compare_secret(struct policy_diff *d, const struct policy_backend *a,
                           const struct policy_backend *b)
{
    if (strcmp(a->key_source, b->key_source) != 0 || !a->key || !b->key ||
        strcmp(a->key, b->key) == 0)
        return;
    add_change(d, (struct policy_change){.how = CHANGE_CHANGED,
                                         .kind = "backend",
                                         .name = a->name,
                                         .key = "key",
                                         .before = a->key_source,
                                         .after = "another value from the same place"});
}

/* Arrays of named things. Every element begins with its name. */
struct group {
    const char *kind;
    const struct spec_object *spec;
    const char *old, *new; /* the arrays */
    size_t old_count, new_count, item_bytes;
};

static const char *item_name(const char *items, const struct group *g, size_t i)
{
    return *(const char *const *)(const void *)(items + i * g->item_bytes);
}

static void index_names(struct policy_diff *d, struct names *t, const char *items,
                        const struct group *g, size_t n)
{
    names_init(t, &d->arena, n);
    for (size_t i = 0; i < n; i++)
        names_add(t, slice_str(item_name(items, g, i)), i);
}

static void compare_group(struct policy_diff *d, const struct group *g)
{
    struct names before, after;
    index_names(d, &before, g->old, g, g->old_count);
    index_names(d, &after, g->new, g, g->new_count);
    for (size_t i = 0; i < g->old_count; i++) {
        const char *name = item_name(g->old, g, i);
        size_t j = names_get(&after, slice_str(name));
        const char *a = g->old + i * g->item_bytes;
        if (j == NAMES_ABSENT)
            add_change(d, (struct policy_change){CHANGE_REMOVED, g->kind, name, "", "", "", false});
        else if (g->spec)
            compare_fields(d, g->spec, g->kind, name, a, g->new + j * g->item_bytes);
        if (j != NAMES_ABSENT && strcmp(g->kind, "backend") == 0)
            compare_secret(d, &d->old->backends[i], &d->new->backends[j]);
    }
    for (size_t i = 0; i < g->new_count; i++) {
        const char *name = item_name(g->new, g, i);
        if (names_get(&before, slice_str(name)) == NAMES_ABSENT)
            add_change(d, (struct policy_change){CHANGE_ADDED, g->kind, name, "", "", "", false});
    }
}

static void compare_aliases(struct policy_diff *d)
{
    for (size_t i = 0; i < d->old->alias_count; i++) {
        const struct policy_alias *a = &d->old->aliases[i];
        size_t j = policy_alias_index(d->new, slice_str(a->name));
        if (j == NAMES_ABSENT)
            continue;
        if (strcmp(a->target, d->new->aliases[j].target) != 0)
            add_change(d, (struct policy_change){CHANGE_CHANGED, "alias", a->name, "target",
                                                 a->target, d->new->aliases[j].target, false});
    }
}

/* The order of the routes that both have: the first match wins, so it matters. */
static const char *common_order(struct policy_diff *d, const struct policy *p,
                                const struct policy *other)
{
    struct print_list all = {.arena = &d->arena};
    struct names names;
    names_init(&names, &d->arena, other->route_count);
    for (size_t i = 0; i < other->route_count; i++)
        names_add(&names, slice_str(other->routes[i].name), i);
    for (size_t i = 0; i < p->route_count; i++)
        if (names_get(&names, slice_str(p->routes[i].name)) != NAMES_ABSENT)
            print_list_add(&all, p->routes[i].name);
    return print_list_text(&all);
}

static void compare_order(struct policy_diff *d)
{
    const char *before = common_order(d, d->old, d->new), *after = common_order(d, d->new, d->old);
    if (strcmp(before, after) != 0)
        add_change(
            d, (struct policy_change){CHANGE_CHANGED, "route", "", "order", before, after, false});
}

#define GROUP(kind_, spec_, array, count_)                                                         \
    {                                                                                              \
        kind_, spec_, (const char *)d->old->array, (const char *)d->new->array, d->old->count_,    \
            d->new->count_, sizeof *d->old->array                                                  \
    }

static void compare_words(struct policy_diff *d)
{
    const struct group groups[] = {
        GROUP("backend", policy_print_spec("backends"), backends, backend_count),
        GROUP("model", policy_print_spec("models"), models, model_count),
        GROUP("class", policy_print_spec("classes"), classes, class_count),
        GROUP("tenant", policy_print_spec("tenants"), tenants, tenant_count),
        GROUP("route", policy_print_spec("routes"), routes, route_count),
        GROUP("alias", NULL, aliases, alias_count),
    };
    compare_fields(d, policy_print_spec("server"), "server", "", &d->old->server, &d->new->server);
    compare_fields(d, policy_print_spec("encoder"), "encoder", "", &d->old->encoder,
                   &d->new->encoder);
    compare_fields(d, policy_print_spec("cache"), "cache", "", &d->old->cache, &d->new->cache);
    compare_fields(d, policy_print_spec("decide"), "decide", "", &d->old->decide, &d->new->decide);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        compare_group(d, &groups[i]);
    compare_aliases(d);
    compare_order(d);
}

/* ---- for whom ---- */

#define VARIANTS_MAX  16       /* of sizes, of tag sets, of header sets */
#define QUESTIONS_MAX 300000   /* asked of both policies */
#define WORK_MAX      30000000 /* questions times routes */
#define NO_KEY        "(no key)"

struct variants {
    int64_t sizes[VARIANTS_MAX];
    size_t size_count;
    const struct policy_match *tags[VARIANTS_MAX]; /* NULL: no tags */
    size_t tag_count;
    const struct policy_match *headers[VARIANTS_MAX]; /* NULL: no headers */
    size_t header_count;
    const char *classes[VARIANTS_MAX]; /* NULL: of no class */
    size_t class_count;
    const char **names, **tenants;
    size_t name_count, tenant_count;
};

/* One question: which request. */
struct question {
    const char *name, *tenant;
    unsigned api;
    const struct policy_match *tags, *headers;
    const char *class_name; /* with full confidence; NULL: none */
    int64_t size;
};

static void add_size(struct policy_diff *d, struct variants *v, int64_t size)
{
    for (size_t i = 0; i < v->size_count; i++)
        if (v->sizes[i] == size)
            return;
    if (size < 0)
        return;
    if (v->size_count == VARIANTS_MAX)
        d->truncated = true;
    else
        v->sizes[v->size_count++] = size;
}

static void add_match(struct policy_diff *d, const struct policy_match **list, size_t *count,
                      const struct policy_match *m)
{
    if (*count == VARIANTS_MAX)
        d->truncated = true;
    else
        list[(*count)++] = m;
}

static void add_class(struct policy_diff *d, struct variants *v, const char *name)
{
    for (size_t i = 1; i < v->class_count; i++)
        if (strcmp(v->classes[i], name) == 0)
            return;
    if (v->class_count == VARIANTS_MAX)
        d->truncated = true;
    else
        v->classes[v->class_count++] = name;
}

static void gather_routes(struct policy_diff *d, struct variants *v, const struct policy *p)
{
    for (size_t i = 0; i < p->route_count; i++) {
        const struct policy_match *m = &p->routes[i].match;
        if (m->prompt_tokens.min != POLICY_NONE) {
            add_size(d, v, m->prompt_tokens.min - 1);
            add_size(d, v, m->prompt_tokens.min);
        }
        if (m->prompt_tokens.max != POLICY_NONE) {
            add_size(d, v, m->prompt_tokens.max);
            add_size(d, v, m->prompt_tokens.max + 1);
        }
        if (m->tag_count)
            add_match(d, v->tags, &v->tag_count, m);
        if (m->header_count)
            add_match(d, v->headers, &v->header_count, m);
        for (size_t j = 0; j < m->class_count; j++)
            add_class(d, v, m->classes[j]);
    }
}

static void gather_names(struct policy_diff *d, struct variants *v)
{
    const struct policy_name *a, *b;
    size_t an = policy_names(d->old, &a), bn = policy_names(d->new, &b);
    struct names seen;
    names_init(&seen, &d->arena, an + bn);
    v->names = ARENA_ARRAY(&d->arena, const char *, an + bn + 1);
    for (size_t i = 0; i < an + bn; i++) {
        const char *name = i < an ? a[i].name : b[i - an].name;
        if (names_add(&seen, slice_str(name), i) == i)
            v->names[v->name_count++] = name;
    }
}

static void gather_tenants(struct policy_diff *d, struct variants *v)
{
    size_t an = d->old->tenant_count, bn = d->new->tenant_count;
    struct names seen;
    names_init(&seen, &d->arena, an + bn);
    v->tenants = ARENA_ARRAY(&d->arena, const char *, an + bn + 1);
    if (an == 0 || bn == 0)
        v->tenants[v->tenant_count++] = NO_KEY;
    for (size_t i = 0; i < an + bn; i++) {
        const char *name = i < an ? d->old->tenants[i].name : d->new->tenants[i - an].name;
        if (names_add(&seen, slice_str(name), i) == i)
            v->tenants[v->tenant_count++] = name;
    }
}

static const struct policy_tenant *find_tenant(const struct policy *p, const char *name)
{
    for (size_t i = 0; i < p->tenant_count; i++)
        if (strcmp(p->tenants[i].name, name) == 0)
            return &p->tenants[i];
    return NULL;
}

/* A header value that a condition takes: its stars stand for nothing. */
static struct slice sample_value(struct arena *a, const char *pattern)
{
    if (!pattern)
        return SLICE("x");
    char *out = arena_alloc(a, strlen(pattern) + 1);
    size_t n = 0;
    for (; *pattern; pattern++)
        if (*pattern != '*')
            out[n++] = *pattern;
    return slice_make(out, n);
}

static struct policy_outcome ask(struct arena *a, const struct policy *p, const struct question *q)
{
    struct slice tags[64];
    struct policy_query_header headers[64];
    const struct policy_tenant *tenant = find_tenant(p, q->tenant);
    if (p->tenant_count && !tenant)
        return (struct policy_outcome){NULL, "refused: the key is not known (401)"};
    struct policy_query query = {.model = slice_str(q->name),
                                 .api = q->api,
                                 .tenant = tenant,
                                 .tags = tags,
                                 .headers = headers,
                                 .prompt_tokens = q->size,
                                 .class_name = slice_str(q->class_name),
                                 .class_confidence = 1};
    for (size_t i = 0; q->tags && i < q->tags->tag_count && i < 64; i++)
        tags[query.tag_count++] = slice_str(q->tags->tags[i]);
    for (size_t i = 0; q->headers && i < q->headers->header_count && i < 64; i++)
        headers[query.header_count++] = (struct policy_query_header){
            slice_str(q->headers->headers[i].name), sample_value(a, q->headers->headers[i].value)};
    bool known;
    const struct policy_route *r = policy_match(p, &query, &known);
    if (!r)
        return (struct policy_outcome){NULL,
                                       known ? "no route takes it (404)" : "no such model (404)"};
    const char *models = "";
    for (size_t i = 0; i < r->step_count; i++)
        models =
            arena_printf(a, "%s%s%s", models, i ? ", " : "", p->models[r->steps[i].model].name);
    return (struct policy_outcome){r->name, models};
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_outcome(const struct policy_outcome *a, const struct policy_outcome *b)
{
    return same_text(a->route, b->route) && same_text(a->models, b->models);
}

static const char *when_text(struct arena *a, const struct question *q, bool sized)
{
    const char *all = "";
    for (size_t i = 0; q->tags && i < q->tags->tag_count; i++)
        all = arena_printf(a, "%s%s%s", all, *all ? ", " : "with tag ", q->tags->tags[i]);
    for (size_t i = 0; q->headers && i < q->headers->header_count; i++)
        all = arena_printf(a, "%s%s%s: %s", all, *all ? ", " : "with header ",
                           q->headers->headers[i].name,
                           q->headers->headers[i].value ? q->headers->headers[i].value : "*");
    if (q->class_name)
        all = arena_printf(a, "%s%sof class %s", all, *all ? ", " : "", q->class_name);
    if (sized)
        all = arena_printf(a, "%s%s%lld prompt tokens", all, *all ? ", " : "", (long long)q->size);
    return *all ? all : NULL;
}

struct row {
    struct question q;
    struct policy_outcome before, after;
};

/* Do these rows all go from the same to the same? */
static bool uniform(const struct row *rows, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (!same_outcome(&rows[i].before, &rows[0].before) ||
            !same_outcome(&rows[i].after, &rows[0].after))
            return false;
    return true;
}

static void add_effect(struct policy_diff *d, const struct row *r, const char *tenant,
                       const char *api, const char *when)
{
    if (same_outcome(&r->before, &r->after))
        return;
    d->effects = grown(&d->arena, d->effects, d->effect_count, &d->effect_cap, sizeof *d->effects);
    d->effects[d->effect_count++] =
        (struct policy_effect){r->q.name, tenant, api, when, r->before, r->after};
}

/* Rows come as tenants x APIs x circumstances; said as shortly as is true. */
static void condense(struct policy_diff *d, const struct row *rows, const struct variants *v,
                     size_t per_api)
{
    size_t per_tenant = per_api * POLICY_APIS;
    if (uniform(rows, per_tenant * v->tenant_count)) {
        add_effect(d, rows, NULL, NULL, NULL);
        return;
    }
    for (size_t t = 0; t < v->tenant_count; t++) {
        const struct row *of_tenant = rows + t * per_tenant;
        if (uniform(of_tenant, per_tenant)) {
            add_effect(d, of_tenant, v->tenants[t], NULL, NULL);
            continue;
        }
        for (unsigned api = 0; api < POLICY_APIS; api++) {
            const struct row *of_api = of_tenant + api * per_api;
            bool all = uniform(of_api, per_api);
            for (size_t i = 0; i < (all ? 1 : per_api); i++)
                add_effect(d, &of_api[i], v->tenants[t], policy_api_name(api),
                           all ? NULL : when_text(&d->arena, &of_api[i].q, v->size_count > 1));
        }
    }
}

static void ask_name(struct policy_diff *d, const struct variants *v, const char *name)
{
    size_t per_api = v->size_count * v->tag_count * v->header_count * v->class_count, n = 0;
    struct arena scratch; /* most answers are the same before and after */
    arena_init(&scratch, 4096);
    struct row *rows = ARENA_ARRAY(&scratch, struct row, per_api * POLICY_APIS * v->tenant_count);
    for (size_t t = 0; t < v->tenant_count; t++)
        for (unsigned api = 0; api < POLICY_APIS; api++)
            for (size_t i = 0; i < per_api; i++) {
                struct row *r = &rows[n++];
                r->q = (struct question){
                    .name = name,
                    .tenant = v->tenants[t],
                    .api = api,
                    .size = v->sizes[i % v->size_count],
                    .tags = v->tags[i / v->size_count % v->tag_count],
                    .headers = v->headers[i / v->size_count / v->tag_count % v->header_count],
                    .class_name = v->classes[i / v->size_count / v->tag_count / v->header_count],
                };
                r->before = ask(&scratch, d->old, &r->q);
                r->after = ask(&scratch, d->new, &r->q);
            }
    size_t first = d->effect_count;
    condense(d, rows, v, per_api);
    for (size_t i = first; i < d->effect_count; i++) { /* out of the scratch */
        struct policy_effect *e = &d->effects[i];
        e->before.models = arena_strdup(&d->arena, slice_str(e->before.models));
        e->after.models = arena_strdup(&d->arena, slice_str(e->after.models));
    }
    arena_clear(&scratch);
}

static void compare_effects(struct policy_diff *d)
{
    struct variants v = {.size_count = 1,
                         .tag_count = 1,
                         .header_count = 1,
                         .class_count = 1}; /* an empty prompt, no tags, no headers, no class */
    gather_routes(d, &v, d->old);
    gather_routes(d, &v, d->new);
    gather_names(d, &v);
    gather_tenants(d, &v);
    size_t per_name = v.size_count * v.tag_count * v.header_count * v.class_count * POLICY_APIS *
                      v.tenant_count,
           asked = 0;
    size_t routes = d->old->route_count + d->new->route_count;
    for (size_t i = 0; i < v.name_count; i++) {
        asked += per_name;
        if (asked > QUESTIONS_MAX || asked * routes > WORK_MAX) {
            d->truncated = true;
            return;
        }
        ask_name(d, &v, v.names[i]);
    }
}

void policy_diff(const struct policy *old, const struct policy *new, struct policy_diff *out)
{
    *out = (struct policy_diff){.old = old, .new = new};
    arena_init(&out->arena, 4096);
    compare_words(out);
    compare_effects(out);
}

void policy_diff_clear(struct policy_diff *d)
{
    arena_clear(&d->arena);
}

bool policy_restart_needed(const struct policy *old, const struct policy *new, struct err_text *why)
{
    struct policy_diff d = {.old = old, .new = new};
    arena_init(&d.arena, 4096);
    compare_fields(&d, policy_print_spec("server"), "server", "", &old->server, &new->server);
    compare_fields(&d, policy_print_spec("cache"), "cache", "", &old->cache, &new->cache);
    const char *keys = "";
    for (size_t i = 0; i < d.change_count; i++)
        if (d.changes[i].restart)
            keys = arena_printf(&d.arena, "%s%s%s.%s (%s -> %s)", keys, *keys ? ", " : "",
                                d.changes[i].kind, d.changes[i].key, d.changes[i].before,
                                d.changes[i].after);
    if (*keys)
        err_say(why, "a restart is needed to change %s", keys);
    arena_clear(&d.arena);
    return d.restart;
}

/* ---- for people ---- */

#define SAY(...)                                                                                   \
    do {                                                                                           \
        enum err say_err = buf_printf(out, __VA_ARGS__);                                           \
        if (say_err != ERR_OK)                                                                     \
            return say_err;                                                                        \
    } while (0)

static enum err write_change(const struct policy_change *c, struct buf *out)
{
    static const char mark[] = {
        [CHANGE_ADDED] = '+', [CHANGE_REMOVED] = '-', [CHANGE_CHANGED] = '~'};
    SAY("%c %s%s%s", mark[c->how], c->kind, *c->name ? " " : "", c->name);
    if (c->how == CHANGE_CHANGED)
        SAY("  %s: %s -> %s", c->key, *c->before ? c->before : "(not given)",
            *c->after ? c->after : "(not given)");
    SAY("%s\n", c->restart ? "   [needs a restart]" : "");
    return ERR_OK;
}

static enum err write_outcome(const struct policy_outcome *o, struct buf *out)
{
    if (o->route)
        SAY("route '%s': %s", o->route, o->models);
    else
        SAY("%s", o->models);
    return ERR_OK;
}

static enum err write_effect(const struct policy_effect *e, struct buf *out)
{
    enum err err;
    SAY("  '%s'", e->model);
    if (e->tenant)
        SAY(" by %s", e->tenant);
    if (e->api)
        SAY(", %s", e->api);
    if (e->when)
        SAY(", %s", e->when);
    SAY("\n      before: ");
    if ((err = write_outcome(&e->before, out)) != ERR_OK)
        return err;
    SAY("\n      after:  ");
    if ((err = write_outcome(&e->after, out)) != ERR_OK)
        return err;
    SAY("\n");
    return ERR_OK;
}

enum err policy_diff_write_text(const struct policy_diff *d, struct buf *out)
{
    enum err err;
    if (d->change_count == 0)
        SAY("no difference\n");
    for (size_t i = 0; i < d->change_count; i++)
        if ((err = write_change(&d->changes[i], out)) != ERR_OK)
            return err;
    if (d->effect_count)
        SAY("\nrequests that are answered differently:\n");
    else if (d->change_count)
        SAY("\nno request is routed differently\n");
    for (size_t i = 0; i < d->effect_count; i++)
        if ((err = write_effect(&d->effects[i], out)) != ERR_OK)
            return err;
    if (d->truncated)
        SAY("\nthe policies tell more kinds of requests apart than were tried: there may be "
            "further differences\n");
    if (d->restart)
        SAY("\na restart is needed: a reload refuses this change\n");
    return ERR_OK;
}

/* ---- for programs ---- */

static json_t *outcome_json(const struct policy_outcome *o)
{
    return o->route ? json_pack("{s:s, s:s}", "route", o->route, "models", o->models)
                    : json_pack("{s:n, s:s}", "route", "reason", o->models);
}

enum err policy_diff_write_json(const struct policy_diff *d, struct buf *out)
{
    static const char *const how[] = {
        [CHANGE_ADDED] = "added", [CHANGE_REMOVED] = "removed", [CHANGE_CHANGED] = "changed"};
    json_t *changes = json_array(), *effects = json_array();
    for (size_t i = 0; i < d->change_count; i++) {
        const struct policy_change *c = &d->changes[i];
        json_t *o = json_pack("{s:s, s:s, s:s, s:b}", "how", how[c->how], "kind", c->kind, "name",
                              c->name, "restart", c->restart);
        if (c->how == CHANGE_CHANGED) {
            json_object_set_new(o, "key", json_string(c->key));
            json_object_set_new(o, "before", json_string(c->before));
            json_object_set_new(o, "after", json_string(c->after));
        }
        json_array_append_new(changes, o);
    }
    for (size_t i = 0; i < d->effect_count; i++) {
        const struct policy_effect *e = &d->effects[i];
        json_array_append_new(
            effects, json_pack("{s:s, s:s?, s:s?, s:s?, s:o, s:o}", "model", e->model, "tenant",
                               e->tenant, "api", e->api, "when", e->when, "before",
                               outcome_json(&e->before), "after", outcome_json(&e->after)));
    }
    json_t *o = json_pack("{s:s, s:s, s:b, s:b, s:o, s:o}", "old", d->old->version, "new",
                          d->new->version, "restart_needed", d->restart, "truncated", d->truncated,
                          "changes", changes, "effects", effects);
    char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
    json_decref(o);
    enum err err = text ? buf_printf(out, "%s\n", text) : ERR_INTERNAL;
    free(text);
    return err;
}
