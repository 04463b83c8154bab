/* One model server as the launcher's files see it: what is known of it (launcher_server.c keeps
 * that up to date with its child) and what is decided about it (launcher.c). Not for other modules.
 */
#ifndef BACKENDS_LAUNCHER_INT_H
#define BACKENDS_LAUNCHER_INT_H

#include <pthread.h>
#include "backends/child.h"
#include "backends/gate.h"
#include "backends/launcher.h"
#include "backends/tail.h"
#include "backends/upstream.h"

#define LAUNCHER_LINE_BYTES 512

struct event;
struct event_base;

struct launcher_server {
    struct launcher_server *_Atomic next;
    struct launcher *launcher;
    char *name;       /* owned */
    struct gate gate; /* open while READY and wanted; for users without the lock */

    enum launcher_state state;
    struct launcher_spec *spec; /* owned; NULL: not configured */
    struct launcher_spec
        *next_spec; /* owned; in force once stopped, when `replaced`; may be NULL */
    bool replaced;
    struct list wants; /* of struct launcher_want, oldest first */
    int64_t waiting;

    struct child child;
    struct event *ended, *output; /* owned while there is a child */
    struct upstream_call probe;
    struct upstream_target target; /* of the probe */
    char authority[300];
    int probe_status; /* HTTP status of the last probe; 0: none came */

    int64_t since_us;      /* in this state */
    int64_t started_us;    /* the child */
    int64_t start_took_us; /* the last successful start */
    int64_t probe_due_us;
    int64_t kill_due_us; /* STOPPING: when SIGKILL goes out */
    int64_t killed_us;   /* STOPPING: when it went out; 0: not yet */
    bool reaped;         /* the child is; others of its group may live */
    bool failed;         /* STOPPING ends in FAILED */
    int64_t failures_in_a_row, not_before_us;
    int64_t starts, failures;
    struct err_text last_error;

    struct tail tail;
    uint64_t tail_start;            /* where this child's output begins in it */
    char line[LAUNCHER_LINE_BYTES]; /* for the debug log */
    size_t line_bytes;
};

struct launcher {
    pthread_mutex_t lock;
    pthread_t thread;
    struct launcher_server *_Atomic servers;
    struct event_base *base;
    struct upstream *upstream; /* the probes' */
    struct event *timer, *kicked;
    int kick_fd;
    bool closing;
    struct mailbox *watcher; /* NULL: nobody watches */
    void (*on_ready)(struct message *m, void *receiver_ctx);
    uint64_t wants; /* numbers them */
    int64_t due_us; /* review()'s: when it must run again */
};

/* ---- launcher.c ---- */

/* Decides what follows from what has happened. With the lock, on the launcher's thread. */
void launcher_review(struct launcher *l);
struct launcher_server *launcher_find(const struct launcher *l, const char *name);

static inline struct launcher_server *launcher_first(const struct launcher *l)
{
    return atomic_load_explicit(&l->servers, memory_order_acquire);
}

static inline struct launcher_server *launcher_after(const struct launcher_server *s)
{
    return atomic_load_explicit(&s->next, memory_order_acquire);
}

/* ---- launcher_server.c; all with the lock ---- */

static inline bool launcher_server_has_child(const struct launcher_server *s)
{
    return s->state == LAUNCHER_STARTING || s->state == LAUNCHER_READY ||
           s->state == LAUNCHER_STOPPING;
}

struct launcher_want *
launcher_server_oldest(const struct launcher_server *s); /* NULL: none waits */
void launcher_server_unqueue(struct launcher_want *w);
void launcher_server_answer(struct launcher_want *w, enum err err, const char *why);
void launcher_server_answer_all(struct launcher_server *s, enum err err, const char *why);
void launcher_server_grant_all(struct launcher_server *s); /* as long as the gate is open */

/* On the launcher's thread only. */
void launcher_server_set_state(struct launcher_server *s, enum launcher_state state);
void launcher_server_start(struct launcher_server *s);   /* -> STARTING or FAILED */
void launcher_server_probe(struct launcher_server *s);   /* is it ready? -> READY, later */
void launcher_server_give_up(struct launcher_server *s); /* not ready in time -> STOPPING */
void launcher_server_stop(struct launcher_server *s);    /* SIGTERM -> STOPPING */
void launcher_server_kill(struct launcher_server *s);    /* SIGKILL */
void launcher_server_finish(struct launcher_server *s);  /* nothing is left -> STOPPED or FAILED */

#endif
