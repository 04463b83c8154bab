/* Starting, signalling and reaping one child. Owns its descriptors. Called by the launcher's
 * thread.
 *
 * vfork(2), not fork: the parent may hold gigabytes (models, indices), and copying its page tables
 * would stall every worker that touches memory meanwhile. The child shares our memory until it
 * execs, so between the two it only makes system calls with what was prepared before
 * (become()), and reports failure through a pipe that a successful exec closes. */
#include "backends/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"

static const struct child no_child = {.pid = 0, .pidfd = -1, .out_fd = -1};

/* ---- what is prepared before the child exists ---- */

struct plan {
    char *path; /* owned: the program */
    char *const *argv;
    char **envp; /* owned array of borrowed strings */
    const char *directory;
    int in_fd, out_fd, report_fd; /* owned */
    pid_t parent;
};

/* What the child sends when it cannot become the program. */
struct failure {
    int error;
    bool in_directory;
};

static size_t count(const char *const *list)
{
    size_t n = 0;

    while (list && list[n])
        n++;
    return n;
}

static bool same_name(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");

    return strncmp(a, b, n) == 0 && b[n] == '=';
}

static bool overridden(const char *variable, const char *const *env)
{
    for (size_t i = 0; env && env[i]; i++) {
        if (same_name(env[i], variable))
            return true;
    }
    return false;
}

static char **join_environment(const char *const *env)
{
    char **all = mem_zalloc(count((const char *const *)environ) + count(env) + 1, sizeof *all);
    size_t n = 0;

    for (size_t i = 0; environ && environ[i]; i++) {
        if (!overridden(environ[i], env))
            all[n++] = environ[i];
    }
    /* execve(2) wants pointers to char; neither it nor we write through them. */
    if (env)
        memcpy(all + n, env, count(env) * sizeof *all);
    return all;
}

static const char *search_path(char *const *envp)
{
    for (size_t i = 0; envp[i]; i++) {
        if (strncmp(envp[i], "PATH=", 5) == 0)
            return envp[i] + 5;
    }
    return "/usr/local/bin:/usr/bin:/bin";
}

/* As execvp(3) finds it, but before the child exists. NULL with errno. */
static char *find_program(const char *name, char *const *envp)
{
    const char *dir = search_path(envp);
    char path[PATH_MAX];
    int error = ENOENT;

    if (strchr(name, '/'))
        return mem_strdup(slice_str(name));
    for (;;) {
        size_t n = strcspn(dir, ":");
        int len = snprintf(path, sizeof path, "%.*s/%s", n ? (int)n : 1, n ? dir : ".", name);

        if (name[0] && len > 0 && (size_t)len < sizeof path) {
            if (access(path, X_OK) == 0)
                return mem_strdup(slice_str(path));
            if (errno == EACCES)
                error = EACCES;
        }
        if (!dir[n])
            break;
        dir += n + 1;
    }
    errno = error;
    return NULL;
}

/* A process started without standard streams gets their numbers for its files; dup2 in the child
 * would then overwrite one of ours with another. */
static int above_standard_streams(int fd)
{
    int moved;

    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(fd);
    return moved;
}

static bool open_pipe(int *read_end, int *write_end)
{
    int fd[2];

    if (pipe2(fd, O_CLOEXEC) < 0)
        return false;
    *read_end = above_standard_streams(fd[0]);
    *write_end = above_standard_streams(fd[1]);
    return *read_end >= 0 && *write_end >= 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- the child ---- */

/* Between vfork and exec, in the parent's memory: system calls only. Signals are blocked on entry;
 * a handler of ours must not run here. */
__attribute__((noinline)) static void become(const struct plan *p)
{
    struct sigaction dflt = {.sa_handler = SIG_DFL};
    struct failure f = {.in_directory = true};
    sigset_t none;
    ssize_t sent;

    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != p->parent) /* it died before the request above */
        _exit(127);
    for (int sig = 1; sig < SIGRTMIN; sig++)
        sigaction(sig, &dflt, NULL); /* what we ignore would stay ignored over exec */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (p->directory && chdir(p->directory) < 0)
        goto fail;
    f.in_directory = false;
    if (dup2(p->in_fd, STDIN_FILENO) < 0 || dup2(p->out_fd, STDOUT_FILENO) < 0 ||
        dup2(p->out_fd, STDERR_FILENO) < 0)
        goto fail;
    /* All of ours are close-on-exec already; what libraries open may not be. Kernels before 5.11
     * refuse the flag, and the first line of defence stands alone. */
    close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    execve(p->path, p->argv, p->envp);
fail:
    f.error = errno;
    sent = write(p->report_fd, &f, sizeof f);
    _exit(sent == (ssize_t)sizeof f ? 127 : 126);
}

