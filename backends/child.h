/* One child process: a program in a process group of its own, its output in a pipe, its end on a
 * descriptor that a loop can wait for (pidfd_open(2)): no SIGCHLD, no race with reused process ids.
 *
 * The child has stdin from /dev/null or a file of ours, stdout and stderr in one pipe, no other
 * descriptor of ours, default signal dispositions, and is killed by the kernel when the THREAD that
 * started it ends (PR_SET_PDEATHSIG): start children only on a thread that outlives them.
 * Grandchildren stay in the group unless they leave it (setsid); those that leave cannot be found
 * again. */
#ifndef BACKENDS_CHILD_H
#define BACKENDS_CHILD_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/err.h"

struct child {
    pid_t pid;  /* also the id of its process group; 0: none */
    int pidfd;  /* readable when it has ended */
    int out_fd; /* its stdout and stderr; non-blocking */
    int status; /* once reaped: what it exited with; -1: a signal killed it */
};

/* argv[0] is looked up in PATH when it holds no slash. env: "NAME=value" beside our own
 * environment, overriding it; may be NULL. directory NULL: ours. input_fd: its stdin, read from
 * where it stands, still ours; -1: none. false: *why names argv[0] and what was wrong; *c is then
 * as after child_clear. */
bool child_start(struct child *c, const char *const *argv, const char *const *env,
                 const char *directory, int input_fd, struct err_text *why);
/* To its whole process group; also when the child itself has ended and been reaped, as long as
 * child_group_alive. */
void child_signal(const struct child *c, int sig);
/* true when it has ended: *how then says so ("exit status 1", "killed by signal 9 (Killed)"). Never
 * blocks. Once. */
bool child_reap(struct child *c, struct err_text *how);
/* After child_reap: is any process of the group left? */
bool child_group_alive(const struct child *c);
void child_clear(struct child *c); /* closes the descriptors; the process must have been reaped */

#endif
