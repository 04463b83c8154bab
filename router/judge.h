/* Do two answers to one question say the same? From the cheap to the dear, until one knows:
 *
 *   texts    equal but for case, blanks and punctuation at the ends: the same
 *   JSON     equal values: the same
 *   numbers  short answers with other numbers: not the same
 *   vectors  of the encoder: hardly apart, and no gate of cache/guard.h between them: the same;
 *            with nothing in common: not
 *   a model  of the policy, asked for one JSON object {"same": true|false}, within a daily budget.
 *            The texts go to it as JSON strings, named as data: what stands in them is no order
 *
 * Nobody knows: that is an answer, too. For audits of the cache, and for whoever else compares.
 * threads: the worker's; `done` comes through its mailbox, never from within judge_start. */
#ifndef ROUTER_JUDGE_H
#define ROUTER_JUDGE_H

#include "backends/wire/wire.h"
#include "policies/policy.h"
#include "router/spend.h"

struct router_env;
struct snapshot;

enum judge_verdict { JUDGE_UNKNOWN, JUDGE_SAME, JUDGE_DIFFERENT, JUDGE_VERDICTS };
const char *judge_verdict_name(enum judge_verdict v); /* "unknown", "same", "different" */

enum judge_by { JUDGE_BY_NOBODY, JUDGE_BY_TEXT, JUDGE_BY_VECTORS, JUDGE_BY_MODEL, JUDGE_BYS };
const char *judge_by_name(enum judge_by b); /* "nobody", "text", "vectors", "model" */

/* A whole answer as the server of that dialect gives it, to a request of that API. */
struct judge_answer {
    enum wire_api api;
    enum wire_dialect dialect;
    struct slice body;
};

struct judge_spec {
    struct snapshot *snapshot;          /* a reference is taken */
    const struct policy_tenant *tenant; /* of its policy; pays for the model. NULL: none */
    const char *cause;                  /* x-request-id; copied */
    struct slice question;              /* what was asked; copied */
    struct judge_answer answers[2];     /* what they say is copied */
    const struct policy_judge *judge;   /* of the snapshot's policy */
    struct spend *cap; /* borrowed for the worker's life; NULL: no model is asked */
    /* Exactly once, if judge_start returned true. */
    void (*done)(void *ctx, enum judge_verdict v, enum judge_by by);
    void *ctx;
};

#define JUDGE_AT_ONCE 32 /* of one worker */

/* false: an answer cannot be read, or too many are under way. */
bool judge_start(struct router_env *env, const struct judge_spec *spec);

/* ---- the parts that are pure, for tests ---- */

/* What texts alone tell. */
enum judge_verdict judge_texts(struct slice a, struct slice b);
/* What the cosine of their vectors tells beside the texts. */
enum judge_verdict judge_vectors(double cosine, struct slice a, struct slice b);
/* What a model's reply means. */
enum judge_verdict judge_reply(struct slice text);

#endif
