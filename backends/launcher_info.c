/* What people look at: states, memory and last words of the model servers. Called by the admin API
 * on any thread. */
#include "backends/launcher_int.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"

static const char *const state_names[] = {"stopped", "starting", "ready", "stopping", "failed"};

const char *launcher_state_name(enum launcher_state s)
{
    return state_names[s];
}

void launcher_watch(struct launcher *l, struct mailbox *to,
                    void (*deliver)(struct message *m, void *receiver_ctx))
{
    pthread_mutex_lock(&l->lock);
    l->watcher = to;
    l->on_ready = deliver;
    pthread_mutex_unlock(&l->lock);
}

bool launcher_is_ready(struct launcher *l, const char *name)
{
    const struct launcher_server *s = launcher_find(l, name);
    bool ready;

    pthread_mutex_lock(&l->lock);
    ready = s && s->state == LAUNCHER_READY;
    pthread_mutex_unlock(&l->lock);
    return ready;
}

/* Resident pages of one process if it is of the group; 0 else. proc_pid_stat(5): the command in
 * parentheses may hold anything, so fields are counted after its last ')'. */
static int64_t rss_pages(const char *pid, int group)
{
    char path[64], text[1024], *p;
    long pgrp = 0, pages = 0;
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    f = fopen(path, "re");
    if (!f)
        return 0;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    p = strrchr(text, ')');
    if (!p || sscanf(p + 1, " %*c %*d %ld", &pgrp) != 1 || pgrp != group)
        return 0;
    /* state is field 3, rss field 24 */
    for (int field = 2; field < 24 && p; field++)
        p = strchr(p + 1, ' ');
    if (p)
        pages = strtol(p, NULL, 10);
    return pages > 0 ? pages : 0;
}

static int64_t group_rss_bytes(int group)
{
    DIR *d = group > 0 ? opendir("/proc") : NULL;
    int64_t pages = 0;
    struct dirent *e;

    if (!d)
        return 0;
    while ((e = readdir(d))) {
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
            pages += rss_pages(e->d_name, group);
    }
    closedir(d);
    return pages * sysconf(_SC_PAGESIZE);
}

static void describe(struct launcher_server *s, struct launcher_info *out)
{
    int64_t now_us = clock_mono_us();
    bool backs_off = s->state == LAUNCHER_FAILED && s->not_before_us > now_us;

    *out = (struct launcher_info){
        .state = s->state,
        .pid = launcher_server_has_child(s) ? (int)s->child.pid : 0,
        .since_ms = (now_us - s->since_us) / 1000,
        .uses = gate_uses(&s->gate),
        .waiting = s->waiting,
        .starts = s->starts,
        .failures = s->failures,
        .retry_in_ms = backs_off ? (s->not_before_us - now_us) / 1000 : 0,
    };
    snprintf(out->name, sizeof out->name, "%s", s->name);
    memcpy(out->last_error, s->last_error.s, sizeof out->last_error);
}

size_t launcher_list(struct launcher *l, struct launcher_info *out, size_t max)
{
    size_t n = 0;

    pthread_mutex_lock(&l->lock);
    for (struct launcher_server *s = launcher_first(l); s; s = launcher_after(s)) {
        if (!s->spec && !s->next_spec && !launcher_server_has_child(s))
            continue;
        if (n < max)
            describe(s, &out[n]);
        n++;
    }
    pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < n && i < max; i++)
        out[i].rss_bytes = group_rss_bytes(out[i].pid);
    return n;
}

enum err launcher_log_tail(struct launcher *l, const char *name, struct buf *out)
{
    struct launcher_server *s = launcher_find(l, name);
    enum err err;

    if (!s)
        return ERR_NOT_FOUND;
    pthread_mutex_lock(&l->lock);
    err = tail_copy(&s->tail, out);
    pthread_mutex_unlock(&l->lock);
    return err;
}
