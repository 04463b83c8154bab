/* Why a request goes where it goes, without sending it: each route up to the one that is taken and
 * what it missed, the models that would be asked in order, and what each would cost. The same
 * matching as on the request path. Any thread; allocates. */
#ifndef POLICIES_POLICY_EXPLAIN_H
#define POLICIES_POLICY_EXPLAIN_H

#include "base/arena.h"
#include "base/buf.h"
#include "policies/policy.h"

struct policy_explained_route {
    const struct policy_route *route;
    bool taken;
    const char
        *why; /* "model is 'a', not b or c": what it missed; for the one taken: what it matched */
};

struct policy_explained_step {
    const struct policy_model *model;
    const struct policy_backend *backend;
    const struct policy_price *price; /* in force now */
    bool fallback;                    /* asked only when the whole cascade failed */
    struct policy_guess guess;        /* of one attempt */
    const char *note;                 /* "the prompt is longer than its context" or NULL */
};

struct policy_explanation {
    struct arena arena;          /* owns what follows */
    const struct policy *policy; /* borrowed: must outlive this */
    const char *model;           /* as asked */
    const char *canonical;       /* where its aliases lead; equal to model when it is none */
    const char *api;             /* "chat" ... */
    bool known;
    const char *nearest;    /* when not known: a name that is, or NULL */
    const char *class_name; /* of the query; "": none, or not classified */
    double class_confidence;
    const char *class_note; /* one line for people about how it was classified; NULL: none; set by
                               the caller, borrowed */
    bool timely;            /* the answer depends on when it is asked; set by the caller */
    int64_t input_tokens;   /* estimated: a quarter of the bytes */
    struct policy_explained_route *routes; /* in order, up to the one taken */
    size_t route_count;
    struct policy_explained_step *steps;
    size_t step_count;
    const struct policy_tenant *tenant; /* who asks; NULL: nobody's key */
    const char *const *decisions;       /* lines: how the route judges its answers */
    size_t decision_count;              /* 0: it does not */
};

/* prompt_bytes: size of the request's body or prompt. q->prompt_tokens is what routes are matched
 * on. */
void policy_explain(const struct policy *p, const struct policy_query *q, int64_t prompt_bytes,
                    struct policy_explanation *out);
void policy_explanation_clear(struct policy_explanation *e);
enum err policy_explanation_write_text(const struct policy_explanation *e,
                                       struct buf *out) MUST_CHECK;
enum err policy_explanation_write_json(const struct policy_explanation *e,
                                       struct buf *out) MUST_CHECK;

#endif
