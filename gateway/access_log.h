/* The access log: one logfmt line per request, written by the worker that served it, buffered per
 * worker and flushed at least every 100 ms and when 16 KB are waiting; whole lines per write(2), so
 * that several workers can append to one O_APPEND file. Reopened on SIGHUP. time=... id=req_...
 * peer=127.0.0.1:51234 method=POST path=/v1/chat/completions status=200 tenant=acme model=auto
 * served=gpt-4.1 endpoint=h:p route=default attempts=1 in=123 cached=0 out=45 cost=0.00012
 * class=math cache=miss bytes=611 ttft_ms=12 ms=345 err=- Prompts, answers and keys never appear.
 */
#ifndef GATEWAY_ACCESS_LOG_H
#define GATEWAY_ACCESS_LOG_H

#include "base/err.h"
#include <stdint.h>
#include "base/buf.h"

struct access_log; /* the file; shared by workers */
struct access_log *access_log_open(const char *path,
                                   struct err_text *t); /* "stderr" or a file name */
void access_log_reopen(struct access_log *a);           /* any thread */
void access_log_close(struct access_log *a);

struct access_log_writer { /* one per worker, embedded */
    struct access_log *log;
    struct buf pending;
    int64_t oldest_us;
};
void access_log_writer_init(struct access_log_writer *w,
                            struct access_log *a); /* a may be NULL: every call is then a no-op */
void access_log_writer_clear(struct access_log_writer *w); /* flushes */
void access_log_line(struct access_log_writer *w, struct slice line,
                     int64_t now_us); /* without newline; flushes when due */
void access_log_flush(struct access_log_writer *w);

#endif
