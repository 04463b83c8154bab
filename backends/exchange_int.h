/* One exchange of the HTTP/1.1 transport, and the transport it belongs to. Only for
 * upstream_http1.c and exchange*.c. Worker's thread.
 *
 * An exchange's states are what it waits for:
 *
 *   ADDRESS -> CONNECT -> TLS -> HEAD -> BODY -> COMPLETE
 *                 ^______________|  once, when a pooled connection turns out to be closed (see
 * upstream.h)
 *
 * Sending goes on beside HEAD and BODY: a server may answer before it has read everything. Bytes
 * are delivered straight from the read buffer; only a split head and what a paused call has not
 * taken is kept (`held`).
 *
 * Life: callbacks run only from emit_head, emit_data and finish. An exchange aborted inside its
 * callback loses its call and its connection at once and is freed by feed's caller, never under it.
 */
#ifndef BACKENDS_EXCHANGE_INT_H
#define BACKENDS_EXCHANGE_INT_H

#include "backends/pool.h"
#include "backends/resolver.h"
#include "backends/upstream_int.h"
#include "base/buf.h"

#define EXCHANGE_READ_BYTES (64 * 1024)

enum exchange_state { WAIT_ADDRESS, WAIT_CONNECT, WAIT_TLS, WAIT_HEAD, WAIT_BODY, COMPLETE };

struct http1 {
    struct upstream *up; /* borrowed: it owns us */
    struct pool_table pools;
    struct list exchanges;     /* all of them */
    struct list ready;         /* those with something to do on the next turn */
    struct event *turn;        /* owned: made active when ready is not empty */
    struct resolver *resolver; /* with its mailbox and event: from the first name on */
    struct mailbox answers;
    struct event *answered;
    struct http1_head head; /* of the answer being parsed; valid during on_head only */
    char *out;              /* owned: the request head being sent */
    size_t out_cap;
    char in[EXCHANGE_READ_BYTES];
};

struct dial { /* while an exchange has no connection yet */
    struct resolver_addrs addrs;
    int next;
    int error;      /* errno of the last address that failed */
    int64_t due_us; /* for all of them; -1: none */
};

struct exchange {
    struct list link, ready;
    struct watch watch;
    struct http1 *h;
    struct upstream_call *call; /* NULL: aborted inside its own callback */
    struct upstream_request req;
    struct pool *pool;
    struct conn *conn; /* owned; NULL before the connect and after the end */
    struct dial *dial; /* owned */
    struct resolver_lookup *lookup;
    enum exchange_state state;
    bool busy; /* inside a callback */
    bool reused, retried, sent_head;
    bool resent;                            /* the first copy had left in part or whole */
    bool send_broken;                       /* the server takes no more; it may still answer */
    bool send_waits_read, read_waits_write; /* TLS only */
    bool any_byte, keep_alive;
    enum err failed;
    const char *why; /* static, or why_text */
    char *why_text;  /* owned; or NULL */
    /* request: head and body are one run of bytes, of which sent_bytes have gone */
    uint64_t sent_bytes, body_bytes;
    uint64_t head_bytes; /* 0 until the head was built for the first time */
    /* answer */
    struct buf held;
    size_t scanned;
    int interim;
    enum http1_body body;
    uint64_t left, received;
    struct http1_chunked chunked;
    int64_t start_us, dial_us, begun_us, connect_us, first_byte_us;
};

/* ---- exchange.c: its life ---- */
extern const struct conn_user exchange_user; /* of its connection */
struct exchange *exchange_new(struct http1 *h, struct upstream_call *c,
                              const struct upstream_request *req);
void exchange_free(struct exchange *x); /* detached before */
/* Leaves every list and gives back what others could still call: after this only memory is left. */
void exchange_detach(struct exchange *x);
void exchange_drop_conn(struct exchange *x);
/* Its turn comes. */
void exchange_wake(struct exchange *x);
void exchange_run(struct exchange *x);
/* The end, with on_done. Not from inside another callback. */
void exchange_finish(struct exchange *x, enum err err, const char *why);
/* The end on the next turn of the loop. The first reason counts. */
void exchange_fail_soon(struct exchange *x, enum err err, const char *why);
void exchange_fail_soon_text(struct exchange *x, enum err err, const struct err_text *why);

/* ---- exchange_dial.c: from a name to a connection ---- */
void exchange_dial(struct exchange *x, int64_t now_us);
void exchange_dial_next(struct exchange *x, int64_t now_us); /* the next address */
void exchange_dial_connected(struct exchange *x);            /* or not */
void exchange_dial_tls(struct exchange *x);

/* ---- exchange_send.c: the request ---- */
void exchange_send_begin(struct exchange *x, int64_t now_us);
void exchange_send(struct exchange *x);

static inline bool exchange_sent(const struct exchange *x)
{
    return x->head_bytes && x->sent_bytes == x->head_bytes + x->body_bytes;
}

/* ---- exchange_receive.c: the answer ---- */
void exchange_receive(struct exchange *x);
/* After a pause: first what was held, if anything was. */
void exchange_receive_again(struct exchange *x);

#endif
