/* Builds what workers need from a policy, once per load, so that starting an attempt copies
 * nothing. Control thread builds and posts; any thread may hold and drop references. */
#include "router/snapshot.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "backends/rendezvous.h"
#include "base/arena.h"
#include "base/mem.h"
#include "router/classifier.h"
#include "router/embedder.h"
#include "router/validate_set.h"

static void fill_headers(struct arena *a, const struct policy_backend *b,
                         struct snapshot_backend *sb)
{
    size_t n = 0;

    sb->headers = ARENA_ARRAY(a, struct http1_header, b->header_count + 1);
    if (b->key) {
        const char *name = policy_key_header(b);
        bool bearer = strcmp(name, "Authorization") == 0;

        sb->headers[n++] = (struct http1_header){
            slice_str(name), slice_str(bearer ? arena_printf(a, "Bearer %s", b->key) : b->key)};
    }
    for (size_t i = 0; i < b->header_count; i++)
        sb->headers[n++] =
            (struct http1_header){slice_str(b->headers[i].name), slice_str(b->headers[i].value)};
    sb->header_count = n;
}

static void fill_target(const struct policy_backend *b, const struct policy_endpoint *e,
                        struct upstream_target *t)
{
    *t = (struct upstream_target){
        .backend = b->name,
        .tls = e->tls,
        .host = e->host,
        .port = e->port,
        .authority = e->authority,
        .http2 = b->http == HTTP_2,
        .force_curl = b->transport == TRANSPORT_CURL,
        .force_native = b->transport == TRANSPORT_NATIVE,
        .proxy = b->proxy,
        .tls_ca_file = b->tls_ca_file,
        .tls_verify = b->tls_verify,
        .max_idle_connections = b->max_idle_connections,
    };
}

static void fill_hashes(struct arena *a, const struct policy_backend *b,
                        struct snapshot_backend *sb)
{
    if (b->balance != BALANCE_PREFIX_AFFINITY)
        return;
    sb->hashes = ARENA_ARRAY(a, uint64_t, b->endpoint_count);
    for (size_t i = 0; i < b->endpoint_count; i++)
        sb->hashes[i] = rendezvous_endpoint_hash(slice_str(b->endpoints[i].url));
}

struct snapshot *snapshot_new(struct policy *p, struct endpoint_registry *reg, uint64_t serial)
{
    struct snapshot *s = mem_zalloc(1, sizeof *s);

    s->policy = p;
    s->serial = serial;
    atomic_init(&s->refs, 1);
    s->arena = mem_zalloc(1, sizeof *s->arena);
    arena_init(s->arena, 4096);
    s->backends = ARENA_ARRAY(s->arena, struct snapshot_backend, p->backend_count);
    for (size_t i = 0; i < p->backend_count; i++) {
        const struct policy_backend *b = &p->backends[i];
        struct snapshot_backend *sb = &s->backends[i];

        sb->count = (int)b->endpoint_count;
        sb->dialect = b->dialect == DIALECT_ANTHROPIC ? WIRE_ANTHROPIC : WIRE_OPENAI;
        sb->quirks = quirks_find(slice_str(b->server ? b->server : "openai"));
        sb->shared = ARENA_ARRAY(s->arena, struct endpoint_shared *, b->endpoint_count);
        sb->targets = ARENA_ARRAY(s->arena, struct upstream_target, b->endpoint_count);
        sb->paths = ARENA_ARRAY(s->arena, struct slice, b->endpoint_count * WIRE_APIS);
        for (size_t j = 0; j < b->endpoint_count; j++) {
            const struct policy_endpoint *e = &b->endpoints[j];

            sb->shared[j] = endpoint_registry_bind(reg, b->name, e->url);
            fill_target(b, e, &sb->targets[j]);
            for (int api = 0; api < WIRE_APIS; api++)
                sb->paths[j * WIRE_APIS + (size_t)api] = slice_str(
                    arena_printf(s->arena, "%s%s", e->path, wire_api_path((enum wire_api)api)));
        }
        fill_hashes(s->arena, b, sb);
        fill_headers(s->arena, b, sb);
    }
    s->refuses_logprobs = ARENA_ARRAY(s->arena, _Atomic bool, p->model_count);
    s->validators = ARENA_ARRAY(s->arena, struct validate_set *, p->route_count);
    for (size_t i = 0; i < p->route_count; i++)
        s->validators[i] = validate_set_new(&p->routes[i].decide.confidence);
    return s;
}

void snapshot_set_classifier(struct snapshot *s, struct classifier *c, struct embedder *e)
{
    s->classifier = c;
    s->embedder = e ? embedder_hold(e) : NULL;
}

const struct validate_set *snapshot_validators(const struct snapshot *s,
                                               const struct policy_route *route)
{
    const struct policy *p = s->policy;

    for (size_t i = 0; i < p->route_count; i++)
        if (p->routes[i].name == route->name) /* a copy shares the name */
            return s->validators[i];
    return NULL;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    int before = atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);

    assert(before > 0);
    (void)before;
    return s;
}

void snapshot_unref(struct snapshot *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < s->policy->route_count; i++)
        validate_set_free(s->validators[i]);
    classifier_unref(s->classifier);
    embedder_release(s->embedder);
    policy_unref(s->policy);
    arena_clear(s->arena);
    free(s->arena);
    free(s);
}
