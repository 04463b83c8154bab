/* What changes between two policies: in what they say, and for whom. Any thread; allocates. Secrets
 * are compared, never shown. */
#ifndef POLICIES_POLICY_DIFF_H
#define POLICIES_POLICY_DIFF_H

#include "base/arena.h"
#include "base/buf.h"
#include "policies/policy.h"

enum policy_change_how { CHANGE_ADDED, CHANGE_REMOVED, CHANGE_CHANGED };

struct policy_change {
    enum policy_change_how how;
    const char *kind; /* "server", "encoder", "backend", "model", "class", "alias", "route",
                         "tenant" */
    const char *name; /* "" for the server and the encoder */
    const char *key;  /* "timeouts.connect"; "" when the whole thing came or went */
    const char *before, *after; /* "" when there is none */
    bool restart;               /* takes effect only after a restart */
};

/* What a request gets: the route and its models in order. */
struct policy_outcome {
    const char *route;  /* NULL: none */
    const char *models; /* "a, b"; when route is NULL: why */
};

struct policy_effect {
    const char *model;  /* the name asked for */
    const char *tenant; /* NULL: every tenant; "(no key)": who has none */
    const char *api;    /* NULL: every API */
    const char *when;   /* "tags x; about 8000 prompt tokens"; NULL: always */
    struct policy_outcome before, after;
};

struct policy_diff {
    struct arena arena;             /* owns what follows */
    const struct policy *old, *new; /* borrowed: must outlive this */
    struct policy_change *changes;
    size_t change_count;
    struct policy_effect *effects;
    size_t effect_count;
    size_t change_cap, effect_cap; /* private */
    bool truncated;                /* the policies tell more requests apart than were tried */
    bool restart;                  /* some change needs a restart */
};

void policy_diff(const struct policy *old, const struct policy *new, struct policy_diff *out);
void policy_diff_clear(struct policy_diff *d);
enum err policy_diff_write_text(const struct policy_diff *d, struct buf *out) MUST_CHECK;
enum err policy_diff_write_json(const struct policy_diff *d, struct buf *out) MUST_CHECK;

/* Would a reload from old to new change what only a restart can? why (may be NULL) then names the
 * keys. */
bool policy_restart_needed(const struct policy *old, const struct policy *new,
                           struct err_text *why);

#endif
