/* YAML text -> struct policy. Control thread and CLI; never on the request path. The only room that
 * includes libyaml. Every problem is reported with file:line:column, the key's path and, for an
 * unknown name, the nearest valid one; all problems of a file are reported, not only the first. A
 * policy is returned only if there is no error. Reading keys from environment and files happens
 * here (policy_load_options); a missing one is an error with its place. */
#ifndef POLICIES_POLICY_LOAD_H
#define POLICIES_POLICY_LOAD_H

#include "base/arena.h"
#include "base/err.h"
#include "policies/policy.h"

enum diag_severity { DIAG_ERROR, DIAG_WARNING };

struct diag {
    enum diag_severity severity;
    const char *file;
    int line, column;    /* 1-based; 0 when the whole file is meant */
    const char *path;    /* "routes[0].cascade[1].model" */
    const char *message; /* one sentence, no newline */
    const char *hint;    /* "did you mean 'gpt-4.1'?" or NULL */
};

struct diags { /* owns its strings */
    struct diag *items;
    size_t count, errors;
    struct arena *arena;
};
void diags_init(struct diags *d);
void diags_clear(struct diags *d);
/* "weir.yaml:12:7: error: routes[0].cascade[1].model: no model 'gpt-4'; did you mean 'gpt-4.1'?"
 * into out; returns needed length */
size_t diag_format(const struct diag *d, char *out, size_t out_bytes);

/* What an encoder knows by itself, which this room cannot find out. */
struct policy_labels {
    const char *const *names; /* of the class head; in the arena */
    size_t count;
};

struct policy_load_options {
    const char *(*getenv_fn)(const char *name, void *ctx); /* NULL: getenv(3) */
    void *ctx;
    bool resolve_secrets; /* false (weir check --no-secrets): key_env and key_file are not read,
                             only their form is checked */
    /* Looks at the encoder that a policy wants. ERR_OK with *out; ERR_NOT_FOUND when a file is not
     * here, else what is wrong with it: then *key names the key of the section and why is a
     * sentence. NULL: the encoder is not looked at, nor classes that the policy does not declare.
     */
    enum err (*labels_fn)(void *labels_ctx, const struct policy_encoder *e, struct arena *a,
                          struct policy_labels *out, const char **key, struct err_text *why);
    void *labels_ctx;
};

/* From memory; file names the source in messages and is the base of relative paths.
 * ERR_INVALID_POLICY with diags filled. */
enum err policy_load_text(struct slice text, const char *file,
                          const struct policy_load_options *opt, struct diags *d,
                          struct policy **out) MUST_CHECK;
/* From a file (at most 4 MiB). ERR_NOT_FOUND when it cannot be read (said in diags). */
enum err policy_load_file(const char *file, const struct policy_load_options *opt, struct diags *d,
                          struct policy **out) MUST_CHECK;

#endif
