/* Headers, and a program with its environment. As policy_types says. */
#include "policies/policy_types_int.h"

#include "base/http1.h"

static const char *header_refusal(struct slice name, const char **hint)
{
    static const char *const ours[] = {"content-length",  "content-type", "content-encoding",
                                       "accept-encoding", "expect",       NULL};
    static const struct http1_head no_head;
    if (!http1_valid_name(name))
        return "is not a header name";
    if (http1_is_hop_by_hop(&no_head, name))
        return "belongs to one connection and cannot be set";
    if (slice_ieq(name, SLICE("host"))) {
        *hint = "it comes from url";
        return "cannot be set";
    }
    for (const char *const *h = ours; *h; h++)
        if (slice_ieq(name, slice_str(*h)))
            return "is set by weir itself";
    return NULL;
}

static void bind_header(struct binder *b, const struct spec_key *k, struct place *item,
                        struct policy_header *out, size_t *count)
{
    bool condition = k->flags & SPEC_GLOB;
    struct slice name = item->key_node->text, value;
    const char *hint = NULL;
    const char *why = condition ? (http1_valid_name(name) ? NULL : "is not a header name")
                                : header_refusal(name, &hint);
    if (why) {
        bind_error(b, item, hint, "%s %s", diag_quote(b->scratch, name), why);
        return;
    }
    if (condition && node_is_null(item->node)) {
        bind_error(b, item, "write \"*\" if any value will do", "'%s' has no value", name.p);
        return;
    }
    if (!bind_text(b, item, &value))
        return;
    if (!http1_valid_value(value)) {
        bind_error(b, item, NULL, "is not a header value");
        return;
    }
    bool present = condition && slice_eq(value, SLICE("*"));
    *out = (struct policy_header){arena_strdup(b->arena, name),
                                  present ? NULL : arena_strdup(b->arena, value)};
    bind_keep(b, item, out);
    ++*count;
}

void bind_headers(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (at->node->kind != NODE_MAP) {
        bind_error(b, at, "write {x-name: value}", "must be a mapping, not %s",
                   node_what(at->node));
        return;
    }
    struct policy_header *items = ARENA_ARRAY(b->arena, struct policy_header, at->node->count + 1);
    *LENGTH() = 0;
    for (size_t i = 0; i < at->node->count; i++) {
        const struct node_entry *e = &at->node->entries[i];
        struct place *item = bind_child(b, at, e, e->key->text.p, 0);
        bool again = false;
        for (size_t j = 0; j < *LENGTH() && j < 256; j++)
            again = again || slice_ieq(slice_str(items[j].name), e->key->text);
        if (again)
            bind_error(b, item, "header names do not tell upper and lower case apart",
                       "%s is given twice", diag_quote(b->scratch, e->key->text));
        else
            bind_header(b, k, item, &items[*LENGTH()], LENGTH());
    }
    *FIELD(struct policy_header *) = items;
    bind_keep(b, at, FIELD(struct policy_header *));
}

void bind_strings(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (at->node->kind != NODE_LIST) {
        bind_error(b, at, "write [program, argument, ...]: no shell takes it apart",
                   "must be a list of texts, not %s", node_what(at->node));
        return;
    }
    const char **items = ARENA_ARRAY(b->arena, const char *, at->node->count + 1);
    *LENGTH() = 0;
    for (size_t i = 0; i < at->node->count; i++) {
        struct place *item = bind_child(b, at, &at->node->entries[i], NULL, i);
        if (bind_verbatim(b, item))
            items[(*LENGTH())++] = arena_strdup(b->arena, item->node->text);
        if (i == 0 && item->node->kind == NODE_SCALAR && item->node->text.n == 0 &&
            !node_is_null(item->node))
            bind_error(b, item, NULL, "the program has no name");
    }
    if (at->node->count == 0)
        bind_error(b, at, "write [program, argument, ...]", "the list is empty");
    *FIELD(const char **) = items;
    bind_keep(b, at, FIELD(const char **));
}

/* POSIX.1-2017, 8.1: what every program can read. */
static bool is_variable(struct slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return name.n > 0;
}

void bind_env(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (at->node->kind != NODE_MAP) {
        bind_error(b, at, "write {NAME: value}", "must be a mapping, not %s", node_what(at->node));
        return;
    }
    const char **items = ARENA_ARRAY(b->arena, const char *, at->node->count + 1);
    *LENGTH() = 0;
    for (size_t i = 0; i < at->node->count; i++) {
        const struct node_entry *e = &at->node->entries[i];
        struct place *item = bind_child(b, at, e, e->key->text.p, 0);
        if (!is_variable(e->key->text))
            bind_error(b, item, "letters, digits and _, such as CUDA_VISIBLE_DEVICES",
                       "%s is not the name of a variable", diag_quote(b->scratch, e->key->text));
        else if (bind_verbatim(b, item))
            items[(*LENGTH())++] = arena_printf(b->arena, "%.*s=%.*s", SLICE_ARG(e->key->text),
                                                SLICE_ARG(item->node->text));
    }
    *FIELD(const char **) = items;
    bind_keep(b, at, FIELD(const char **));
}
