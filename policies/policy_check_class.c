/* The encoder section, the classes that a policy declares, and the routes that match on a class.
 * Which labels the encoder's own heads know is asked of policy_load_options.labels_fn. Thread: the
 * loader's. Called by policy_load (completing) and policy_check. */
#include "policies/policy_check_int.h"
#include "policies/policy_secret_int.h"

/* ---- completing ---- */

static bool is_static(const struct policy_encoder *e)
{
    return strcmp(e->model, POLICY_ENCODER_STATIC) == 0;
}

/* A model of weir's own needs no backend, and can do one thing. */
static void complete_model(struct binder *b, struct policy_model *m)
{
    const struct place *at = binder_place(b, m);
    if (!m->encoder) {
        if (!policy_check_given(at, "backend") && at->node && at->node->kind == NODE_MAP)
            bind_error(b, at, "the backend that serves it, or 'encoder: true'",
                       "the key 'backend' is missing");
        return;
    }
    if (policy_check_given(at, "backend"))
        bind_error(b, binder_place(b, &m->encoder), "keep one of the two",
                   "backend and 'encoder: true' contradict each other");
    if (policy_check_given(at, "name"))
        bind_error(b, binder_below(b, at, "name"), "remove it",
                   "the encoder has no other name for it");
    if (binder_written(b, &m->capabilities) && m->capabilities != CAP_EMBEDDINGS)
        bind_error(b, binder_place(b, &m->capabilities), "write [embeddings], or leave it out",
                   "the encoder only embeds");
    m->capabilities = CAP_EMBEDDINGS;
    if (is_static(&b->draft->encoder))
        bind_error(b, binder_place(b, &m->encoder),
                   "add 'encoder: {model: all-minilm-l6-v2}' at the top level",
                   "no transformer is configured that could serve '%s'", m->name);
}

void policy_complete_encoder(struct binder *b)
{
    struct policy_encoder *e = &b->draft->encoder;
    if (!binder_written(b, e))
        e->model = POLICY_ENCODER_STATIC;
    else if (strchr(e->model, '/'))
        e->model = secret_path(b, slice_str(e->model));
    for (size_t i = 0; i < b->draft->model_count; i++)
        complete_model(b, &b->draft->models[i]);
}

/* ---- checks ---- */

/* What only a transformer has a use for. */
static void check_static(struct binder *b, const struct policy_encoder *e)
{
    static const char *const useless[] = {"device",     "precision", "threads",      "max_queued",
                                          "max_tokens", "max_wait",  "static_first", "price"};
    const struct place *at = binder_place(b, e);
    for (size_t i = 0; i < sizeof useless / sizeof useless[0]; i++)
        if (policy_check_given(at, useless[i]))
            bind_error(b, binder_below(b, at, useless[i]), "remove it, or name a transformer",
                       "has no effect with 'model: %s'", POLICY_ENCODER_STATIC);
}

static void check_encoder(struct binder *b, const struct policy_encoder *e)
{
    if (binder_written(b, e) && is_static(e))
        check_static(b, e);
    if (e->device == POLICY_DEVICE_CPU && e->precision == POLICY_PRECISION_FP16)
        bind_error(b, binder_place(b, &b->draft->encoder.precision), "write int8 or fp32",
                   "a CPU does not compute in fp16");
    if (e->device == POLICY_DEVICE_CUDA &&
        (e->precision == POLICY_PRECISION_INT8 || e->precision == POLICY_PRECISION_FP32))
        bind_error(b, binder_place(b, &b->draft->encoder.precision), "write fp16 or leave it out",
                   "the GPU's kernels compute in fp16 only");
}

/* What the heads know; false when it cannot be told, which has been said where it is a fault. */
static bool labels_of(struct binder *b, const struct policy *p, struct policy_labels *out)
{
    const struct policy_encoder *e = &b->draft->encoder;
    const char *key = NULL;
    struct err_text why = {""};
    if (!b->options->labels_fn)
        return false;
    enum err err = b->options->labels_fn(b->options->labels_ctx, e, b->scratch, out, &key, &why);
    if (err == ERR_OK)
        return true;
    if (err == ERR_NOT_FOUND && !b->options->resolve_secrets)
        return false;
    const struct place *at = binder_place(b, e);
    if (!binder_written(b, e) && p->cache.semantic)
        bind_error(b, policy_semantic_place(b, p), NULL, "answers by meaning: %s", why.s);
    else
        bind_error(b, key ? binder_below(b, at, key) : at, NULL, "%s", why.s);
    return false;
}

