/* Owns what a named thread is told, until that thread has read it. */
#include "base/thread.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"

#define NAME_BYTES 16 /* TASK_COMM_LEN of Linux, with the NUL */

struct named {
    thread_fn *fn;
    void *ctx;
    char name[NAME_BYTES];
};

static void *run_named(void *arg)
{
    struct named n = *(struct named *)arg;

    free(arg);
    pthread_setname_np(pthread_self(), n.name);
    return n.fn(n.ctx);
}

/* A thread begins with the mask of its starter. */
static int create(pthread_t *out, const pthread_attr_t *attr, thread_fn *fn, void *ctx)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(out, attr, fn, ctx);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int thread_start(pthread_t *out, const char *name, thread_fn *fn, void *ctx)
{
    struct named *n;
    int rc;

    if (!name)
        return create(out, NULL, fn, ctx);
    n = mem_zalloc(1, sizeof *n);
    n->fn = fn;
    n->ctx = ctx;
    snprintf(n->name, sizeof n->name, "%s", name);
    rc = create(out, NULL, run_named, n);
    if (rc != 0)
        free(n);
    return rc;
}

int thread_start_detached(size_t stack_bytes, thread_fn *fn, void *ctx)
{
    pthread_attr_t attr;
    pthread_t thread;
    int rc = pthread_attr_init(&attr);

    if (rc != 0)
        return rc;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (stack_bytes)
        rc = pthread_attr_setstacksize(&attr, stack_bytes);
    if (rc == 0)
        rc = create(&thread, &attr, fn, ctx);
    pthread_attr_destroy(&attr);
    return rc;
}
