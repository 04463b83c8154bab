/* Objects, maps and lists of objects, and what refers to their names. As policy_types says. */
#include "policies/policy_types_int.h"

static struct names *index_of(struct binder *b, const void *array_field)
{
    if (array_field == &b->draft->backends)
        return &b->backend_names;
    if (array_field == &b->draft->models)
        return &b->model_names;
    return array_field == &b->draft->tenants ? &b->tenant_names : NULL;
}

/* Every element of a map begins with its name. */
void bind_map(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (at->node->kind != NODE_MAP) {
        bind_error(b, at, "write one 'name: {...}' per line",
                   "must be a mapping from names, not %s", node_what(at->node));
        return;
    }
    size_t n = at->node->count;
    if (n == 0)
        bind_error(b, at, NULL, "is empty; at least one %s is needed", k->object->name);
    /* Room for the encoder's backend, which policy_load may append: nothing may move. */
    char *items = arena_zalloc(b->arena, k->object->bytes * (n + 1));
    struct names *index = index_of(b, FIELD(void *));
    if (index)
        names_init(index, b->scratch, n);
    *FIELD(void *) = items;
    *LENGTH() = n;
    bind_keep(b, at, FIELD(void *));
    for (size_t i = 0; i < n; i++) {
        const struct node_entry *e = &at->node->entries[i];
        struct place *item = bind_child(b, at, e, e->key->text.p, i);
        void *element = items + i * k->object->bytes;
        const char *name = arena_strdup(b->arena, e->key->text);
        struct place named = *item;
        named.node = e->key;
        bind_name(b, &named, e->key->text, false);
        if (index)
            names_add(index, slice_str(name), i);
        bind_keep(b, item, element);
        bind_object(b, k->object, item, element, 0);
        *(const char **)element = name;
    }
}

/* An entry; what is no mapping may stand for its first key. */
static void bind_entry(struct binder *b, const struct spec_key *k, struct place *item,
                       void *element)
{
    if (!(k->flags & SPEC_SHORT) || item->node->kind == NODE_MAP) {
        bind_object(b, k->object, item, element, 0);
        return;
    }
    bind_object_defaults(b, k->object, element);
    bind_value(b, &k->object->keys[0], item, element);
}

/* An only entry stands where its list does: one node, two values. */
static struct place *place_of_only(struct binder *b, const struct place *list)
{
    struct place *p = ARENA_NEW(b->scratch, struct place);
    *p = *list;
    p->address = NULL;
    p->next = NULL;
    return p;
}

void bind_list(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bool one = (k->flags & SPEC_SHORT) && at->node->kind != NODE_LIST;
    if (at->node->kind != NODE_LIST && !one) {
        bind_error(b, at, "begin each entry with '- '", "must be a list, not %s",
                   node_what(at->node));
        return;
    }
    size_t n = one ? 1 : at->node->count;
    if (n == 0)
        bind_error(b, at,
                   base == b->draft ? "leave the key out to serve each model under its own name"
                                    : "leave the key out if nothing is meant",
                   "the list is empty");
    if (k->max && n > (size_t)k->max) {
        bind_error(b, at, NULL, "at most %lld are taken", (long long)k->max);
        return;
    }
    /* Room for routes that models_by_name appends: places are known by address, nothing may move.
     */
    bool routes = base == b->draft && FIELD(void *) == (void *)&b->draft->routes;
    size_t room = n + 1 + (routes ? b->draft->model_count : 0);
    char *items = arena_zalloc(b->arena, k->object->bytes * room);
    *FIELD(void *) = items;
    *LENGTH() = n;
    bind_keep(b, at, FIELD(void *));
    for (size_t i = 0; i < n; i++) {
        struct place *item =
            one ? place_of_only(b, at) : bind_child(b, at, &at->node->entries[i], NULL, i);
        void *element = items + i * k->object->bytes;
        bind_keep(b, item, element);
        if (routes) {
            ((struct policy_route *)element)->retry = b->draft->retry;
            ((struct policy_route *)element)->cache = b->draft->cache.use;
            ((struct policy_route *)element)->decide = b->draft->decide;
            ((struct policy_route *)element)->line = item->node->line;
        }
        bind_entry(b, k, item, element);
    }
}

void bind_in_place(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (k->at != 0) /* else the place would be taken for the whole struct's */
        bind_keep(b, at, FIELD(char));
    if ((k->flags & SPEC_SHORT) && at->node->kind != NODE_MAP)
        bind_value(b, &k->object->keys[0], at, FIELD(void));
    else
        bind_object(b, k->object, at, FIELD(void), k->flags & SPEC_INHERIT);
}

