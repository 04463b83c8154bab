/* weir models --discover: asks each backend once, over the catalog that the running gateway uses,
 * and prints what the policy does not have as entries of `models:`. Prices are the operator's to
 * write: an entry says `price: {}`, which no policy may, so that none is forgotten. */
#include "gateway/cli/discover.h"

#include <event2/event.h>
#include <stdio.h>
#include "backends/catalog.h"
#include "base/ascii.h"
#include "base/mem.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/out.h"
#include "gateway/json_put.h"
#include "gateway/model_list.h"
#include "gateway/model_list_json.h"

#define NAME_BYTES 128                    /* of a policy */
#define ONCE_MS    (24 * 60 * 60 * 1000L) /* longer than the question takes */

struct discover {
    const char *file;
    struct snapshot *snapshot;
    struct endpoint_registry *registry;
    struct event_base *base;
    struct upstream *up;
    struct catalog *catalog;
    size_t unanswered;
    int code;
};

/* Azure lists the models that it sells, not the deployments that one has; the encoder is weir's
 * own.
 */
static bool has_list(const struct policy_backend *b)
{
    return !b->encoder && !(b->server && strcmp(b->server, "azure") == 0);
}

/* ---- asking ---- */

static void on_news(void *ctx, const struct endpoint_shared *shared)
{
    struct discover *d = ctx;

    (void)shared;
    if (--d->unanswered == 0)
        event_base_loopbreak(d->base);
}

static void ask_all(struct discover *d)
{
    const struct policy *p = d->snapshot->policy;
    struct catalog_spec *specs;
    struct arena a;
    size_t room = 0;

    for (size_t i = 0; i < p->backend_count; i++)
        room += p->backends[i].endpoint_count;
    arena_init(&a, 4096);
    specs = ARENA_ARRAY(&a, struct catalog_spec, room + 1);
    for (size_t i = 0; i < p->backend_count; i++) {
        size_t n = has_list(&p->backends[i]) ? p->backends[i].endpoint_count : 0;
        const struct catalog_spec *of_backend = model_list_specs(d->snapshot, i, &a);

        for (size_t j = 0; j < n; j++) {
            specs[d->unanswered] = of_backend[j];
            specs[d->unanswered++].interval_ms = ONCE_MS;
        }
    }
    catalog_configure(d->catalog, specs, d->unanswered);
    arena_clear(&a);
    if (d->unanswered)
        event_base_dispatch(d->base);
}

/* ---- what is known afterwards ---- */

static struct catalog_info about(const struct discover *d, size_t backend, size_t endpoint)
{
    struct catalog_info info = {.asked = false};

    if (!catalog_about(d->catalog, d->snapshot->backends[backend].shared[endpoint], &info))
        err_say(&info.why, "it has no list of what can be asked for there");
    return info;
}

/* Is it new, and not told of an earlier endpoint of that backend? */
static bool is_new(const struct discover *d, size_t backend, size_t endpoint,
                   const struct discovery *list, const struct discovery_model *m)
{
    if (m->retired || model_list_declared(d->snapshot->policy, backend, list, m))
        return false;
    for (size_t e = 0; e < endpoint; e++) {
        struct catalog_info before = about(d, backend, e);

        if (before.list && discovery_find(before.list, m->id))
            return false;
    }
    return true;
}

/* Nobody expects a list of a server that weir has not started. */
static void note_failure(struct discover *d, const struct policy_backend *b)
{
    if (!b->command.argv && has_list(b))
        d->code = EXIT_CODE_RUNTIME;
}

/* ---- YAML ---- */

/* A JSON string is a YAML one. */
static void put_quoted(const char *text)
{
    json_t *s = json_put_string(text);

    if (json_dumpf(s, stdout, JSON_ENCODE_ANY) != 0)
        fprintf(stderr, "weir models: '%s' cannot be written\n", text);
    json_decref(s);
}

static bool is_taken(const struct policy *p, const char *name)
{
    const struct policy_name *names;
    size_t n = policy_names(p, &names);

    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i].name, name) == 0)
            return true;
    return false;
}

/* The server's name as a policy can have it, and free in this one. */
static void local_name(const struct policy *p, const struct policy_backend *b, struct slice id,
                       char out[NAME_BYTES + 1])
{
    size_t n = id.n < NAME_BYTES ? id.n : NAME_BYTES, suffix = strlen(b->name) + 1;

    for (size_t i = 0; i < n; i++) {
        char c = id.p[i];
        bool alnum = ascii_is_alnum(c);

        out[i] = alnum || strchr("._-:/@+", c) ? c : '-';
    }
    out[n] = '\0';
    if (!is_taken(p, out) || suffix >= NAME_BYTES)
        return;
    if (n + suffix > NAME_BYTES)
        n = NAME_BYTES - suffix;
    snprintf(out + n, NAME_BYTES + 1 - n, "@%s", b->name);
}

