/* Owns nothing. Called per request by gateway/api_client and gateway/api_admin, on the worker's or
 * the control thread. */
#include "gateway/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

/* A key as the client gave it. Clients that know several dialects may send it in several headers;
 * differing ones are a sign of confusion (which would be billed?) and are refused. */
struct given_key {
    struct slice key;
    bool found, conflict, other_scheme;
};

static void note_key(struct given_key *g, struct slice key)
{
    if (key.n == 0)
        return;
    g->conflict = g->conflict || (g->found && !slice_eq(g->key, key));
    g->found = true;
    g->key = key;
}

/* RFC 9110 11.4: the scheme is case-insensitive, one or more spaces follow. */
static void note_authorization(struct given_key *g, struct slice value)
{
    static const struct slice bearer = {"Bearer", 6};
    if (value.n > bearer.n && value.p[bearer.n] == ' ' &&
        strncasecmp(value.p, bearer.p, bearer.n) == 0)
        note_key(g, slice_trim(slice_from(value, bearer.n)));
    else if (!slice_ieq(value, bearer))
        g->other_scheme = true;
}

static struct given_key find_key(const struct http1_head *head)
{
    struct given_key g = {.key = {"", 0}};
    for (size_t i = 0; i < head->header_count; i++) {
        struct slice name = head->headers[i].name, value = head->headers[i].value;
        if (slice_ieq(name, SLICE("authorization")))
            note_authorization(&g, value);
        else if (slice_ieq(name, SLICE("x-api-key")) || slice_ieq(name, SLICE("api-key")))
            note_key(&g, value);
    }
    return g;
}

/* All keys are compared whatever is found, so that time tells neither which tenant nor how much of
 * a key was right. */
static const struct policy_tenant *find_tenant(const struct policy *p, struct slice key)
{
    const struct policy_tenant *found = NULL;
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)key.p, key.n, digest);
    for (size_t t = 0; t < p->tenant_count; t++)
        for (size_t k = 0; k < p->tenants[t].key_count; k++)
            if (CRYPTO_memcmp(digest, p->tenants[t].keys[k].sha256, sizeof digest) == 0)
                found = &p->tenants[t];
    return found;
}

enum err auth_check(const struct policy *p, const struct http1_head *head,
                    const struct policy_tenant **tenant, const char **message)
{
    *tenant = NULL;
    *message = NULL;
    if (p->tenant_count == 0)
        return ERR_OK;
    struct given_key g = find_key(head);
    if (g.conflict) {
        *message = "The request carries different API keys in different headers.";
        return ERR_UNAUTHORIZED;
    }
    if (!g.found) {
        *message = g.other_scheme
                       ? "The Authorization header must have the form 'Bearer KEY'."
                       : "No API key was given. Send it in the header 'Authorization: Bearer KEY'.";
        return ERR_UNAUTHORIZED;
    }
    *tenant = find_tenant(p, g.key);
    if (*tenant)
        return ERR_OK;
    *message = "The API key is not known here.";
    return ERR_UNAUTHORIZED;
}

enum err auth_check_admin(const struct policy *p, const struct http1_head *head,
                          const struct policy_tenant **tenant, const char **message)
{
    enum err e = auth_check(p, head, tenant, message);
    if (e || !*tenant || (*tenant)->admin)
        return e;
    *message = "This API key does not open the admin API.";
    return ERR_FORBIDDEN;
}
