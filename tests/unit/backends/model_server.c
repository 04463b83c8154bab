/* A stand-in for a model server, for the launcher's tests: listens on 127.0.0.1 and answers GETs,
 * and misbehaves as told.
 *
 * usage: model_server key=value ...
 *   port=N              listens there (default: it never listens)
 *   listen_after_ms=N   only then
 *   loading_ms=N        answers 503 for so long, then 200
 *   exit_after_ms=N     ends by itself, with the status of exit=N
 *   ignore_term=1       SIGTERM does not end it
 *   grandchild=FILE     leaves a process in its group that ignores SIGTERM and writes its id to
 * FILE say=TEXT            a line on stderr at once spam_bytes=N        so much on stdout before
 * anything else GET /crash ends it with status 3. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"

struct options {
    long port, listen_after_ms, loading_ms, exit_after_ms, exit_status, ignore_term;
    long long spam_bytes;
    const char *grandchild;
};

static void set(struct options *o, const char *arg)
{
    const char *value = strchr(arg, '=');
    size_t n = value ? (size_t)(value - arg) : 0;
    const struct {
        const char *key;
        long *at;
    } numbers[] = {
        {"port", &o->port},
        {"listen_after_ms", &o->listen_after_ms},
        {"loading_ms", &o->loading_ms},
        {"exit", &o->exit_status},
        {"exit_after_ms", &o->exit_after_ms},
        {"ignore_term", &o->ignore_term},
    };

    if (!value)
        return;
    value++;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strlen(numbers[i].key) == n && strncmp(arg, numbers[i].key, n) == 0)
            *numbers[i].at = strtol(value, NULL, 10);
    }
    if (strncmp(arg, "spam_bytes=", 11) == 0)
        o->spam_bytes = strtoll(value, NULL, 10);
    if (strncmp(arg, "grandchild=", 11) == 0)
        o->grandchild = value;
    if (strncmp(arg, "say=", 4) == 0)
        fprintf(stderr, "%s\n", value);
}

static void spam(long long bytes)
{
    char block[8192];

    memset(block, 'x', sizeof block);
    block[sizeof block - 1] = '\n';
    for (long long sent = 0; sent < bytes;) {
        ssize_t n = write(STDOUT_FILENO, block, sizeof block);

        if (n <= 0)
            exit(9);
        sent += n;
    }
    if (bytes)
        dprintf(STDOUT_FILENO, "spam is over\n");
}

static void leave_grandchild(const char *file)
{
    if (fork() != 0)
        return;
    signal(SIGTERM, SIG_IGN);
    char name[512];
    snprintf(name, sizeof name, "%s.part", file);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dprintf(fd, "%d\n", (int)getpid());
    close(fd);
    rename(name, file);
    for (;;)
        pause();
}

static int listen_on(long port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 64) < 0) {
        perror("bind");
        exit(4);
    }
    return fd;
}

static void serve_one(int listener, bool loading)
{
    char head[4096] = "";
    const char *reply =
        loading ? "HTTP/1.1 503 Loading\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    int fd = accept(listener, NULL, NULL);
    size_t n = 0;
    ssize_t got;

    if (fd < 0)
        return;
    while (n < sizeof head - 1 && !strstr(head, "\r\n\r\n") &&
           (got = read(fd, head + n, sizeof head - 1 - n)) > 0)
        head[n += (size_t)got] = '\0';
    if (strncmp(head, "GET /crash ", 11) == 0)
        _exit(3);
    if (write(fd, reply, strlen(reply)) < 0)
        perror("write");
    close(fd);
}

int main(int argc, char **argv)
{
    struct options o = {.exit_after_ms = -1};
    int64_t began_us = clock_mono_us();
    int listener = -1;

    for (int i = 1; i < argc; i++)
        set(&o, argv[i]);
    if (o.ignore_term)
        signal(SIGTERM, SIG_IGN);
    spam(o.spam_bytes);
    if (o.grandchild)
        leave_grandchild(o.grandchild);
    for (;;) {
        int64_t age_ms = (clock_mono_us() - began_us) / 1000;
        struct pollfd p = {.fd = listener, .events = POLLIN};

        if (o.exit_after_ms >= 0 && age_ms >= o.exit_after_ms)
            _exit((int)o.exit_status);
        if (listener < 0 && o.port && age_ms >= o.listen_after_ms)
            p.fd = listener = listen_on(o.port);
        if (poll(&p, 1, 5) > 0)
            serve_one(listener, (clock_mono_us() - began_us) / 1000 < o.loading_ms);
    }
}
