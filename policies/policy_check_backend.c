/* Checks across a backend's keys, and across backends: what their servers are, and those that weir
 * starts itself. Thread: the loader's. Called by policy_check. */
#include "base/http1.h"
#include "policies/policy_check_int.h"
#include "policies/policy_url.h"

/* ---- one backend ---- */

static size_t tls_endpoints(const struct policy_backend *k)
{
    size_t n = 0;
    for (size_t i = 0; i < k->endpoint_count; i++)
        n += k->endpoints[i].tls;
    return n;
}

/* The target of a request line (RFC 9112, 3.2.1), as written: nothing in it is encoded later. */
static void check_path(struct binder *b, const char *const *path)
{
    if (!*path)
        return;
    if (**path != '/')
        bind_error(b, binder_place(b, path), arena_printf(b->scratch, "write /%s", *path),
                   "must begin with '/'");
    for (const char *c = *path; *c; c++) {
        if (*c > ' ' && *c <= '~' && *c != '#')
            continue;
        bind_error(b, binder_place(b, path), "encode it as %XX",
                   "holds a character that no path may hold");
        return;
    }
}

static void check_balance(struct binder *b, const struct policy_backend *k)
{
    if (k->balance == BALANCE_PREFIX_AFFINITY && k->endpoint_count == 1)
        bind_warning(b, binder_place(b, &k->balance), NULL, "there is only one URL to choose from");
}

static void check_command(struct binder *b, const struct policy_backend *k)
{
    const struct policy_command *c = &k->command;
    const struct place *at = binder_place(b, k), *command = binder_place(b, c);
    if (!binder_written(b, c))
        return;
    if (k->endpoint_count && (k->endpoint_count > 1 || k->endpoints[0].tls ||
                              !url_loopback(slice_str(k->endpoints[0].host))))
        bind_error(b, binder_below(b, at, "url"), "for example \"http://127.0.0.1:8081/v1\"",
                   "a backend with a command has one URL, with http and on loopback: where the "
                   "server will listen");
    if (policy_check_given(at, "health"))
        bind_error(b, binder_below(b, at, "health"), "use command.ready, or leave it out",
                   "a server that weir starts is watched by weir, and may be stopped");
    check_path(b, &c->ready_path);
    if (!c->group && binder_written(b, &c->min_run_ms))
        bind_error(b, binder_below(b, command, "min_run"), "remove it, or name a group",
                   "belongs to a group");
    policy_check_backoff(b, &c->backoff_base_ms, &c->backoff_max_ms);
}

/* Azure names the model in the path: {url}/openai/deployments/NAME/chat/completions. */
static void check_azure(struct binder *b, const struct policy_backend *k)
{
    if (!k->api_version)
        bind_error(b, binder_place(b, k), "for example api_version: \"2024-10-21\"",
                   "server: azure needs an 'api_version'");
    if (k->discover_ms != POLICY_NONE)
        bind_error(b, binder_place(b, &k->discover_ms), "remove it, or write none",
                   "Azure lists the models that it sells, not the deployments that you have");
    for (size_t i = 0; i < k->endpoint_count; i++)
        if (strstr(k->endpoints[i].path, "/openai"))
            bind_warning(b, binder_place(b, &k->endpoints[i]), "leave the path out",
                         "requests go to %s/openai/deployments/...", k->endpoints[i].url);
}

