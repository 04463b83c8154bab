/* Owns an inotify descriptor and two timers on the control loop. Two directories are watched: the
 * one that holds the name the operator gave, and the one that holds the file it resolves to. Called
 * by control. */
#include "gateway/policy_watch.h"

#include <errno.h>
#include <event2/event.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"

#define PATIENCE_US 100000
#define POLL_S      5
#define EVENTS      (IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB)

struct policy_watch {
    char *file;
    void (*changed)(void *ctx);
    void *ctx;
    int fd;
    int wd[2]; /* directory of the name, directory of the file; equal when they are one; -1: none */
    struct event *readable, *due, *poll;
    struct stat seen; /* all zero: no such file */
};

static void look(const char *file, struct stat *st)
{
    if (stat(file, st) != 0)
        *st = (struct stat){0};
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mode == b->st_mode && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int watch_directory_of(int fd, const char *path)
{
    char *copy = mem_strdup(slice_str(path));
    int wd = inotify_add_watch(fd, dirname(copy), EVENTS);
    free(copy);
    return wd;
}

/* Adding a directory that is watched already gives the same number; one whose directory was
 * replaced gives a new one. */
static void place_watches(struct policy_watch *w)
{
    char *real = realpath(w->file, NULL);
    int now[2] = {watch_directory_of(w->fd, w->file), real ? watch_directory_of(w->fd, real) : -1};
    free(real);
    for (int i = 0; i < 2; i++)
        if (w->wd[i] >= 0 && w->wd[i] != now[0] && w->wd[i] != now[1])
            (void)inotify_rm_watch(w->fd, w->wd[i]);
    w->wd[0] = now[0];
    w->wd[1] = now[1];
}

static void on_due(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct policy_watch *w = ctx;
    place_watches(w);
    struct stat st;
    look(w->file, &st);
    if (same(&st, &w->seen))
        return;
    w->seen = st;
    w->changed(w->ctx);
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct policy_watch *w = ctx;
    /* What happened does not matter, only that something did; an overflowed queue is just one more
     * event. */
    char events[4096];
    while (read((int)fd, events, sizeof events) > 0)
        ;
    if (!event_pending(w->due, EV_TIMEOUT, NULL)) {
        const struct timeval patience = {.tv_usec = PATIENCE_US};
        event_add(w->due, &patience);
    }
}

struct policy_watch *policy_watch_new(struct event_base *base, const char *file,
                                      void (*changed)(void *ctx), void *ctx, struct err_text *t)
{
    struct policy_watch *w = mem_zalloc(1, sizeof *w);
    *w = (struct policy_watch){
        .file = mem_strdup(slice_str(file)), .changed = changed, .ctx = ctx, .wd = {-1, -1}};
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd < 0) {
        err_say(t, "inotify: %s", strerror(errno));
        goto fail;
    }
    w->readable = event_new(base, w->fd, EV_READ | EV_PERSIST, on_readable, w);
    w->due = event_new(base, -1, 0, on_due, w);
    w->poll = event_new(base, -1, EV_PERSIST, on_due, w);
    if (!w->readable || !w->due || !w->poll) {
        err_say(t, "no memory for events");
        goto fail;
    }
    place_watches(w);
    look(file, &w->seen);
    const struct timeval poll = {.tv_sec = POLL_S};
    if (event_add(w->readable, NULL) == 0 && event_add(w->poll, &poll) == 0)
        return w;
    err_say(t, "the event loop takes no events");
fail:
    policy_watch_free(w);
    return NULL;
}

void policy_watch_free(struct policy_watch *w)
{
    if (!w)
        return;
    if (w->readable)
        event_free(w->readable);
    if (w->due)
        event_free(w->due);
    if (w->poll)
        event_free(w->poll);
    if (w->fd >= 0)
        close(w->fd);
    free(w->file);
    free(w);
}
