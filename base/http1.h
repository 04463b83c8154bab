/* HTTP/1.1 message framing, strict (RFC 9112): heads of requests and responses, chunked bodies,
 * body length rules. Pure: bytes in, offsets out; no sockets, no allocation. Views point into the
 * caller's buffer.
 *
 * Refused (each is a way to smuggle a request or to desynchronise a connection): bare LF or CR,
 * obs-fold, space before the colon, control characters in values, a second or differing
 * Content-Length, signs or blanks in a length, Transfer-Encoding with Content-Length, a transfer
 * coding other than chunked as the last and only one, missing or repeated Host in an HTTP/1.1
 * request, chunk sizes with a prefix, more than HTTP1_MAX_HEADERS headers. Response heads are a
 * little more lenient only where real servers need it (an empty reason phrase, equal repeated
 * Content-Length). */
#ifndef BASE_HTTP1_H
#define BASE_HTTP1_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/slice.h"

#define HTTP1_MAX_HEADERS 100

struct http1_header {
    struct slice name, value; /* value trimmed of OWS */
};

/* How the body of a message is delimited. */
enum http1_body { HTTP1_BODY_NONE, HTTP1_BODY_LENGTH, HTTP1_BODY_CHUNKED, HTTP1_BODY_UNTIL_CLOSE };

struct http1_head {
    /* request */
    struct slice method, target;
    /* response */
    int status; /* 100..599 */
    /* both */
    int minor; /* HTTP/1.minor: 0 or 1 */
    size_t header_count;
    size_t head_bytes; /* including the empty line */
    enum http1_body body;
    uint64_t content_length; /* when body == HTTP1_BODY_LENGTH */
    bool keep_alive;         /* from version and Connection */
    bool expect_continue;    /* request only: Expect: 100-continue */
    /* Last, so that whoever keeps heads around may store only the header_count first ones: do not
     * copy a head by value. */
    struct http1_header headers[HTTP1_MAX_HEADERS];
};

/* Result of feeding a prefix. */
enum http1_parse { HTTP1_DONE, HTTP1_MORE, HTTP1_BAD };

/* Parses a request head from the start of in. scanned (in/out, start with 0) remembers how far the
 * search for the end went, so that a head which arrives byte by byte costs O(n). On HTTP1_BAD *err
 * is ERR_BAD_HTTP, ERR_HEADERS_TOO_LARGE (too many headers), ERR_HTTP_VERSION, ERR_NOT_IMPLEMENTED
 * (transfer coding) or ERR_EXPECTATION_FAILED, and *why a static sentence. */
enum http1_parse http1_parse_request(struct slice in, size_t *scanned, struct http1_head *head,
                                     enum err *err, const char **why);
/* The same for a response. request_was_head: the body is then NONE. 1xx, 204 and 304 have no body
 * (RFC 9112 6.3). */
enum http1_parse http1_parse_response(struct slice in, size_t *scanned, bool request_was_head,
                                      struct http1_head *head, const char **why);

/* First header of that name (ASCII case-insensitive), or NULL. */
const struct http1_header *http1_find(const struct http1_head *head, struct slice name);
/* Does a comma-separated list header contain the token? All headers of that name are looked at. */
bool http1_list_has(const struct http1_head *head, struct slice name, struct slice token);
/* Connection, Keep-Alive, Proxy-*, TE, Trailer, Transfer-Encoding, Upgrade, and whatever Connection
 * names (RFC 9110 7.6.1). */
bool http1_is_hop_by_hop(const struct http1_head *head, struct slice name);
/* RFC 9110 token and field-value checks, for headers that configuration supplies. */
bool http1_valid_name(struct slice name);
bool http1_valid_value(struct slice value);

/* Incremental chunked decoder (RFC 9112 7.1). Trailers are read and dropped, extensions are read
 * and ignored, both bounded. */
struct http1_chunked {
    int state;
    uint64_t left;       /* bytes of the current chunk still to come */
    uint32_t line_bytes; /* length of the current size or trailer line, bounded */
    uint32_t trailer_bytes;
};
void http1_chunked_init(struct http1_chunked *c);
/* Reads from in; *used bytes were taken, *data (inside in) is decoded payload, possibly empty. Call
 * again with the rest until *used == in.n or the result is not HTTP1_MORE. HTTP1_DONE: the
 * terminating chunk and trailers were read. */
enum http1_parse http1_chunked_feed(struct http1_chunked *c, struct slice in, size_t *used,
                                    struct slice *data);
/* "1a2b\r\n" into out (>= 20 bytes); returns its length. The payload and "\r\n" follow. */
size_t http1_chunk_header(size_t n, char *out);

#endif