/* It becomes part of a URL. */
static bool is_api_version(const char *s)
{
    return s[strspn(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_")] ==
           '\0';
}

static void check_versions(struct binder *b, const struct policy_backend *k, bool anthropic,
                           bool azure)
{
    if (k->anthropic_version && !anthropic)
        bind_error(b, binder_place(b, &k->anthropic_version), "remove it",
                   "belongs to dialect: anthropic");
    else if (k->anthropic_version && !http1_valid_value(slice_str(k->anthropic_version)))
        bind_error(b, binder_place(b, &k->anthropic_version), NULL, "is not a header value");
    if (k->api_version && !azure)
        bind_error(b, binder_place(b, &k->api_version), "remove it, or write server: azure",
                   "belongs to server: azure");
    else if (k->api_version && !is_api_version(k->api_version))
        bind_error(b, binder_place(b, &k->api_version), "for example \"2024-10-21\"",
                   "is not a version: it holds more than letters, digits and . - _");
}

static void check_dialect(struct binder *b, const struct policy_backend *k)
{
    const struct place *at = binder_place(b, k);
    bool anthropic = k->dialect == DIALECT_ANTHROPIC;
    bool azure = k->server && strcmp(k->server, "azure") == 0;
    if (k->server && (strcmp(k->server, "anthropic") == 0) != anthropic)
        bind_error(b, binder_below(b, at, "server"), "remove it, or change the dialect",
                   "'%s' does not speak this dialect", k->server);
    if (anthropic && binder_written(b, &k->stream_options))
        bind_error(b, binder_below(b, at, "stream_options"), "remove it",
                   "belongs to dialect: openai");
    check_versions(b, k, anthropic, azure);
    if (azure)
        check_azure(b, k);
    for (size_t i = 0; i < k->endpoint_count && !azure; i++) {
        const struct policy_endpoint *e = &k->endpoints[i];
        if (!*e->path)
            bind_warning(b, binder_place(b, e),
                         arena_printf(b->scratch, "most servers want %s/v1", e->url),
                         "the URL has no path, so that requests go to %s%s", e->url,
                         anthropic ? "/messages" : "/chat/completions");
    }
}

static void check_backend(struct binder *b, const struct policy_backend *k)
{
    check_dialect(b, k);
    check_balance(b, k);
    check_path(b, &k->health_path);
    check_command(b, k);
    const struct place *at = binder_place(b, k);
    size_t tls = tls_endpoints(k);
    if (k->endpoint_count && tls == 0 && policy_check_given(at, "tls"))
        bind_error(b, binder_below(b, at, "tls"), "remove it, or use https",
                   "none of the URLs is https");
    if (k->endpoint_count && tls < k->endpoint_count && k->http == HTTP_2)
        bind_error(b, binder_below(b, at, "http"), "use https, or http: auto",
                   "HTTP/2 is negotiated over TLS, and not all URLs are https");
    if (k->transport == TRANSPORT_NATIVE && (k->http == HTTP_2 || k->proxy))
        bind_error(b, binder_below(b, at, "transport"), "use transport: auto or curl",
                   "the native transport speaks HTTP/1.1 and knows no proxy");
    const struct policy_timeouts *t = &k->timeouts;
    if (t->total_ms != POLICY_NONE && t->first_byte_ms > t->total_ms &&
        binder_written(b, &t->first_byte_ms) && binder_written(b, &t->total_ms))
        bind_error(b, binder_place_inner(b, &t->first_byte_ms), NULL,
                   "is longer than 'total', which ends the attempt first");
    for (size_t i = 0; i < k->header_count; i++)
        if (k->key_source && strcmp(k->key_source, "none") != 0 &&
            slice_ieq(slice_str(k->headers[i].name), slice_str(policy_key_header(k))))
            bind_error(b, binder_place(b, &k->headers[i]), "keep one of the two",
                       "contradicts the backend's key, which is sent as %s", policy_key_header(k));
    /* Loopback excepted, where nobody listens in. */
    for (size_t i = 0; i < k->endpoint_count; i++)
        if (k->key_source && strcmp(k->key_source, "none") != 0 && !k->endpoints[i].tls &&
            !url_loopback(slice_str(k->endpoints[i].host)))
            bind_warning(b, binder_place(b, &k->endpoints[i]), "use https",
                         "the key is sent unencrypted to %s", k->endpoints[i].label);
}

/* ---- servers that weir starts ---- */

static bool takes_port(const struct policy_address *a, const struct policy_endpoint *e)
{
    bool reaches = a->loopback || policy_check_wildcard(a);
    return a->port == e->port && a->port && reaches;
}

/* The address is the key: what listens on one must not run at the same time as another. */
static const char *place_to_listen(struct binder *b, const struct policy_endpoint *e)
{
    bool local = strcmp(e->host, "localhost") == 0;
    return arena_printf(b->scratch, "%s:%u", local ? "127.0.0.1" : e->host, (unsigned)e->port);
}

static void check_ports(struct binder *b, const struct policy *p)
{
    struct names seen;
    names_init(&seen, b->scratch, p->backend_count);
    for (size_t i = 0; i < p->backend_count; i++) {
        const struct policy_backend *k = &p->backends[i];
        if (!k->command.argv || k->endpoint_count != 1)
            continue;
        const struct policy_endpoint *e = &k->endpoints[0];
        const struct place *at = binder_place(b, e);
        size_t first = names_add(&seen, slice_str(place_to_listen(b, e)), i);
        const char *group = p->backends[first].command.group;
        if (first != i && !(group && k->command.group && strcmp(group, k->command.group) == 0))
            bind_error(b, at, "give them different ports, or put them into one group",
                       "the server of '%s' at line %d listens there too", p->backends[first].name,
                       policy_check_line(b, &p->backends[first]));
        if (takes_port(&p->server.listen, e) || takes_port(&p->server.admin, e))
            bind_error(b, at, "give it another port", "weir itself listens on port %u",
                       (unsigned)e->port);
    }
}

/* Most likely the name of another group, mistyped: two servers would fight for one GPU. */
static void check_groups(struct binder *b, const struct policy *p)
{
    size_t *members = ARENA_ARRAY(b->scratch, size_t, p->backend_count + 1);
    struct names groups;
    names_init(&groups, b->scratch, p->backend_count);
    for (size_t i = 0; i < p->backend_count; i++)
        if (p->backends[i].command.group)
            members[names_add(&groups, slice_str(p->backends[i].command.group), i)]++;
    for (size_t i = 0; i < p->backend_count && b->diags->count < DIAGS_MAX; i++) {
        const struct policy_command *c = &p->backends[i].command;
        if (members[i] != 1)
            continue;
        struct names_nearest near;
        bind_nearest_init(b, &near, slice_str(c->group));
        for (size_t j = 0; j < p->backend_count; j++)
            if (members[j] > 1)
                names_nearest_offer(&near, p->backends[j].command.group);
        bind_warning(b, binder_place(b, &c->group), bind_did_you_mean(b, &near),
                     "no other server is in the group '%s'", c->group);
    }
}

void policy_check_backends(struct binder *b, const struct policy *p)
{
    for (size_t i = 0; i < p->backend_count; i++)
        check_backend(b, &p->backends[i]);
    check_ports(b, p);
    check_groups(b, p);
}
