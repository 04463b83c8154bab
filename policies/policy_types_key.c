/* Keys: of backends, which are kept, and of tenants, of which a digest is. As policy_types says. */
#include "policies/policy_types_int.h"

#include "base/digest.h"
#include "policies/policy_secret_int.h"

static const char *keep_secret(struct binder *b, struct slice secret)
{
    const char *kept = secret.n ? arena_strdup(b->arena, secret) : NULL;
    secret_wipe(secret);
    return kept;
}

void bind_key_env(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    (void)k;
    struct policy_backend *backend = base;
    struct slice text;
    if (!bind_text(b, at, &text))
        return;
    struct slice secret = secret_from_env(b, at, text);
    backend->key = keep_secret(b, secret);
    backend->key_source = arena_printf(b->arena, "env %s", diag_clean(b->scratch, text));
}

void bind_key_file(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    (void)k;
    struct policy_backend *backend = base;
    struct slice text;
    if (backend->key_source) {
        bind_error(b, at, "keep one of the two", "key_env and key_file contradict each other");
        return;
    }
    if (!bind_text(b, at, &text))
        return;
    const char *path = secret_path(b, text);
    backend->key = keep_secret(b, secret_from_file(b, at, path));
    backend->key_source = arena_printf(b->arena, "file %s", path);
}

/* One key of a tenant; true when its hash is known. */
static bool bind_tenant_key(struct binder *b, const struct spec_key *k, struct place *item,
                            struct policy_key *out)
{
    struct tenant_key_source source = {0};
    if (item->node->kind != NODE_MAP) { /* may be the key itself: not echoed */
        bind_error(b, item, "write {env: NAME}, {file: path} or {sha256: hex}",
                   "a key is not written into a policy");
        return false;
    }
    bind_object(b, k->object, item, &source, 0);
    int given = 0;
    for (size_t i = 0; i < k->object->count; i++)
        given += node_find(item->node, slice_str(k->object->keys[i].name)) != NULL;
    if (given != 1)
        bind_error(b, item, NULL, "exactly one of env, file and sha256 must be given, not %d",
                   given);
    if (given != 1)
        return false;
    struct digest digest;
    if (source.sha256 && digest_parse(slice_str(source.sha256), &digest)) {
        memcpy(out->sha256, digest.bytes, sizeof out->sha256);
        return true;
    }
    if (source.sha256)
        bind_error(b, binder_below(b, item, "sha256"), "printf %s \"$KEY\" | sha256sum",
                   "must be 64 hexadecimal digits");
    struct slice secret = {0};
    if (source.env)
        secret = secret_from_env(b, binder_below(b, item, "env"), slice_str(source.env));
    if (source.file)
        secret = secret_from_file(b, binder_below(b, item, "file"),
                                  secret_path(b, slice_str(source.file)));
    if (secret.n)
        secret_sha256(secret, out->sha256);
    secret_wipe(secret);
    return secret.n > 0;
}

void bind_tenant_keys(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (at->node->kind != NODE_LIST || at->node->count == 0) {
        bind_error(b, at, "write [{env: NAME}], [{file: path}] or [{sha256: hex}]",
                   at->node->kind == NODE_LIST ? "the list is empty" : "must be a list, not %s",
                   node_what(at->node));
        return;
    }
    struct policy_key *items = ARENA_ARRAY(b->arena, struct policy_key, at->node->count);
    *FIELD(struct policy_key *) = items;
    *LENGTH() = 0;
    bind_keep(b, at, FIELD(struct policy_key *));
    for (size_t i = 0; i < at->node->count; i++) {
        struct place *item = bind_child(b, at, &at->node->entries[i], NULL, i);
        if (bind_tenant_key(b, k, item, &items[*LENGTH()]))
            bind_keep(b, item, &items[(*LENGTH())++]);
    }
}