void bind_aliases(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (at->node->kind != NODE_MAP) {
        bind_error(b, at, "write one 'alias: name' per line",
                   "must be a mapping from names, not %s", node_what(at->node));
        return;
    }
    struct policy_alias *items = ARENA_ARRAY(b->arena, struct policy_alias, at->node->count + 1);
    *LENGTH() = 0;
    for (size_t i = 0; i < at->node->count; i++) {
        const struct node_entry *e = &at->node->entries[i];
        struct place *item = bind_child(b, at, e, e->key->text.p, i);
        struct place named = *item;
        named.node = e->key;
        struct slice target;
        if (!bind_name(b, &named, e->key->text, false))
            continue;
        if (node_is_null(item->node)) {
            bind_error(b, item, "give the name it stands for", "'%s' has no value", e->key->text.p);
            continue;
        }
        if (!bind_text(b, item, &target) || !bind_name(b, item, target, false))
            continue;
        struct policy_alias *alias = &items[(*LENGTH())++];
        alias->name = arena_strdup(b->arena, e->key->text);
        alias->target = alias->canonical = arena_strdup(b->arena, target);
        bind_keep(b, item, alias);
    }
    *FIELD(struct policy_alias *) = items;
    bind_keep(b, at, FIELD(struct policy_alias *));
}

static void bind_reference(struct binder *b, const struct spec_key *k, struct place *at, void *base,
                           const struct names *index, const char *noun)
{
    struct slice text;
    *FIELD(size_t) = SIZE_MAX;
    bind_keep(b, at, FIELD(size_t));
    if (!bind_text(b, at, &text) || (*FIELD(size_t) = names_get(index, text)) != NAMES_ABSENT)
        return;
    struct names_nearest near;
    bind_nearest_init(b, &near, text);
    bool models = index == &b->model_names;
    size_t n = models ? b->draft->model_count : b->draft->backend_count;
    const char *all = "";
    for (size_t i = 0; i < n; i++) {
        const char *name = models ? b->draft->models[i].name : b->draft->backends[i].name;
        names_nearest_offer(&near, name);
        if (i < 8)
            all = arena_printf(b->scratch, "%s%s%s", *all ? all : "there is ", *all ? ", " : "",
                               diag_clean(b->scratch, slice_str(name)));
    }
    const char *hint = near.best ? bind_did_you_mean(b, &near) : n > 8 ? NULL : *all ? all : NULL;
    bind_error(b, at, hint, "no %s %s", noun, bind_shown(b, at));
}

void bind_backend(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bind_reference(b, k, at, base, &b->backend_names, "backend");
}

void bind_model(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bind_reference(b, k, at, base, &b->model_names, "model");
}

static size_t count_below(const struct place *at, const char *key)
{
    const struct node_entry *e = node_find(at->node, slice_str(key));
    return e && e->value->kind == NODE_LIST ? e->value->count : 0;
}

/* The cascade and then the fall-backs go into one array, made large enough at the first of the two.
 */
void bind_steps(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    struct policy_route *route = base;
    bool cascade = strcmp(k->name, "cascade") == 0;
    if (at->node->kind != NODE_LIST || at->node->count == 0) {
        const char *hint =
            at->node->kind == NODE_SCALAR
                ? arena_printf(b->scratch, "write [%s]", diag_clean(b->scratch, at->node->text))
                : "write [first-model, second-model]";
        if (at->node->kind == NODE_LIST)
            bind_error(b, at, hint, "the list is empty");
        else
            bind_error(b, at, hint, "must be a list of models, not %s", node_what(at->node));
        return;
    }
    if (!route->steps)
        route->steps =
            ARENA_ARRAY(b->arena, struct policy_step,
                        count_below(at->up, "cascade") + count_below(at->up, "fallback") + 1);
    for (size_t i = 0; i < at->node->count; i++) {
        struct place *item = bind_child(b, at, &at->node->entries[i], NULL, i);
        struct policy_step *step = &route->steps[route->step_count];
        *step =
            (struct policy_step){.model = SIZE_MAX, .accept = POLICY_OFF, .samples = POLICY_NONE};
        if (item->node->kind == NODE_MAP)
            bind_object(b, k->object, item, step, 0);
        else
            bind_model(b, &k->object->keys[0], item, step);
        route->step_count += step->model != SIZE_MAX;
        if (route->step_count == POLICY_MAX_STEPS + 1)
            bind_error(b, item, NULL, "a route asks at most %d models", POLICY_MAX_STEPS);
    }
    if (cascade)
        route->cascade_count = route->step_count;
    bind_keep(b, at, cascade ? (void *)&route->cascade_count : (void *)&route->step_count);
}

void bind_prices(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bool list = at->node->kind == NODE_LIST;
    size_t n = list ? at->node->count : 1;
    if (at->node->kind == NODE_SCALAR || n == 0) {
        bind_error(
            b, at,
            "write {input: 2.00, output: 8.00}, in USD per million tokens, or {gpu_second: 0.0004}",
            n ? "must be a mapping, not %s" : "the list is empty", node_what(at->node));
        return;
    }
    struct policy_price *items = ARENA_ARRAY(b->arena, struct policy_price, n);
    for (size_t i = 0; i < n; i++) {
        struct place *item = list ? bind_child(b, at, &at->node->entries[i], NULL, i) : at;
        if (list)
            bind_keep(b, item, &items[i]);
        bind_object(b, k->object, item, &items[i], 0);
    }
    *FIELD(struct policy_price *) = items;
    *LENGTH() = n;
    bind_keep(b, at, FIELD(struct policy_price *));
}
