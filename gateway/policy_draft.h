/* A policy on its way to serving: its text is read and checked, the encoder that it asks for is
 * opened, its classifier is built. Tenths of a second with a transformer, so that a reload does it
 * on a thread of its own (policy_reload.h); a start does it in place.
 *
 * Touches nothing but what it was given: any thread, one at a time. */
#ifndef GATEWAY_POLICY_DRAFT_H
#define GATEWAY_POLICY_DRAFT_H

#include <stdatomic.h>
#include "policies/policy_load.h"
#include "router/classifier.h"
#include "router/embedder.h"

struct learner;

struct policy_draft {
    /* given */
    const char *file; /* borrowed: where the text is, or what it is named after */
    char *text;       /* owned; NULL: the file's */
    size_t text_bytes;
    struct embedder **lent; /* owned array of held encoders: taken again where one suits */
    size_t lent_count;
    struct classifier *last; /* a reference, or NULL: taken again where it suits */
    struct learner *learner; /* borrowed: builds the policy's beliefs; NULL: it is not open yet */
    _Atomic bool stop;       /* set by another thread: nobody waits for the result any more */

    /* made */
    struct diags diags;
    struct policy *policy;         /* NULL: the text is not valid, diags say why */
    struct classifier *classifier; /* NULL: the policy needs none */
    struct embedder *embedder;     /* likewise; one of lent, or fresh */
    struct embedder *fresh;        /* owned: opened for this policy */
};

void policy_draft_init(struct policy_draft *d, const char *file);
void policy_draft_clear(struct policy_draft *d);

/* May this draft take up what is open? All are held until it is cleared; last may be NULL. */
void policy_draft_lend(struct policy_draft *d, struct embedder *const *open, size_t count,
                       struct classifier *last);

/* Fills in policy, or diags. An encoder is only looked at. Errors of policy_load_text and
 * policy_load_file. */
enum err policy_draft_check(struct policy_draft *d) MUST_CHECK;
/* The same, but an encoder that is looked at is opened for good, so that it is read once. */
enum err policy_draft_read(struct policy_draft *d) MUST_CHECK;
/* After policy_draft_read: encoder, classifier, beliefs. ERR_OK also when the policy needs neither;
 * else why names the file. ERR_DRAINING: told to stop. */
enum err policy_draft_build(struct policy_draft *d, struct err_text *why) MUST_CHECK;

#endif
