/* The walk over a file's nodes, driven by policy_spec: which key, which object, what is missing,
 * unknown or reserved. The types of single values are in policy_types. Owns the places of what was
 * bound. Thread: the loader's. Called by policy_load. */
#include "policies/policy_bind_int.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

/* ---- places ---- */

static size_t address_slot(const struct binder *b, const void *address)
{
    uint64_t x = (uint64_t)(uintptr_t)address * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(x >> 32) & b->place_mask;
}

static void places_grow(struct binder *b)
{
    size_t cap = b->places ? (b->place_mask + 1) * 2 : 256;
    struct place **old = b->places;
    size_t old_cap = old ? b->place_mask + 1 : 0;
    b->places = ARENA_ARRAY(b->scratch, struct place *, cap);
    b->place_mask = cap - 1;
    for (size_t i = 0; i < old_cap; i++) {
        while (old[i]) { /* appended at the tail, so that the outermost stays first */
            struct place *p = old[i];
            old[i] = p->next;
            p->next = NULL;
            struct place **tail = &b->places[address_slot(b, p->address)];
            while (*tail)
                tail = &(*tail)->next;
            *tail = p;
        }
    }
}

void binder_init(struct binder *b)
{
    places_grow(b);
}

void bind_keep(struct binder *b, struct place *at, const void *address)
{
    if (at->address)
        return;
    if (b->place_count > b->place_mask)
        places_grow(b);
    at->address = address;
    struct place **tail = &b->places[address_slot(b, address)];
    while (*tail)
        tail = &(*tail)->next;
    *tail = at;
    b->place_count++;
}

static const struct place file_place;

const struct place *binder_place(const struct binder *b, const void *address)
{
    for (const struct place *p = b->places[address_slot(b, address)]; p; p = p->next)
        if (p->address == address)
            return p;
    return &file_place;
}

const struct place *binder_place_inner(const struct binder *b, const void *address)
{
    const struct place *last = &file_place;
    for (const struct place *p = b->places[address_slot(b, address)]; p; p = p->next)
        if (p->address == address)
            last = p;
    return last;
}

bool binder_written(const struct binder *b, const void *address)
{
    return binder_place(b, address) != &file_place;
}

struct place *bind_child(struct binder *b, const struct place *up, const struct node_entry *e,
                         const char *key, size_t index)
{
    struct place *p = ARENA_NEW(b->scratch, struct place);
    *p = (struct place){.up = up, .key = key, .index = index, .node = e->value, .key_node = e->key};
    return p;
}

const struct place *binder_below(struct binder *b, const struct place *at, const char *key)
{
    const struct node_entry *e = at->node ? node_find(at->node, slice_str(key)) : NULL;
    return e ? bind_child(b, at, e, key, 0) : at;
}

/* A key that would be misread in a path ("a.b") stands in brackets. */
static const char *path_step(struct arena *a, const struct place *at, bool first)
{
    if (!at->key)
        return arena_printf(a, "[%zu]", at->index);
    const char *key = diag_clean(a, slice_str(at->key));
    if (strpbrk(key, ". []:") && !first)
        return arena_printf(a, "[\"%s\"]", key);
    return arena_printf(a, "%s%s", first ? "" : ".", key);
}

static const char *place_path(struct arena *a, const struct place *at)
{
    if (!at->up)
        return "";
    const char *before = place_path(a, at->up);
    return arena_printf(a, "%s%s", before, path_step(a, at, !*before));
}

static __attribute__((format(printf, 5, 0))) void report(struct binder *b,
                                                         enum diag_severity severity,
                                                         const struct place *at, const char *hint,
                                                         const char *fmt, va_list ap)
{
    char text[1024];
    vsnprintf(text, sizeof text, fmt, ap);
    struct diag_place place = {b->file, at->node ? at->node->line : 0,
                               at->node ? at->node->column : 0, place_path(b->scratch, at)};
    diags_add(b->diags, severity, place, hint, "%s", text);
}