static void print_entry(struct discover *d, const struct policy_backend *b,
                        const struct discovery_model *m)
{
    char name[NAME_BYTES + 1];

    local_name(d->snapshot->policy, b, m->id, name);
    printf("  ");
    put_quoted(name);
    printf(": {backend: ");
    put_quoted(b->name);
    if (!slice_eq(slice_str(name), m->id)) {
        printf(", name: ");
        put_quoted(m->id.p);
    }
    if (m->context_tokens > 0)
        printf(", context: %lld", (long long)m->context_tokens);
    printf(", price: {}}\n");
}

static void print_endpoint(struct discover *d, size_t backend, size_t endpoint)
{
    const struct policy *p = d->snapshot->policy;
    const struct policy_backend *b = &p->backends[backend];
    struct catalog_info info = about(d, backend, endpoint);
    struct model_list_problem problem[64];
    size_t fresh = 0, problems;
    char text[512];

    if (!info.list) {
        note_failure(d, b);
        printf("  # %s, %s: not read: %s\n", b->name, b->endpoints[endpoint].url, info.why.s);
        return;
    }
    for (size_t i = 0; i < info.list->count; i++)
        fresh += is_new(d, backend, endpoint, info.list, &info.list->models[i]);
    printf("  # %s, %s: lists %zu, of which %zu are new\n", b->name, b->endpoints[endpoint].url,
           info.list->count, fresh);
    problems = model_list_problems(p, backend, info.list, problem, 64);
    for (size_t i = 0; i < problems && i < 64; i++) {
        model_list_problem_text(&problem[i], text, sizeof text);
        printf("  # warning: %s\n", text);
    }
    for (size_t i = 0; i < info.list->count; i++)
        if (is_new(d, backend, endpoint, info.list, &info.list->models[i]))
            print_entry(d, b, &info.list->models[i]);
}

static void print_yaml(struct discover *d)
{
    const struct policy *p = d->snapshot->policy;

    printf(
        "# What the servers of %s list and it does not have: to paste below its 'models:'. Each\n"
        "# needs a price, in USD: {input: 1.00, output: 4.00} per million tokens, or\n"
        "# {gpu_second: 0.0004} for hardware of one's own.\n"
        "models:\n",
        d->file);
    for (size_t i = 0; i < p->backend_count; i++)
        for (size_t j = 0; j < p->backends[i].endpoint_count; j++)
            print_endpoint(d, i, j);
}

/* ---- JSON ---- */

static void print_json(struct discover *d)
{
    const struct policy *p = d->snapshot->policy;
    json_t *all = json_array();

    for (size_t i = 0; i < p->backend_count; i++) {
        const struct policy_backend *b = &p->backends[i];

        for (size_t j = 0; j < b->endpoint_count; j++) {
            struct catalog_info info = about(d, i, j);
            json_t *o = json_object();

            if (!info.list)
                note_failure(d, b);
            json_put_text(o, "backend", b->name);
            json_put_text(o, "url", b->endpoints[j].url);
            json_put_text(o, "error", info.list ? NULL : info.why.s);
            json_put(o, "models", info.list ? model_list_entries_json(p, i, info.list) : NULL);
            json_put(o, "problems", info.list ? model_list_problems_json(p, i, info.list) : NULL);
            json_array_append_new(all, o);
        }
    }
    out_json(json_pack("{s:s,s:o}", "version", p->version, "lists", all));
}

int discover_print(const char *file, bool json)
{
    struct discover d = {.file = file, .code = EXIT_CODE_OK};
    const struct catalog_owner owner = {.on_news = on_news, .ctx = &d};
    struct policy *p = out_load_policy(file, true);

    if (!p)
        return EXIT_CODE_POLICY;
    d.registry = endpoint_registry_new();
    d.snapshot = snapshot_new(p, d.registry, 1);
    d.base = event_base_new();
    mem_need(d.base);
    d.up = upstream_new(d.base, NULL);
    mem_need(d.up);
    d.catalog = catalog_new(d.base, d.up, &owner);
    ask_all(&d);
    if (json)
        print_json(&d);
    else
        print_yaml(&d);
    catalog_free(d.catalog);
    upstream_free(d.up);
    event_base_free(d.base);
    snapshot_unref(d.snapshot);
    endpoint_registry_free(d.registry);
    return d.code;
}
