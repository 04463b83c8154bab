/* Reloads, one after the other: each job's policy is read and its encoder opened on a thread of its
 * own, so that signals, drain and the admin API go on meanwhile; what it made comes back through
 * control's mailbox. Jobs are decided in the order in which they were asked for, so the newest
 * serves in the end and none is lost. Control thread. */
#ifndef GATEWAY_POLICY_RELOAD_H
#define GATEWAY_POLICY_RELOAD_H

#include <pthread.h>
#include "base/mailbox.h"
#include "gateway/policy_draft.h"

#define POLICY_RELOAD_MAX_WAITING 32 /* LOADs may be one each more: they never stand in a row */

struct control_verdict;
struct policy_job;
struct policy_reload;

struct policy_reload_owner {
    struct mailbox *mailbox;                         /* its receiver_ctx is ctx */
    void (*lend)(void *ctx, struct policy_draft *d); /* a job begins: what is open? */
    void (*made)(void *ctx, struct policy_job *job); /* its turn; freed afterwards */
    void *ctx;
};

enum policy_job_kind { POLICY_JOB_LOAD, POLICY_JOB_TRY, POLICY_JOB_PUT };

struct policy_job {
    enum policy_job_kind kind; /* LOAD: of the file; TRY, PUT: of draft.text */
    char origin[64];
    char *if_match;                                              /* owned; NULL: none */
    void (*decided)(void *ctx, const struct control_verdict *v); /* the owner calls it, or NULL */
    void *ctx;

    struct policy_draft draft;
    enum err err; /* of the draft, once made; ERR_DRAINING: the process ends */
    struct err_text why;

    struct message msg;
    struct list link; /* of policy_reload.waiting */
    struct policy_reload *reload;
    pthread_t thread;
    bool threaded;
};

struct policy_reload *policy_reload_new(const struct policy_reload_owner *owner);
/* Every job has been made, with ERR_DRAINING at the latest. Waits for the thread that runs, which
 * gives up within the time that a model's file takes to be read. */
void policy_reload_free(struct policy_reload *r); /* NULL is fine */

/* The job is the caller's to fill in until it is added. text: NULL for the file's. */
struct policy_job *policy_job_new(enum policy_job_kind kind, const char *file,
                                  const struct slice *text, const char *origin);
/* Takes job over. It is never made before this returns. A LOAD joins one that waits as the last: it
 * has not read the file yet. ERR_OVERLOADED (never a LOAD), ERR_DRAINING: job is freed. */
enum err policy_reload_add(struct policy_reload *r, struct policy_job *job) MUST_CHECK;
/* The process ends: what waits is made with ERR_DRAINING, and so will be what runs. */
void policy_reload_stop(struct policy_reload *r);

#endif