void bind_error(struct binder *b, const struct place *at, const char *hint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report(b, DIAG_ERROR, at, hint, fmt, ap);
    va_end(ap);
}

void bind_warning(struct binder *b, const struct place *at, const char *hint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report(b, DIAG_WARNING, at, hint, fmt, ap);
    va_end(ap);
}

void bind_nearest_init(const struct binder *b, struct names_nearest *near, struct slice wanted)
{
    names_nearest_init(near, wanted);
    if (b->diags->count >= DIAGS_MAX)
        names_nearest_stop(near);
}

const char *bind_did_you_mean(struct binder *b, const struct names_nearest *near)
{
    return near->best ? arena_printf(b->scratch, "did you mean '%s'?", near->best) : NULL;
}

/* ---- objects ---- */

static bool word_in(const char *words, struct slice word)
{
    while (words && *words) {
        size_t n = strcspn(words, " ");
        if (slice_ieq(slice_make(words, n), word))
            return true;
        words += n + (words[n] == ' ');
    }
    return false;
}

static const struct spec_key *key_of(const struct spec_object *o, struct slice name)
{
    for (size_t i = 0; i < o->count; i++)
        if (slice_eq(slice_str(o->keys[i].name), name))
            return &o->keys[i];
    return NULL;
}

/* A key's name from another product, or mistyped; failing both, what there is. */
static const char *key_hint(struct binder *b, const struct spec_object *o, struct slice name)
{
    struct names_nearest near;
    bind_nearest_init(b, &near, name);
    const char *all = "";
    for (size_t i = 0; i < o->count; i++) {
        const struct spec_key *k = &o->keys[i];
        if (word_in(k->also, name))
            return arena_printf(b->scratch, "did you mean '%s'?", k->name);
        names_nearest_offer(&near, k->name);
        all = arena_printf(b->scratch, "%s%s%s", all, *all ? ", " : "", k->name);
    }
    return near.best ? bind_did_you_mean(b, &near)
                     : arena_printf(b->scratch, "known here: %s", all);
}

static bool uses_alias(const struct node *n)
{
    if (n->used)
        return true;
    for (size_t i = 0; i < n->count; i++)
        if (uses_alias(n->entries[i].value))
            return true;
    return false;
}

/* A fault of the key itself points at the key, not at its value. */
static struct place *key_place(struct binder *b, const struct place *up, const struct node_entry *e)
{
    struct place *p = bind_child(b, up, e, e->key->text.p, 0);
    p->node = e->key;
    return p;
}

static void unknown_keys(struct binder *b, const struct spec_object *o, const struct place *at)
{
    for (size_t i = 0; i < at->node->count && b->diags->count < DIAGS_MAX; i++) {
        const struct node_entry *e = &at->node->entries[i];
        if (key_of(o, e->key->text))
            continue;
        struct place *p = key_place(b, at, e);
        bool top = o == &spec_policy;
        if (!top || !slice_starts(e->key->text, SLICE("x-")))
            bind_error(b, p, key_hint(b, o, e->key->text), "unknown key %s",
                       diag_quote(b->scratch, e->key->text));
        else if (!uses_alias(e->value))
            bind_error(b, p, "put an &anchor on it and use it with *anchor, or remove it",
                       "keys that begin with x- hold anchors for use elsewhere, and nothing uses "
                       "this one");
    }
}

/* A default as a node: lists are written [a, b] in the table, everything else is a plain scalar. */
static struct node *default_node(struct binder *b, const char *text)
{
    struct node *n = ARENA_NEW(b->scratch, struct node);
    *n = (struct node){.kind = NODE_SCALAR, .plain = true, .text = slice_str(text), .weight = 1};
    if (text[0] != '[')
        return n;
    n->kind = NODE_LIST;
    n->entries = ARENA_ARRAY(b->scratch, struct node_entry, strlen(text));
    for (const char *p = text + 1; *p && *p != ']'; n->count++) {
        size_t len = strcspn(p, ",]");
        n->entries[n->count].value = default_node(b, arena_strdup(b->scratch, slice_make(p, len)));
        p += len + strspn(p + len, ", ");
    }
    return n;
}