/* ---- the parent ---- */

static pid_t spawn(struct plan *p)
{
    sigset_t all, before;
    pid_t pid;
    int error;

    p->parent = getpid();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = vfork();
    if (pid == 0)
        become(p);
    error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return pid;
}

/* Waits for the exec, which closes the pipe, or for the reason why there is none. */
static bool became(int report_fd, struct failure *f)
{
    ssize_t n;

    do
        n = read(report_fd, f, sizeof *f);
    while (n < 0 && errno == EINTR);
    return n == 0;
}

static void say_failure(struct err_text *why, const struct plan *p, const struct failure *f)
{
    if (f->in_directory)
        err_say(why, "cannot start '%s': no use of directory '%s': %s", p->argv[0], p->directory,
                strerror(f->error));
    else
        err_say(why, "cannot start '%s': %s", p->argv[0], strerror(f->error));
}

static int open_input(int input_fd)
{
    return input_fd < 0 ? above_standard_streams(open("/dev/null", O_RDONLY | O_CLOEXEC))
                        : fcntl(input_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

static bool start_planned(struct child *c, struct plan *p, int input_fd, struct err_text *why)
{
    struct failure f = {0};
    int report_fd = -1;

    if (!open_pipe(&c->out_fd, &p->out_fd) || !open_pipe(&report_fd, &p->report_fd) ||
        fcntl(c->out_fd, F_SETFL, O_NONBLOCK) < 0)
        goto fail_here;
    p->in_fd = open_input(input_fd);
    if (p->in_fd < 0)
        goto fail_here;
    c->pid = spawn(p);
    if (c->pid < 0)
        goto fail_here;
    close_fd(&p->report_fd);
    if (!became(report_fd, &f)) {
        waitpid(c->pid, NULL, 0);
        goto fail;
    }
    c->pidfd = pidfd_open(c->pid, 0); /* not yet reaped: the number is still its own */
    if (c->pidfd < 0) {
        f.error = errno;
        kill(-c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
        goto fail;
    }
    close(report_fd);
    return true;
fail_here:
    f.error = errno;
fail:
    say_failure(why, p, &f);
    close_fd(&report_fd);
    child_clear(c);
    return false;
}

bool child_start(struct child *c, const char *const *argv, const char *const *env,
                 const char *directory, int input_fd, struct err_text *why)
{
    struct plan p = {.directory = directory, .in_fd = -1, .out_fd = -1, .report_fd = -1};
    bool ok = false;

    *c = no_child;
    memcpy(&p.argv, &argv, sizeof p.argv); /* only execve's prototype wants char *const */
    p.envp = join_environment(env);
    p.path = find_program(argv[0], p.envp);
    if (p.path)
        ok = start_planned(c, &p, input_fd, why);
    else
        err_say(why, "cannot start '%s': %s in PATH", argv[0],
                errno == EACCES ? "not executable" : "not found");
    close_fd(&p.in_fd);
    close_fd(&p.out_fd);
    close_fd(&p.report_fd);
    free(p.path);
    free(p.envp);
    return ok;
}

void child_signal(const struct child *c, int sig)
{
    if (c->pid > 0)
        kill(-c->pid, sig);
}

bool child_reap(struct child *c, struct err_text *how)
{
    siginfo_t info = {0};

    if (c->pidfd < 0 || waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG) < 0 ||
        info.si_pid == 0)
        return false;
    c->status = info.si_code == CLD_EXITED ? info.si_status : -1;
    if (info.si_code == CLD_EXITED)
        err_say(how, "exit status %d", info.si_status);
    else
        err_say(how, "killed by signal %d (%s)", info.si_status, strsignal(info.si_status));
    return true;
}

/* A process id is not given out again while it names a group with members, so this never speaks of
 * a stranger as long as it is asked without a pause between the group's end and the answer "no". */
bool child_group_alive(const struct child *c)
{
    return c->pid > 0 && (kill(-c->pid, 0) == 0 || errno == EPERM);
}

void child_clear(struct child *c)
{
    close_fd(&c->pidfd);
    close_fd(&c->out_fd);
    c->pid = 0;
}
