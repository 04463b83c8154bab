/* Binding nodes to structs as policy_spec says. Inside this room only. Single-threaded.
 *
 * Every value that is bound leaves a place behind, found again by the address it was stored at, so
 * that the checks that come later (policy_check) can say where a thing is written. */
#ifndef POLICIES_POLICY_BIND_INT_H
#define POLICIES_POLICY_BIND_INT_H

#include "base/arena.h"
#include "policies/policy.h"
#include "policies/policy_diag_int.h"
#include "policies/policy_names.h"
#include "policies/policy_node.h"
#include "policies/policy_spec.h"

/* What the top level is bound to. */
struct draft {
    struct policy *policy;
    int64_t version;
    struct policy_server server;
    struct policy_retry retry;
    struct policy_cache cache;
    struct policy_decide decide;
    struct policy_backend *backends;
    size_t backend_count;
    struct policy_model *models;
    size_t model_count;
    struct policy_alias *aliases;
    size_t alias_count;
    struct policy_route *routes;
    size_t route_count;
    size_t written_routes; /* the first so many are the operator's own */
    bool models_by_name;
    struct policy_tenant *tenants;
    size_t tenant_count;
    struct policy_encoder encoder;
    struct policy_class *classes;
    size_t class_count;
};

/* What one entry of a tenant's keys is bound to; exactly one is written. */
struct tenant_key_source {
    const char *env, *sha256, *file;
};

struct place {
    const struct place *up; /* NULL: the file */
    const char *key;        /* NULL: element index of a list */
    size_t index;
    const struct node *node;     /* the value */
    const struct node *key_node; /* NULL in a list */
    const void *address;         /* what it was bound to */
    struct place *next;          /* same slot of the table */
};

struct binder {
    struct arena *arena;   /* the policy's: what is bound lives here */
    struct arena *scratch; /* the load's: places and text for messages */
    struct diags *diags;
    const char *file;
    const struct policy_load_options *options;
    struct draft *draft;
    struct place **places; /* by address */
    size_t place_mask, place_count;
    int64_t now_wall_us;
    struct names backend_names, model_names, tenant_names; /* name -> index, once these are bound */
};

void binder_init(struct binder *b);
/* Binds the whole file; false is never returned: what is wrong is in diags. */
void binder_run(struct binder *b, const struct node *root);

/* The outermost / innermost place whose value was stored at that address; never NULL (the file
 * itself at worst). */
const struct place *binder_place(const struct binder *b, const void *address);
const struct place *binder_place_inner(const struct binder *b, const void *address);
/* Was this key of an object written (rather than filled in by default)? */
bool binder_written(const struct binder *b, const void *address);
/* The place of a member below a place, e.g. ("price"); the place itself if there is none. */
const struct place *binder_below(struct binder *b, const struct place *at, const char *key);

/* Reports at a place. hint may be NULL. */
void bind_error(struct binder *b, const struct place *at, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void bind_warning(struct binder *b, const struct place *at, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Begins the search for a hint; when the report is full there is none to find. */
void bind_nearest_init(const struct binder *b, struct names_nearest *near, struct slice wanted);
/* "did you mean 'x'?" in scratch memory, or NULL. */
const char *bind_did_you_mean(struct binder *b, const struct names_nearest *near);

/* Between policy_bind and policy_types. */
struct place *bind_child(struct binder *b, const struct place *up, const struct node_entry *e,
                         const char *key, size_t index);
void bind_keep(struct binder *b, struct place *at, const void *address);
void bind_object(struct binder *b, const struct spec_object *o, const struct place *at, void *base,
                 unsigned flags);
void bind_object_defaults(struct binder *b, const struct spec_object *o, void *base);
/* Stores the value at `at` into the member k of the struct at base. */
void bind_value(struct binder *b, const struct spec_key *k, struct place *at, void *base);
/* The node must be a scalar of text (not a number, boolean or null); reports and returns false
 * otherwise. */
bool bind_text(struct binder *b, const struct place *at, struct slice *out);
bool bind_name(struct binder *b, const struct place *at, struct slice text, bool glob);

#endif
