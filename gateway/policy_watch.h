/* Tells when the policy file may have changed: written in place, replaced by rename (editors,
 * configuration managers), or swapped behind a symbolic link as Kubernetes does with mounted
 * ConfigMaps. inotify on the directories, 100 ms of patience so that a burst of events is one
 * change, and a look every 5 s for file systems that send no events (NFS, FUSE). What counts is
 * that stat(2) of the path differs from last time; whether the text differs is the loader's
 * question. threads: the loop's. */
#ifndef GATEWAY_POLICY_WATCH_H
#define GATEWAY_POLICY_WATCH_H

#include "base/err.h"

struct event_base;
struct policy_watch;

/* NULL + t on failure. changed is called from the loop; it must not free the watch. */
struct policy_watch *policy_watch_new(struct event_base *base, const char *file,
                                      void (*changed)(void *ctx), void *ctx, struct err_text *t);
void policy_watch_free(struct policy_watch *w);

#endif
