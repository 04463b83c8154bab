/* A port of 127.0.0.1 for a program that has to be told one: below those that the kernel hands out
 * by itself, to listeners on port 0 and to whoever connects, so that no other test gets it by
 * chance meanwhile. */
#ifndef WEIR_TESTS_UNIT_FREE_PORT_H
#define WEIR_TESTS_UNIT_FREE_PORT_H

#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* Its number in the host's byte order; never 0, for want of a socket or of chance ends the test. */
static inline uint16_t free_port(void)
{
    enum { FIRST = 10240, KERNELS_OWN = 32768 /* ip_local_port_range as it comes */ };

    for (;;) {
        uint32_t chance;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || getrandom(&chance, sizeof chance, 0) != sizeof chance)
            abort();
        struct sockaddr_in a = {
            .sin_family = AF_INET,
            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
            .sin_port = htons((uint16_t)(FIRST + chance % (KERNELS_OWN - FIRST))),
        };
        int taken = bind(fd, (const struct sockaddr *)(const void *)&a, sizeof a);
        close(fd);
        if (taken == 0)
            return ntohs(a.sin_port);
    }
}

#endif