static void bind_default(struct binder *b, const struct spec_key *k, void *base)
{
    void *field = (char *)base + k->at;
    if (k->type == SPEC_OBJECT) {
        if (!(k->flags & SPEC_INHERIT))
            bind_object_defaults(b, k->object, field);
    } else if (k->deflt) {
        struct place at = {.key = k->name, .node = default_node(b, k->deflt)};
        at.address = field; /* leaves no place behind: it was not written */
        size_t errors = b->diags->errors;
        bind_value(b, k, &at, base);
        assert(b->diags->errors == errors); /* the table contradicts itself */
        (void)errors;
    } else if (k->type == SPEC_INT || k->type == SPEC_DURATION || k->type == SPEC_SIZE ||
               k->type == SPEC_USD) {
        *(int64_t *)field = POLICY_NONE;
    } else if (k->type == SPEC_BACKEND || k->type == SPEC_MODEL) {
        *(size_t *)field = SIZE_MAX;
    } else if (k->type == SPEC_FRACTION) {
        *(double *)field = POLICY_OFF;
    } else if (k->type == SPEC_TIME) {
        *(int64_t *)field = INT64_MIN;
    }
}

void bind_object_defaults(struct binder *b, const struct spec_object *o, void *base)
{
    for (size_t i = 0; i < o->count; i++)
        bind_default(b, &o->keys[i], base);
}

/* A help sentence as the rest of a message: "The API." -> "the API"; "USD per ..." stays. */
static const char *help_as_hint(struct binder *b, const char *help)
{
    char *hint = arena_strdup(b->scratch, slice_str(help));
    size_t n = strlen(hint);
    if (n > 1 && hint[0] >= 'A' && hint[0] <= 'Z' && hint[1] >= 'a' && hint[1] <= 'z')
        hint[0] = (char)(hint[0] + 32);
    if (n && hint[n - 1] == '.')
        hint[n - 1] = '\0';
    return hint;
}

/* What lies in an object that arrives filled in is filled in as well. */
static void bind_inherited(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    struct spec_key filled = *k;
    filled.flags |= SPEC_INHERIT;
    bind_value(b, &filled, at, base);
}

static void bind_key(struct binder *b, const struct spec_key *k, const struct place *at, void *base,
                     unsigned flags)
{
    const struct node_entry *e = node_find(at->node, slice_str(k->name));
    if (!e) {
        if (k->flags & SPEC_REQUIRED)
            bind_error(b, at, help_as_hint(b, k->help), "the key '%s' is missing", k->name);
        return;
    }
    struct place *p = bind_child(b, at, e, k->name, 0);
    if (node_is_null(e->value)) {
        const char *none = k->flags & SPEC_NONE ? "write none, or leave the key out for the default"
                                                : "give it a value, or leave the key out";
        bind_error(b, p, none, "'%s' has no value", k->name);
        return;
    }
    if ((flags & SPEC_INHERIT) && k->type == SPEC_OBJECT)
        bind_inherited(b, k, p, base);
    else
        bind_value(b, k, p, base);
}

void bind_object(struct binder *b, const struct spec_object *o, const struct place *at, void *base,
                 unsigned flags)
{
    if (!(flags & SPEC_INHERIT))
        bind_object_defaults(b, o, base);
    if (at->node->kind != NODE_MAP) {
        bind_error(b, at,
                   arena_printf(b->scratch, "write {%s: ..., ...} or one 'key: value' per line",
                                o->keys[0].name),
                   "must be a mapping, not %s", node_what(at->node));
        return;
    }
    unknown_keys(b, o, at);
    for (size_t i = 0; i < o->count; i++)
        bind_key(b, &o->keys[i], at, base, flags);
}

void binder_run(struct binder *b, const struct node *root)
{
    struct place *at = ARENA_NEW(b->scratch, struct place);
    at->node = root;
    bind_object(b, &spec_policy, at, b->draft, 0);
}
