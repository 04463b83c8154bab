/* An HTTP server on 127.0.0.1 with a scripted handler, and clients, all in one thread and one loop:
 * tests wait for conditions, never for time. Paths of the handler: /echo    answered at once: 200,
 * body "METHOD path?query body" /hold    kept in fixture->held until the test answers it /refuse
 * refused in on_head with ERR_NOT_FOUND What the handler saw is written to fixture->journal: "head
 * /echo;" "request /echo;" "gone /hold;" "writable /hold;" "finished 200;" or "finished 499 client
 * closed;". */
#ifndef TESTS_HTTP_FIXTURE_H
#define TESTS_HTTP_FIXTURE_H

#include <event2/event.h>
#include <cmocka.h>
#include "base/stats.h"
#include "gateway/http_server.h"

#define HELD_MAX    2048
#define CLIENTS_MAX 2048

struct client {
    int fd; /* -1: closed */
    struct buf in;
    bool eof, reset;
    bool deaf; /* does not read */
};

struct fixture {
    struct event_base *base;
    struct event *tick; /* ends a turn of the loop when nothing happens */
    struct http_handler handler;
    struct http_server_options options;
    struct http_server *server;
    struct stats *stats;
    _Atomic int64_t connections;
    struct http_exchange *held[HELD_MAX];
    size_t held_count;
    struct client *clients[CLIENTS_MAX];
    size_t client_count;
    char journal[16384];
    size_t journal_bytes;
    uint64_t finished, bytes_finished;
};

/* NULL-safe defaults; change f->options, then fixture_start. */
void fixture_init(struct fixture *f);
void fixture_start(struct fixture *f);
void fixture_stop(struct fixture *f); /* clients, server (if still there), loop */
void fixture_turn(
    struct fixture *f); /* one turn of the loop (at most 1 ms idle), then every client reads */
void fixture_poll(struct fixture *f); /* what is ready now, without waiting */
int64_t fixture_metric(struct fixture *f, enum stats_family family, const char *label);

/* Turns the loop until expr holds; fails after 60 s. */
#define UNTIL(f, expr)                                                                             \
    do {                                                                                           \
        int64_t until_us = clock_mono_us() + 60000000;                                             \
        while (!(expr)) {                                                                          \
            if (clock_mono_us() > until_us)                                                        \
                fail_msg("60 s passed before: %s; journal: %s", #expr, (f)->journal);              \
            fixture_turn(f);                                                                       \
        }                                                                                          \
    } while (0)

struct client *client_open(struct fixture *f);
/* Sends everything; turns the loop while the socket is full. false: the connection is gone. */
bool client_send(struct fixture *f, struct client *c, struct slice bytes);
void client_close(struct client *c); /* FIN; forgets the socket */
void client_reset(struct client *c); /* RST */

struct reply {
    int status;
    struct buf head, body;
    bool complete; /* as its framing says */
};
void reply_clear(struct reply *r);
/* Takes one whole reply from what the client has read. false: it is not whole (yet, or never when
 * c->eof). */
bool client_reply(struct client *c, bool to_head, struct reply *r);
/* The value of a header of the reply, "" when absent. */
struct slice reply_header(const struct reply *r, const char *name);
/* Waits for a reply and checks it. body NULL: not looked at. */
void expect_reply(struct fixture *f, struct client *c, int status, const char *body);
void expect_closed(struct fixture *f,
                   struct client *c); /* FIN, not RST, and nothing unread before it */
bool journal_has(const struct fixture *f, const char *text);

void answer(struct http_exchange *x, int status, struct slice body);

#endif
