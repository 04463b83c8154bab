/* Owns the queue of jobs and the one thread that runs. The thread touches its job's draft and
 * nothing else; the job is control's again once its message is delivered. Called by
 * control_policy.c. */
#include "gateway/policy_reload.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"

struct policy_reload {
    struct policy_reload_owner owner;
    struct list waiting; /* of struct policy_job */
    size_t waiting_count;
    struct policy_job *running; /* until its message is delivered */
    bool stopped;
};

struct policy_reload *policy_reload_new(const struct policy_reload_owner *owner)
{
    struct policy_reload *r = mem_zalloc(1, sizeof *r);
    r->owner = *owner;
    list_init(&r->waiting);
    return r;
}

/* ---- jobs ---- */

struct policy_job *policy_job_new(enum policy_job_kind kind, const char *file,
                                  const struct slice *text, const char *origin)
{
    struct policy_job *job = mem_zalloc(1, sizeof *job);
    job->kind = kind;
    snprintf(job->origin, sizeof job->origin, "%s", origin);
    policy_draft_init(&job->draft, file);
    if (text) {
        job->draft.text = mem_strdup(*text);
        job->draft.text_bytes = text->n;
    }
    return job;
}

static void job_free(struct policy_job *job)
{
    policy_draft_clear(&job->draft);
    free(job->if_match);
    free(job);
}

/* ---- the thread ---- */

static void *run(void *ctx)
{
    struct policy_job *job = ctx;
    bool only_check = job->kind == POLICY_JOB_TRY;
    job->err = only_check ? policy_draft_check(&job->draft) : policy_draft_read(&job->draft);
    if (job->err == ERR_OK && !only_check)
        job->err = policy_draft_build(&job->draft, &job->why);
    mailbox_post(job->reload->owner.mailbox, &job->msg);
    return NULL;
}

static void start_next(struct policy_reload *r);

static void finish(struct policy_job *job)
{
    struct policy_reload *r = job->reload;
    if (job->threaded)
        pthread_join(job->thread, NULL);
    if (r->stopped)
        job->err = ERR_DRAINING;
    r->running = NULL;
    r->owner.made(r->owner.ctx, job);
    job_free(job);
    start_next(r);
}

static void on_made(struct message *m, void *receiver_ctx)
{
    (void)receiver_ctx;
    finish(CONTAINER_OF(m, struct policy_job, msg));
}

/* Only a mailbox that closes under a running job does this, and policy_reload_free comes first. */
static void discard(struct message *m)
{
    job_free(CONTAINER_OF(m, struct policy_job, msg));
}

static void start_next(struct policy_reload *r)
{
    if (r->running || list_empty(&r->waiting))
        return;
    struct policy_job *job = CONTAINER_OF(r->waiting.next, struct policy_job, link);
    list_remove(&job->link);
    r->waiting_count--;
    r->running = job;
    job->msg.deliver = on_made;
    job->msg.discard = discard;
    r->owner.lend(r->owner.ctx, &job->draft);
    job->threaded = pthread_create(&job->thread, NULL, run, job) == 0;
    if (job->threaded)
        return;
    job->err = ERR_INTERNAL;
    err_say(&job->why, "no thread to read the policy on");
    mailbox_post(r->owner.mailbox, &job->msg);
}

/* ---- asking ---- */

static bool last_is_load(const struct policy_reload *r)
{
    return !list_empty(&r->waiting) &&
           CONTAINER_OF(r->waiting.prev, struct policy_job, link)->kind == POLICY_JOB_LOAD;
}

enum err policy_reload_add(struct policy_reload *r, struct policy_job *job)
{
    bool joins = job->kind == POLICY_JOB_LOAD && last_is_load(r);
    bool full = job->kind != POLICY_JOB_LOAD && r->waiting_count >= POLICY_RELOAD_MAX_WAITING;
    enum err e = r->stopped ? ERR_DRAINING : full ? ERR_OVERLOADED : ERR_OK;
    if (e != ERR_OK || joins) {
        job_free(job);
        return e;
    }
    job->reload = r;
    list_push_back(&r->waiting, &job->link);
    r->waiting_count++;
    start_next(r);
    return ERR_OK;
}

/* ---- the end ---- */

void policy_reload_stop(struct policy_reload *r)
{
    r->stopped = true;
    if (r->running)
        atomic_store(&r->running->draft.stop, true);
    while (!list_empty(&r->waiting)) {
        struct policy_job *job = CONTAINER_OF(r->waiting.next, struct policy_job, link);
        list_remove(&job->link);
        r->waiting_count--;
        job->err = ERR_DRAINING;
        r->owner.made(r->owner.ctx, job);
        job_free(job);
    }
}

void policy_reload_free(struct policy_reload *r)
{
    if (!r)
        return;
    policy_reload_stop(r);
    if (r->running && r->running->threaded) {
        pthread_join(r->running->thread, NULL);
        r->running->threaded = false;
    }
    if (r->running) /* its message was posted before the thread ended */
        mailbox_drain(r->owner.mailbox, r->owner.ctx);
    free(r);
}
