/* Starts, asks and ends one redis-server. Used by the tests of the Redis store and by its bench. */
#include "tests/unit/cache/redis_server.h"

#include "tests/unit/free_port.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

bool redis_server_installed(void)
{
    return access("/usr/bin/redis-server", X_OK) == 0;
}

static void must(bool so, const char *what)
{
    if (!so) {
        fprintf(stderr, "redis_server: %s: %s\n", what, strerror(errno));
        abort();
    }
}

static int connect_socket(const struct redis_server *r)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof a.sun_path, "%s", r->socket);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)(const void *)&a, sizeof a) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

const char *redis_server_do(struct redis_server *r, const char *command)
{
    static char reply[65536];
    char line[512];
    int fd = connect_socket(r);

    must(fd >= 0, "connect");
    int n = snprintf(line, sizeof line, "%s\r\n", command);
    must(write(fd, line, (size_t)n) == n, "write");
    ssize_t got = read(fd, reply, sizeof reply - 1);
    reply[got > 0 ? got : 0] = 0;
    close(fd);
    return reply;
}

/* One that nobody had a moment ago: Redis cannot ask the kernel for any. */
static void run_child(struct redis_server *r)
{
    const char *words[24] = {
        "redis-server", "--port", r->port,      "--unixsocket", r->socket,   "--dir",    r->folder,
        "--save",       "",       "--loglevel", "warning",      "--logfile", "/dev/null"};
    size_t n = 13;

    for (size_t i = 0; i < 4 && r->option[i][0]; i++)
        words[n++] = r->option[i];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char *argv[24];
    for (size_t i = 0; i < 24; i++)
        argv[i] = words[i] ? strdup(words[i]) : NULL;
    execv("/usr/bin/redis-server", argv);
    _exit(127);
}

static bool answers(struct redis_server *r)
{
    int fd = connect_socket(r);

    if (fd < 0)
        return false;
    close(fd);
    const char *said = redis_server_do(r, "PING");
    return strncmp(said, "+PONG", 5) == 0 || strncmp(said, "-NOAUTH", 7) == 0;
}

void redis_server_start(struct redis_server *r)
{
    if (!r->folder[0]) {
        snprintf(r->folder, sizeof r->folder, "/tmp/weir-redis-XXXXXX");
        must(mkdtemp(r->folder), "mkdtemp");
        snprintf(r->socket, sizeof r->socket, "%s/socket", r->folder);
        snprintf(r->port, sizeof r->port, "%u", free_port());
        snprintf(r->url, sizeof r->url, "unix:%s", r->socket);
    }
    r->pid = fork();
    must(r->pid >= 0, "fork");
    if (r->pid == 0)
        run_child(r);
    while (!answers(r)) {
        must(waitpid(r->pid, NULL, WNOHANG) == 0, "redis-server ended");
        usleep(5000);
    }
}

void redis_server_stop(struct redis_server *r)
{
    if (r->pid) {
        kill(r->pid, SIGKILL);
        waitpid(r->pid, NULL, 0);
    }
    r->pid = 0;
}

void redis_server_remove(struct redis_server *r)
{
    DIR *d = opendir(r->folder);
    char name[400];

    redis_server_stop(r);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(name, sizeof name, "%s/%s", r->folder, e->d_name);
        unlink(name);
    }
    if (d)
        closedir(d);
    rmdir(r->folder);
    r->folder[0] = 0;
}
