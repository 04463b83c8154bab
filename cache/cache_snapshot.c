/* Owns the paths and the thread that writes. Called by cache_meaning.c. */
#include "cache/cache_snapshot.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/atomic_file.h"
#include "base/log.h"
#include "base/mem.h"

#define MAX_MARK 65536
#define NICE     10 /* of the writing thread: requests come first */

struct cache_snapshot {
    char *path, *mark_path; /* owned */
    int64_t every_us, next_us;
    uint64_t written; /* changes of the index that the newest snapshot holds */
    /* The one under way: the thread's from its start until `done`. */
    pthread_t thread;
    bool running;
    _Atomic bool done;
    struct vindex *index;
    struct buf mark;
};

struct cache_snapshot *cache_snapshot_new(const char *path, int64_t every_ms)
{
    struct cache_snapshot *s = mem_zalloc(1, sizeof *s);
    size_t n = path ? strlen(path) + sizeof ".mark" : 0;

    s->every_us = every_ms * 1000;
    buf_init(&s->mark, MAX_MARK);
    if (!path)
        return s;
    s->path = mem_strdup(slice_str(path));
    s->mark_path = mem_alloc(n);
    snprintf(s->mark_path, n, "%s.mark", path);
    return s;
}

static void join(struct cache_snapshot *s)
{
    if (s->running)
        pthread_join(s->thread, NULL);
    s->running = false;
}

void cache_snapshot_free(struct cache_snapshot *s)
{
    if (!s)
        return;
    join(s);
    buf_clear(&s->mark);
    free(s->path);
    free(s->mark_path);
    free(s);
}

bool cache_snapshot_load(struct cache_snapshot *s, const struct vindex_options *opt,
                         struct store *store, struct vindex **out)
{
    struct err_text t;
    char *mark = NULL;
    size_t n = 0;

    *out = NULL;
    if (!s->path)
        return false;
    atomic_file_sweep(s->path);
    atomic_file_sweep(s->mark_path);
    bool good = atomic_file_read(s->mark_path, MAX_MARK, &mark, &n, &t) == ERR_OK &&
                vindex_load(opt, s->path, out, &t) == ERR_OK;
    if (good && !store_resume(store, slice_make(mark, n))) {
        vindex_free(*out);
        *out = NULL;
        good = false;
    }
    free(mark);
    return good;
}

static void write_files(struct cache_snapshot *s)
{
    struct vindex_reader *reader = vindex_reader_new(s->index);
    struct err_text t;
    char text[sizeof t.s];
    enum err err = vindex_save(reader, s->path, &t);

    if (err == ERR_OK)
        err = atomic_file_write(s->mark_path, 0600, buf_slice(&s->mark), &t);
    if (err != ERR_OK)
        log_line(LOG_WARN, "cache", "no snapshot of the index was written", "reason=%s",
                 log_quote(slice_str(t.s), text, sizeof text));
    vindex_reader_free(reader);
}

static void *run(void *ctx)
{
    struct cache_snapshot *s = ctx;

    pthread_setname_np(pthread_self(), "snapshot");
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* of this thread only, on Linux */
    write_files(s);
    atomic_store(&s->done, true);
    return NULL;
}

/* The mark first: what is heard while the index is written is heard once more at the start. */
static bool prepare(struct cache_snapshot *s, struct store *store, struct vindex *index)
{
    buf_reset(&s->mark);
    s->index = index;
    return store_mark(store, &s->mark) == ERR_OK;
}

void cache_snapshot_tick(struct cache_snapshot *s, struct store *store, struct vindex *index,
                         int64_t now_us)
{
    struct vindex_stat st;

    if (!s->path || (s->running && !atomic_load(&s->done)))
        return;
    join(s);
    if (s->next_us == 0)
        s->next_us = now_us + s->every_us;
    vindex_stat(index, &st);
    if (now_us < s->next_us || st.changes == s->written || !prepare(s, store, index))
        return;
    s->next_us = now_us + s->every_us;
    atomic_store(&s->done, false);
    s->running = pthread_create(&s->thread, NULL, run, s) == 0;
    if (s->running)
        s->written = st.changes;
}

void cache_snapshot_write(struct cache_snapshot *s, struct store *store, struct vindex *index)
{
    if (!s->path)
        return;
    join(s);
    if (prepare(s, store, index))
        write_files(s);
}
