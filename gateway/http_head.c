/* Owns nothing. Called by gateway/http_reply once per reply, on the hot path: one reservation that
 * is large enough for everything, then copies. */
#include "gateway/http_head.h"

#include "base/decimal.h"

#define STATUS_LINE_MAX 64

/* Beyond these the reason phrase is empty, which RFC 9112 4 allows. */
static struct slice status_line(int status)
{
#define LINE(code, phrase)                                                                         \
    case code:                                                                                     \
        return SLICE("HTTP/1.1 " #code " " phrase "\r\n")
    switch (status) {
        LINE(200, "OK");
        LINE(201, "Created");
        LINE(202, "Accepted");
        LINE(204, "No Content");
        LINE(301, "Moved Permanently");
        LINE(302, "Found");
        LINE(304, "Not Modified");
        LINE(307, "Temporary Redirect");
        LINE(308, "Permanent Redirect");
        LINE(400, "Bad Request");
        LINE(401, "Unauthorized");
        LINE(402, "Payment Required");
        LINE(403, "Forbidden");
        LINE(404, "Not Found");
        LINE(405, "Method Not Allowed");
        LINE(406, "Not Acceptable");
        LINE(408, "Request Timeout");
        LINE(409, "Conflict");
        LINE(410, "Gone");
        LINE(412, "Precondition Failed");
        LINE(413, "Content Too Large");
        LINE(415, "Unsupported Media Type");
        LINE(417, "Expectation Failed");
        LINE(422, "Unprocessable Content");
        LINE(428, "Precondition Required");
        LINE(429, "Too Many Requests");
        LINE(431, "Request Header Fields Too Large");
        LINE(499, "Client Closed Request");
        LINE(500, "Internal Server Error");
        LINE(501, "Not Implemented");
        LINE(502, "Bad Gateway");
        LINE(503, "Service Unavailable");
        LINE(504, "Gateway Timeout");
        LINE(505, "HTTP Version Not Supported");
        LINE(529, "Overloaded");
    default:
        return SLICE("");
    }
#undef LINE
}

static char *put(char *to, struct slice s)
{
    if (s.n)
        memcpy(to, s.p, s.n);
    return to + s.n;
}

static char *put_two_digits(char *to, int v)
{
    to[0] = (char)('0' + v / 10 % 10);
    to[1] = (char)('0' + v % 10);
    return to + 2;
}

static char *put_status_line(char *to, int status)
{
    struct slice known = status_line(status);
    if (known.n)
        return put(to, known);
    to = put(to, SLICE("HTTP/1.1 "));
    to += decimal_put((uint64_t)status, to);
    return put(to, SLICE(" \r\n"));
}

void http_head_date_line(time_t now, char *out)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm;
    gmtime_r(&now, &tm);
    char *p = put(out, SLICE("Date: "));
    p = put(p, slice_make(days + 3 * tm.tm_wday, 3));
    p = put(p, SLICE(", "));
    p = put_two_digits(p, tm.tm_mday);
    *p++ = ' ';
    p = put(p, slice_make(months + 3 * tm.tm_mon, 3));
    *p++ = ' ';
    p = put_two_digits(p, (tm.tm_year + 1900) / 100);
    p = put_two_digits(p, (tm.tm_year + 1900) % 100);
    *p++ = ' ';
    p = put_two_digits(p, tm.tm_hour);
    *p++ = ':';
    p = put_two_digits(p, tm.tm_min);
    *p++ = ':';
    p = put_two_digits(p, tm.tm_sec);
    put(p, SLICE(" GMT\r\n"));
}

/* The names differ in length, which makes the usual "no" one comparison. */
static bool is_servers_own(struct slice name)
{
    if (name.n > 6 && strncasecmp(name.p, "proxy-", 6) == 0)
        return true;
    switch (name.n) {
    case 2:
        return slice_ieq(name, SLICE("te"));
    case 4:
        return slice_ieq(name, SLICE("date"));
    case 7:
        return slice_ieq(name, SLICE("trailer")) || slice_ieq(name, SLICE("upgrade"));
    case 10:
        return slice_ieq(name, SLICE("connection")) || slice_ieq(name, SLICE("keep-alive"));
    case 14:
        return slice_ieq(name, SLICE("content-length"));
    case 17:
        return slice_ieq(name, SLICE("transfer-encoding"));
    default:
        return false;
    }
}

/* What splits a head is refused here; the finer rules of RFC 9110 5.5 are kept where headers are
 * read or configured. */
static bool is_safe(const struct http1_header *h)
{
    if (!http1_valid_name(h->name))
        return false;
    for (size_t i = 0; i < h->value.n; i++) {
        unsigned char c = (unsigned char)h->value.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7F)
            return false;
    }
    return true;
}

enum err http_head_open(struct buf *out, int status, struct slice date_line,
                        const struct http1_header *headers, size_t header_count)
{
    size_t need = STATUS_LINE_MAX + date_line.n, room_bytes;
    for (size_t i = 0; i < header_count; i++)
        need += headers[i].name.n + headers[i].value.n + 4;
    char *room, *p;
    enum err e = buf_reserve(out, need, &room, &room_bytes);
    if (e)
        return e;
    p = put_status_line(room, status);
    p = put(p, date_line);
    for (size_t i = 0; i < header_count; i++) {
        if (is_servers_own(headers[i].name) || !is_safe(&headers[i]))
            continue;
        p = put(p, headers[i].name);
        p = put(p, SLICE(": "));
        p = put(p, headers[i].value);
        p = put(p, SLICE("\r\n"));
    }
    buf_commit(out, (size_t)(p - room));
    return ERR_OK;
}

enum err http_head_close(struct buf *out, enum http_head_framing framing, uint64_t content_length,
                         enum http_head_connection connection)
{
    char text[96], *p = text;
    switch (framing) {
    case HTTP_HEAD_LENGTH:
        p = put(p, SLICE("Content-Length: "));
        p += decimal_put(content_length, p);
        p = put(p, SLICE("\r\n"));
        break;
    case HTTP_HEAD_CHUNKED:
        p = put(p, SLICE("Transfer-Encoding: chunked\r\n"));
        break;
    case HTTP_HEAD_BARE:
        break;
    }
    switch (connection) {
    case HTTP_HEAD_IMPLIED:
        break;
    case HTTP_HEAD_CLOSE:
        p = put(p, SLICE("Connection: close\r\n"));
        break;
    case HTTP_HEAD_KEEP_ALIVE:
        p = put(p, SLICE("Connection: keep-alive\r\n"));
        break;
    }
    p = put(p, SLICE("\r\n"));
    return buf_append(out, text, (size_t)(p - text));
}
