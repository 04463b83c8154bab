/* What the three files of the HTTP server share: http_server.c (listener, deadlines, deferred
 * work), http_conn.c (reading, the life of a connection and its exchange) and http_reply.c
 * (writing). Nobody else includes this.
 *
 *            accept             first byte         head read          body read
 *   (kernel) ------> CONN_IDLE ----------> CONN_HEAD ---------> CONN_BODY ---------.
 *                      ^  |                    | refused            | refused      v
 *                      |  | client gone        v                    v         CONN_SERVING
 *                      '--|-------------- CONN_FLUSHING <-----------------------'
 *          last byte sent |                    |               last reply call
 *                         v                    v not kept alive
 *                    CONN_CLOSED <------- CONN_LINGERING
 *
 * A connection moves on only in settle (http_conn.c) and in the callbacks of its own events;
 * http_reply_* calls just note what is to be done and, when they come from elsewhere, put the
 * connection on the server's list of deferred work. Memory of a closed connection is released from
 * that list too, so nothing is freed below a function that still uses it. */
#ifndef GATEWAY_HTTP_SERVER_INT_H
#define GATEWAY_HTTP_SERVER_INT_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include "base/list.h"
#include "base/stats.h"
#include "gateway/http_head.h"
#include "gateway/http_server.h"

#define HTTP_SCRATCH_BYTES  ((size_t)64 << 10) /* one recv */
#define HTTP_PIPELINE_BYTES ((size_t)64 << 10) /* read ahead while serving; then reading pauses */
#define HTTP_PEER_BYTES     56                 /* "[" IPv6 "]:65535" */

enum http_conn_state {
    CONN_IDLE,      /* nothing of the next request has come */
    CONN_HEAD,      /* a part of a head has come */
    CONN_BODY,      /* the head was accepted, the body is being read */
    CONN_SERVING,   /* on_request was called, the handler's last reply call has not been made */
    CONN_FLUSHING,  /* it has been made */
    CONN_LINGERING, /* write side shut; input is read and dropped until the client has the reply */
    CONN_CLOSED     /* on the deferred list, to be freed */
};

/* What a connection waits for; one list each, ordered by deadline because a list's timeout is
 * constant. */
enum http_wait {
    WAIT_IDLE,
    WAIT_HEAD,
    WAIT_BODY,
    WAIT_WRITE,
    WAIT_SHORT,
    WAIT_LISTS,
    WAIT_NONE = WAIT_LISTS
};
/* Lingering without input, the last bytes of an aborted reply, a silent newcomer at drain. */
#define HTTP_SHORT_WAIT_MS 1000

struct http_exchange {
    const struct http1_head
        *head; /* in the arena, cut after header_count headers; an empty one before there is any */
    struct slice path, query;
    struct slice body;   /* complete; inside the arena or body_buf */
    struct buf body_buf; /* bodies that did not come together with their head */
    struct http1_chunked chunked;
    struct arena arena;
    void *user; /* the handler's */
    int64_t received_us;
    const char *refuse_message, *refuse_param;
    int64_t retry_after_ms; /* of a refusal; -1: none */
    const char *abort_reason;
    uint64_t sent_bytes;
    int status;    /* of the reply; 0 before */
    bool complete; /* head and body are there */
    bool chunked_reply;
    bool bodyless_reply; /* HEAD, 204, 304 */
};

struct http_conn {
    struct http_server *server;
    struct list link;      /* in server->conns */
    struct list wait_link; /* in one of server->waits */
    struct list todo_link; /* in server->todo */
    struct event read_ev, write_ev;
    struct buf in;  /* bytes of a head that is not complete, or of requests to come */
    struct buf out; /* rendered and not yet taken by the kernel */
    int64_t deadline_us;
    int64_t linger_until_us;
    size_t linger_bytes;
    size_t scanned;      /* see http1_parse_request */
    const char *dropped; /* why the connection must go; NULL: it need not */
    int fd;
    enum http_conn_state state;
    bool in_callback; /* one of its own events is being handled: settling follows anyway */
    bool closing;     /* after this reply */
    bool unread;      /* the client may still be sending what nobody wants */
    bool eof;         /* its FIN came while a finished reply was still leaving */
    bool blocked;     /* the socket takes no more; write_ev is added */
    bool above_high;  /* on_writable is owed */
    bool paused;      /* the pipeline buffer is full: only FIN and RST are watched for */
    bool served;      /* at least one exchange */
    char peer[HTTP_PEER_BYTES];
    struct http_exchange x;
};

struct http_server {
    struct http_server_options opt;
    int listen_fd; /* -1 when draining */
    uint16_t port;
    struct event listen_ev, sweep_ev, todo_ev;
    bool listen_paused; /* out of file descriptors: accepting goes on with the next sweep */
    bool draining, idle_dismissed;
    int64_t sweep_ms;
    struct list conns, todo;
    struct list waits[WAIT_LISTS];
    int64_t wait_ms[WAIT_LISTS]; /* -1: for ever */
    size_t conn_count, active_count;
    char *scratch;           /* owned, HTTP_SCRATCH_BYTES: valid within one read callback */
    struct http1_head *head; /* owned: parsed into, then copied */
    struct buf head_out, error_out;
    time_t date_at;
    char date_line[HTTP_DATE_LINE_BYTES];
    struct stats_cell *connections_cell, *connections_total_cell;
};

/* ---- http_server.c ---- */
/* (Re)starts the clock for what c waits for. */
void http_server_wait(struct http_conn *c, enum http_wait w);
/* c gets a turn of its own once the callback that is running has returned. */
void http_server_defer(struct http_conn *c);
void http_server_count_connection(struct http_server *s, int change); /* +1 or -1 */
void http_server_count_drop(struct http_server *s, const char *reason);

/* ---- http_conn.c ---- */
struct http_conn *http_conn_new(struct http_server *s, int fd, const struct sockaddr_storage *peer);
void http_conn_turn(struct http_conn *c);    /* from the deferred list */
void http_conn_expire(struct http_conn *c);  /* its deadline has passed */
void http_conn_dismiss(struct http_conn *c); /* the server drains and c is idle */
void http_conn_stop(struct http_conn *c);    /* at once; only on_finished is called */
void http_conn_free(struct http_conn *c);    /* closed before */
void http_conn_set_state(struct http_conn *c, enum http_conn_state state);
void http_conn_lose(struct http_conn *c, const char *reason); /* the first reason stays */

/* ---- http_reply.c ---- */
void http_reply_flush(
    struct http_conn *c); /* sends what is queued, as far as the socket takes it */
void http_reply_continue(struct http_conn *c); /* 100 Continue */

#endif
