/* A transfer of the libcurl transport and the engine that carries it. Only for upstream_curl*.c,
 * which alone include libcurl. Worker's thread. */
#ifndef BACKENDS_UPSTREAM_CURL_INT_H
#define BACKENDS_UPSTREAM_CURL_INT_H

#include <curl/curl.h>
#include "backends/upstream_int.h"
#include "base/buf.h"

/* A multi handle with its connections. libcurl cannot close idle connections alone, so closing them
 * means that new transfers get a new engine, and the old one goes when its last transfer has ended.
 */
struct engine {
    struct list link;    /* in curl_state.engines */
    struct upstream *up; /* borrowed */
    CURLM *multi;        /* owned */
    struct list exchanges, ready;
    bool nudge;                 /* see note_cancelled */
    struct event *timer, *turn; /* owned */
    int in_curl;                /* depth of libcurl on the stack */
    bool retired;               /* no new transfers */
    struct http1_head head;     /* valid during on_head */
};

enum begin { QUEUED, RUNNING, ENDED };

struct transfer {
    struct list link, ready;
    struct watch watch;
    struct engine *e;
    struct upstream_call *call; /* NULL: aborted, to be freed on the next turn */
    struct upstream_request req;
    CURL *easy;                 /* owned */
    struct curl_slist *headers; /* owned */
    enum begin begin;
    bool dropped; /* libcurl's callbacks find nobody any more */
    bool connected, resent, head_done, curl_paused, http2;
    bool multiplexed; /* HTTP/2 was asked for: the connection may be shared */
    bool close_delimited,
        close_notify; /* over TLS the end of such a body counts only with close_notify */
    enum err failed;  /* our own verdict, before libcurl's */
    const char *why;
    size_t piece, offset; /* of the request body: where reading stands */
    struct buf head;
    int interim;
    uint64_t received;
    int64_t start_us, first_byte_us, connect_us;
    char error[CURL_ERROR_SIZE];
};

/* The end on the next turn. The first reason counts. */
void upstream_curl_fail_soon(struct transfer *x, enum err err, const char *why);

/* ---- upstream_curl_request.c ---- */
/* All of x->easy's options, and x->headers; false: libcurl refused one. */
bool upstream_curl_set_up(struct transfer *x);

/* ---- upstream_curl_answer.c ---- */
/* libcurl's error in our words. Before our connect phase is over nothing was reached; after the
 * head, an end is a cut. */
enum err upstream_curl_error(const struct transfer *x, CURLcode code);
/* For libcurl; arg is the struct transfer. */
size_t upstream_curl_on_header(char *data, size_t size, size_t count, void *arg);
size_t upstream_curl_on_body(char *data, size_t size, size_t count, void *arg);
size_t upstream_curl_on_read(char *out, size_t size, size_t count, void *arg);
int upstream_curl_on_seek(void *arg, curl_off_t offset, int origin);
int upstream_curl_on_connected(void *arg, char *remote, char *local, int remote_port,
                               int local_port);

#endif
