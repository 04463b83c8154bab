/* Threads that hear no signal: all are blocked in them from their first instruction on, so that a
 * signal to the process reaches whoever waits for it (the main thread, by its signalfd), whatever
 * the starter's mask is, and no system call of theirs ends early with EINTR. The starter's own mask
 * is afterwards as it was. Any thread may start one. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stddef.h>
#include "base/err.h"

typedef void *thread_fn(void *ctx);

/* A thread to be joined. name is what ps and debuggers show, from before fn runs: at most 15 bytes
 * count; NULL: the starter's. 0, or the errno value of pthread_create: then fn never runs. */
int thread_start(pthread_t *out, const char *name, thread_fn *fn, void *ctx) MUST_CHECK;
/* A thread that nobody joins, with a stack of so many bytes (0: the system's usual). 0, or an errno
 * value (EINVAL: a stack below the system's least): then fn never runs. */
int thread_start_detached(size_t stack_bytes, thread_fn *fn, void *ctx) MUST_CHECK;

#endif