static void offer_labels(struct names_nearest *near, const struct policy *p,
                         const struct policy_labels *labels)
{
    for (size_t i = 0; i < p->class_count; i++)
        names_nearest_offer(near, p->classes[i].name);
    for (size_t i = 0; i < labels->count; i++)
        names_nearest_offer(near, labels->names[i]);
}

static const char *known_labels(struct binder *b, const struct policy *p,
                                const struct policy_labels *labels)
{
    const char *all = "";
    for (size_t i = 0; i < p->class_count + labels->count && i < 24; i++)
        all = arena_printf(b->scratch, "%s%s%s", all, *all ? ", " : "there is ",
                           i < p->class_count ? p->classes[i].name
                                              : labels->names[i - p->class_count]);
    return *all ? all : "declare it under 'classes' by a few examples";
}

static bool is_label(const struct policy *p, const struct policy_labels *labels, const char *name)
{
    for (size_t i = 0; i < p->class_count; i++)
        if (strcmp(p->classes[i].name, name) == 0)
            return true;
    for (size_t i = 0; i < labels->count; i++)
        if (strcmp(labels->names[i], name) == 0)
            return true;
    return false;
}

static void check_name(struct binder *b, const struct policy *p, const struct policy_labels *labels,
                       const char *name, const struct place *at)
{
    if (is_label(p, labels, name))
        return;
    struct names_nearest near;
    bind_nearest_init(b, &near, slice_str(name));
    offer_labels(&near, p, labels);
    const char *hint = bind_did_you_mean(b, &near);
    bind_error(b, at, hint ? hint : known_labels(b, p, labels),
               "neither 'classes' nor the class head knows '%s'", name);
}

static void check_names(struct binder *b, const struct policy *p, const struct policy_match *m,
                        const struct policy_labels *labels)
{
    for (size_t i = 0; i < m->class_count; i++) {
        const struct place *item = binder_place(b, &m->classes[i]);
        check_name(b, p, labels, m->classes[i], item->node ? item : binder_place(b, &m->classes));
    }
}

/* Whose requests are pinned by class; a section that was inherited is checked where it is written.
 */
static void check_pins(struct binder *b, const struct policy *p, const struct policy_explore *e,
                       const struct policy_labels *labels)
{
    for (size_t i = 0; binder_written(b, &e->pins) && i < e->pin_count; i++)
        if (e->pins[i].class_name)
            check_name(b, p, labels, e->pins[i].class_name,
                       binder_place(b, &e->pins[i].class_name));
}

/* What is written and changes nothing. */
static void check_use(struct binder *b, const struct policy *p)
{
    bool serves = p->cache.semantic;
    for (size_t i = 0; i < p->model_count; i++)
        serves = serves || p->models[i].encoder;
    if (binder_written(b, &b->draft->encoder) && !p->matches_class && !serves)
        bind_warning(b, binder_place(b, &b->draft->encoder), "match on a class, or remove it",
                     "no route matches on a class or answers by meaning, and no model is served by "
                     "the encoder");
    for (size_t c = 0; c < p->class_count; c++) {
        bool used = false;
        for (size_t i = 0; i < p->route_count; i++)
            for (size_t j = 0; j < p->routes[i].match.class_count; j++)
                used = used || strcmp(p->routes[i].match.classes[j], p->classes[c].name) == 0;
        if (!used && !p->decides)
            bind_warning(b, binder_place(b, &p->classes[c]), "match on it, or remove it",
                         "no route matches on this class");
    }
}

void policy_check_classes(struct binder *b, const struct policy *p)
{
    struct policy_labels labels = {0};
    check_encoder(b, &b->draft->encoder);
    for (size_t i = POLICY_MAX_CLASSES; i < p->class_count; i++)
        bind_error(b, binder_place(b, &p->classes[i]), NULL, "at most %d classes can be declared",
                   POLICY_MAX_CLASSES);
    for (size_t i = 0; i < p->route_count; i++) {
        const struct policy_match *m = &p->routes[i].match;
        if (m->class_count == 0 && binder_written(b, &m->min_confidence))
            bind_error(b, binder_place(b, &m->min_confidence), "name the class that it is about",
                       "min_confidence has no effect without 'class'");
    }
    bool wanted = p->matches_class || p->cache.semantic || binder_written(b, &b->draft->encoder);
    if (wanted && labels_of(b, p, &labels)) {
        for (size_t i = 0; i < p->route_count; i++)
            check_names(b, p, &p->routes[i].match, &labels);
        check_pins(b, p, &b->draft->decide.explore, &labels);
        for (size_t i = 0; i < b->draft->written_routes; i++)
            check_pins(b, p, &p->routes[i].decide.explore, &labels);
    }
    if (b->diags->errors == 0)
        check_use(b, p);
}
