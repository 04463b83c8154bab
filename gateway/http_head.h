/* The head of a reply as bytes, rendered without printf: status line, Date, the handler's headers,
 * framing. Pure. http_head_open, then any "Name: value\r\n" lines appended by the caller, then
 * http_head_close. */
#ifndef GATEWAY_HTTP_HEAD_H
#define GATEWAY_HTTP_HEAD_H

#include <stdbool.h>
#include <time.h>
#include "base/buf.h"
#include "base/http1.h"

#define HTTP_DATE_LINE_BYTES 37 /* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" */

/* RFC 9110 5.6.7; out has room for HTTP_DATE_LINE_BYTES; no NUL is written. */
void http_head_date_line(time_t now, char *out);

/* Left out: headers that are the server's own business (Connection, Keep-Alive, Content-Length,
 * Date, Transfer-Encoding, TE, Trailer, Upgrade, Proxy-*) and any whose name or value could not
 * stand in a head (control characters: they would let a value end the head). ERR_TOO_LARGE beyond
 * out's maximum. */
enum err http_head_open(struct buf *out, int status, struct slice date_line,
                        const struct http1_header *headers, size_t header_count) MUST_CHECK;

enum http_head_framing {
    HTTP_HEAD_LENGTH,  /* Content-Length */
    HTTP_HEAD_CHUNKED, /* Transfer-Encoding: chunked */
    HTTP_HEAD_BARE /* neither: 204 and 304 (RFC 9110 8.6), or a body that ends with the connection
                    */
};
enum http_head_connection {
    HTTP_HEAD_IMPLIED, /* the version says it */
    HTTP_HEAD_CLOSE,
    HTTP_HEAD_KEEP_ALIVE /* to an HTTP/1.0 client that asked */
};
enum err http_head_close(struct buf *out, enum http_head_framing framing, uint64_t content_length,
                         enum http_head_connection connection) MUST_CHECK;

#endif
