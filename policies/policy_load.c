/* Text -> nodes -> bound structs -> checks -> snapshot. Owns the order of these and the scratch
 * memory of a load. Thread: the control thread or a CLI command. Called by the gateway's reload,
 * the admin API and the sub-commands. */
#include "policies/policy_load.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <openssl/sha.h>
#include "base/clock.h"
#include "base/mem.h"
#include "policies/policy_bind_int.h"
#include "policies/policy_check_int.h"
#include "policies/policy_glob.h"
#include "policies/policy_int.h"

#define POLICY_MAX_BYTES           ((size_t)4 << 20)
#define ENCODER_MAX_RESPONSE_BYTES ((int64_t)64 << 20)

/* First hex digits of a SHA-256, as identity. */
static const char *digest(struct arena *a, struct slice text, size_t digits)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char sum[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)text.p, text.n, sum);
    char *out = arena_alloc(a, digits + 1);
    for (size_t i = 0; i < digits; i++)
        out[i] = hex[i % 2 ? sum[i / 2] & 15 : sum[i / 2] >> 4];
    out[digits] = '\0';
    return out;
}

/* Depends on nothing but what the price says: the ledger's rows stay comparable over reloads. */
static void price_version(struct arena *a, struct policy_price *p)
{
    char text[256];
    int n = snprintf(text, sizeof text, "%" PRId64 " %d %d %" PRId64, p->from_wall_us, p->per_token,
                     p->per_gpu_second, p->gpu_second);
    for (int k = 0; k < TOK_KINDS; k++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %" PRId64, p->per_mtok[k]);
    p->version = digest(a, slice_make(text, (size_t)n), 8);
}

static void imply_route(struct binder *b, const struct draft *d, size_t model, const char *prefix,
                        struct policy_route *r)
{
    const struct policy_model *m = &d->models[model];
    const char **names = ARENA_ARRAY(b->arena, const char *, 1);
    names[0] = m->name;
    *r = (struct policy_route){
        .name = arena_printf(b->arena, "%s%s", prefix, m->name),
        .match = {.models = names,
                  .model_count = 1,
                  .prompt_tokens = {POLICY_NONE, POLICY_NONE},
                  .min_confidence = POLICY_OFF},
        .steps = ARENA_NEW(b->arena, struct policy_step),
        .step_count = 1,
        .cascade_count = 1,
        .retry = d->retry,
        .cache = d->cache.use,
        .decide = d->decide,
        .deadline_ms = POLICY_NONE,
        .line = binder_place(b, m)->node->line,
    };
    r->steps[0] = (struct policy_step){.model = model, .accept = POLICY_OFF, .samples = 1};
}

static bool takes_everything(const struct policy_match *m)
{
    return m->model_count == 0 && m->tenant_count == 0 && m->tag_count == 0 &&
           m->header_count == 0 && m->apis == 0 && m->class_count == 0 &&
           m->prompt_tokens.min <= 0 && m->prompt_tokens.max == POLICY_NONE;
}

/* A file that asks for more comparisons than this is refused. */
#define IMPLY_WORK_MAX 20000000

/* The names that routes name. A route may name a model to keep others away from it, so that what
 * else it asks for does not matter: whoever is named is the operator's own affair. */
struct named {
    struct names exact;
    const char **globs;
    size_t glob_count;
    bool everything;
};

static void gather_named(struct binder *b, const struct draft *d, struct named *out)
{
    size_t n = 0;
    for (size_t i = 0; i < d->written_routes; i++)
        n += d->routes[i].match.model_count;
    names_init(&out->exact, b->scratch, n);
    out->globs = ARENA_ARRAY(b->scratch, const char *, n + 1);
    for (size_t i = 0; i < d->written_routes; i++) {
        const struct policy_match *m = &d->routes[i].match;
        out->everything = out->everything || takes_everything(m);
        for (size_t j = 0; j < m->model_count; j++) {
            if (glob_is(slice_str(m->models[j])))
                out->globs[out->glob_count++] = m->models[j];
            else
                names_add(&out->exact, slice_str(m->models[j]), j);
        }
    }
}

static bool is_named(const struct named *n, const char *model)
{
    if (n->everything || names_get(&n->exact, slice_str(model)) != NAMES_ABSENT)
        return true;
    for (size_t i = 0; i < n->glob_count; i++)
        if (glob_match(slice_str(n->globs[i]), slice_str(model)))
            return true;
    return false;
}

/* Without written routes each model answers to its own name; with models_by_name beside them. */
static void imply_routes(struct binder *b, struct draft *d)
{
    struct named named = {0};
    if (!d->routes)
        d->routes = ARENA_ARRAY(b->arena, struct policy_route, d->model_count + 1);
    gather_named(b, d, &named);
    if (named.glob_count * d->model_count > IMPLY_WORK_MAX) {
        bind_error(b, binder_place(b, &d->models_by_name), NULL,
                   "too many models and too many patterns in routes to compare them");
        return;
    }
    for (size_t i = 0; i < d->model_count; i++)
        if (!is_named(&named, d->models[i].name))
            imply_route(b, d, i, d->written_routes ? "model:" : "", &d->routes[d->route_count++]);
}

#define DISCOVER_MS (10 * 60 * 1000)

/* A list that one's own engine gives costs nothing and surprises nobody; others are asked when the
 * operator says so. */
static bool is_own_engine(const struct policy_backend *k)
{
    static const char *const engines[] = {"vllm", "llama_cpp", "ollama", "sglang", "tgi"};
    for (size_t i = 0; k->server && i < sizeof engines / sizeof engines[0]; i++)
        if (strcmp(k->server, engines[i]) == 0)
            return true;
    return k->command.argv != NULL;
}

/* Models that the encoder serves get a backend like all others, so that whoever counts, prices and
 * shows attempts need not tell them apart. Its name is none that an operator can write. */
static void imply_encoder_backend(struct binder *b, struct draft *d)
{
    size_t at = d->backend_count;
    for (size_t i = 0; i < d->model_count; i++) {
        if (!d->models[i].encoder)
            continue;
        d->models[i].backend = at;
        d->backend_count = at + 1;
    }
    if (d->backend_count == at)
        return;
    struct policy_endpoint *e = ARENA_NEW(b->arena, struct policy_endpoint);
    *e = (struct policy_endpoint){
        .url = "encoder:", .host = "", .authority = "", .path = "/v1", .label = "encoder"};
    d->backends[at] = (struct policy_backend){
        .name = "(encoder)",
        .dialect = DIALECT_OPENAI,
        .endpoints = e,
        .endpoint_count = 1,
        .timeouts = {POLICY_NONE, POLICY_NONE, POLICY_NONE, POLICY_NONE},
        .max_in_flight = POLICY_NONE,
        .discover_ms = POLICY_NONE,
        .max_response_bytes = ENCODER_MAX_RESPONSE_BYTES,
        .encoder = true,
    };
}

static void finish(struct binder *b, struct draft *d, struct policy *p)
{
    imply_encoder_backend(b, d);
    p->server = d->server;
    p->backends = d->backends;
    p->backend_count = d->backend_count;
    p->models = d->models;
    p->model_count = d->model_count;
    p->aliases = d->aliases;
    p->alias_count = d->alias_count;
    p->routes = d->routes;
    p->route_count = d->route_count;
    p->tenants = d->tenants;
    p->tenant_count = d->tenant_count;
    p->encoder = d->encoder;
    p->classes = d->classes;
    p->class_count = d->class_count;
    p->cache = d->cache;
    p->decide = d->decide;
    for (size_t i = 0; i < p->encoder.price_count; i++)
        price_version(b->arena, &p->encoder.prices[i]);
    for (size_t i = 0; i < p->route_count; i++)
        p->matches_class = p->matches_class || p->routes[i].match.class_count;
    for (size_t i = 0; i < p->route_count; i++)
        p->decides = p->decides || p->routes[i].decide.mode != POLICY_DECIDE_ORDER;
    p->matches_class = p->matches_class || p->decides;
    for (size_t i = 0; i < p->backend_count; i++) {
        struct policy_backend *k = &p->backends[i];
        if (!k->key_source)
            k->key_source = "none";
        if (!binder_written(b, &k->discover_ms) && is_own_engine(k))
            k->discover_ms = DISCOVER_MS;
    }
    for (size_t i = 0; i < p->model_count; i++) {
        struct policy_model *m = &p->models[i];
        if (!m->upstream_name)
            m->upstream_name = m->name;
        if (m->backend < p->backend_count && !binder_written(b, &m->capabilities) &&
            p->backends[m->backend].dialect == DIALECT_ANTHROPIC)
            m->capabilities &= ~(unsigned)CAP_COMPLETIONS; /* Anthropic has no such API */
        for (size_t j = 0; j < m->price_count; j++)
            price_version(b->arena, &m->prices[j]);
    }
}

static void identify(struct policy_snapshot *s, struct slice text, const char *file)
{
    struct policy *p = &s->policy;
    p->text = arena_dup(&s->arena, text);
    p->source = arena_strdup(&s->arena, slice_str(file));
    p->version = digest(&s->arena, text, 12);
    p->loaded_wall_us = clock_wall_us();
}

static void load_nodes(struct policy_snapshot *s, struct arena *scratch, const struct node *root,
                       const char *file, const struct policy_load_options *opt, struct diags *d)
{
    struct draft draft = {.policy = &s->policy};
    struct binder b = {
        .arena = &s->arena,
        .scratch = scratch,
        .diags = d,
        .file = file,
        .options = opt,
        .draft = &draft,
        .now_wall_us = s->policy.loaded_wall_us,
    };
    binder_init(&b);
    binder_run(&b, root);
    if (root->kind != NODE_MAP)
        return;
    draft.written_routes = draft.route_count;
    policy_complete_encoder(&b);
    if (draft.models_by_name || !node_find(root, SLICE("routes")))
        imply_routes(&b, &draft);
    policy_complete_cache(&b);
    policy_complete_decide(&b);
    policy_check_prices(&b);
    finish(&b, &draft, &s->policy);
    policy_snapshot_index(s);
    policy_check(&b, s);
}

enum err policy_load_text(struct slice text, const char *file,
                          const struct policy_load_options *opt, struct diags *d,
                          struct policy **out)
{
    static const struct policy_load_options usual = {.resolve_secrets = true};
    *out = NULL;
    if (text.n > POLICY_MAX_BYTES) {
        diags_add(d, DIAG_ERROR, (struct diag_place){file, 0, 0, ""}, NULL,
                  "the policy is larger than 4 MiB");
        return ERR_INVALID_POLICY;
    }
    struct arena scratch;
    arena_init(&scratch, 16 * 1024);
    struct policy_snapshot *s = policy_snapshot_new();
    identify(s, text, file);
    const struct node *root = node_read(&scratch, text, file, d);
    if (root)
        load_nodes(s, &scratch, root, file, opt ? opt : &usual, d);
    diags_finish(d);
    arena_clear(&scratch);
    if (d->errors) {
        policy_snapshot_free(s);
        return ERR_INVALID_POLICY;
    }
    *out = &s->policy;
    return ERR_OK;
}

/* The whole file into memory; NULL with errno set. */
static char *read_file(const char *file, size_t *n)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    char *text = mem_alloc(POLICY_MAX_BYTES + 1);
    ssize_t got = 0;
    *n = 0;
    while (*n <= POLICY_MAX_BYTES && (got = read(fd, text + *n, POLICY_MAX_BYTES + 1 - *n)) > 0)
        *n += (size_t)got;
    int failed = errno;
    close(fd);
    if (got >= 0)
        return text;
    free(text);
    errno = failed;
    return NULL;
}

enum err policy_load_file(const char *file, const struct policy_load_options *opt, struct diags *d,
                          struct policy **out)
{
    size_t n = 0;
    *out = NULL;
    char *text = read_file(file, &n);
    if (!text) {
        diags_add(d, DIAG_ERROR, (struct diag_place){file, 0, 0, ""}, NULL, "cannot be read: %s",
                  strerror(errno));
        return ERR_NOT_FOUND;
    }
    enum err e = policy_load_text(slice_make(text, n), file, opt, d, out);
    free(text);
    return e;
}
