/* Owns the log's file descriptor (struct access_log, shared) and each worker's waiting lines
 * (struct access_log_writer). Thread: a writer is its worker's; opening and reopening are
 * control's. Called by gateway/api_client for each finished request.
 *
 * Reopening replaces what the descriptor refers to (dup3) and keeps its number, so that writers
 * need no lock. */
#include "gateway/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"

#define FLUSH_BYTES       ((size_t)16 << 10)
#define FLUSH_US          INT64_C(100000)
#define PENDING_MAX_BYTES ((size_t)64 << 10)

struct access_log {
    int fd;
    char *path;           /* owned; NULL: stderr */
    _Atomic bool failing; /* said once, until a write succeeds again */
};

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

struct access_log *access_log_open(const char *path, struct err_text *t)
{
    bool to_stderr = strcmp(path, "stderr") == 0;
    int fd = to_stderr ? STDERR_FILENO : open_file(path);
    if (fd < 0) {
        err_say(t, "access log %s: %s", path, strerror(errno));
        return NULL;
    }
    struct access_log *a = mem_zalloc(1, sizeof *a);
    a->fd = fd;
    a->path = to_stderr ? NULL : mem_strdup(slice_str(path));
    return a;
}

void access_log_reopen(struct access_log *a)
{
    if (!a->path)
        return;
    int fd = open_file(a->path);
    if (fd < 0 || dup3(fd, a->fd, O_CLOEXEC) < 0)
        log_line(LOG_ERROR, "access_log", "cannot reopen, the old file is kept", "errno=%d", errno);
    if (fd >= 0)
        close(fd);
}

void access_log_close(struct access_log *a)
{
    if (!a)
        return;
    if (a->path)
        close(a->fd);
    free(a->path);
    free(a);
}

/* One write(2) unless the kernel takes less than all. What a full disk refuses is lost; that is
 * said once. */
static void write_out(struct access_log *a, struct slice s)
{
    while (s.n) {
        ssize_t n = write(a->fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int error = errno;
            if (!atomic_exchange_explicit(&a->failing, true, memory_order_relaxed))
                log_line(LOG_ERROR, "access_log", "lines are being lost", "errno=%d", error);
            return;
        }
        s = slice_from(s, (size_t)n);
    }
    if (atomic_load_explicit(&a->failing, memory_order_relaxed))
        atomic_store_explicit(&a->failing, false, memory_order_relaxed);
}

void access_log_writer_init(struct access_log_writer *w, struct access_log *a)
{
    w->log = a;
    w->oldest_us = 0;
    buf_init(&w->pending, PENDING_MAX_BYTES);
}

void access_log_writer_clear(struct access_log_writer *w)
{
    access_log_flush(w);
    buf_clear(&w->pending);
}

void access_log_flush(struct access_log_writer *w)
{
    if (!w->log || buf_len(&w->pending) == 0)
        return;
    write_out(w->log, buf_slice(&w->pending));
    buf_reset(&w->pending);
}

void access_log_line(struct access_log_writer *w, struct slice line, int64_t now_us)
{
    char *room;
    size_t room_bytes;
    if (!w->log)
        return;
    if (line.n > PENDING_MAX_BYTES - 1) /* no request of ours makes one this long */
        line.n = PENDING_MAX_BYTES - 1;
    if (buf_len(&w->pending) + line.n + 1 > PENDING_MAX_BYTES)
        access_log_flush(w);
    if (buf_len(&w->pending) == 0)
        w->oldest_us = now_us;
    if (buf_reserve(&w->pending, line.n + 1, &room, &room_bytes)) {
        log_line(LOG_ERROR, "access_log", "a line is lost: out of memory", NULL);
        return;
    }
    if (line.n)
        memcpy(room, line.p, line.n);
    room[line.n] = '\n';
    buf_commit(&w->pending, line.n + 1);
    if (buf_len(&w->pending) >= FLUSH_BYTES || now_us - w->oldest_us >= FLUSH_US)
        access_log_flush(w);
}
