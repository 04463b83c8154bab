/* The load-test upstream: one thread of raw epoll, a fixed 611-byte reply to every POST, or 64
 * server-sent events of about 278 bytes when the body asks for a stream. Nothing is parsed but the
 * framing and "stream":true. */
#ifndef FLEET_ECHO_H
#define FLEET_ECHO_H

#include <stdbool.h>
#include <stdint.h>

struct ssl_ctx_st;

struct echo_options {
    struct ssl_ctx_st *tls; /* borrowed; NULL = plain */
    const int *listeners;   /* borrowed */
    int listener_count;
    int64_t chunk_interval_us; /* 0 = all chunks at once */
    bool stamp; /* send time in each chunk: "@t=" and 16 digits, CLOCK_MONOTONIC us */
};

/* Serves until SIGTERM or SIGINT. 0, or an errno. */
int echo_run(const struct echo_options *o);

#endif
