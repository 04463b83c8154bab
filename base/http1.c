/* HTTP/1.1 framing (RFC 9112). Two passes over a head: find_end walks line ends with memchr and
 * remembers how far it came, so that a head which trickles in is searched once; the parse then runs
 * only on a complete head. Whatever two implementations could read differently is refused: a front
 * door that guesses is how requests are smuggled. Pure; any thread. Called by gateway/http_server
 * and the pooled upstream transport. */
#include "base/http1.h"

#include "base/ascii.h"

/* Character classes, one table: RFC 9110 token (5.6.2) and field-value (5.5), request-target, RFC
 * 3986 authority. */
enum { TOKEN = 1, VALUE = 2, TARGET = 4, HOST = 8 };

#define IS_ALNUM(c)                                                                                \
    (((c) >= '0' && (c) <= '9') || ((c) >= 'A' && (c) <= 'Z') || ((c) >= 'a' && (c) <= 'z'))
#define IS_TOKEN(c)                                                                                \
    (IS_ALNUM(c) || (c) == '!' || (c) == '#' || (c) == '$' || (c) == '%' || (c) == '&' ||          \
     (c) == '\'' || (c) == '*' || (c) == '+' || (c) == '-' || (c) == '.' || (c) == '^' ||          \
     (c) == '_' || (c) == '`' || (c) == '|' || (c) == '~')
#define IS_VALUE(c)  ((c) == '\t' || ((c) >= ' ' && (c) != 0x7F))
#define IS_TARGET(c) ((c) > ' ' && (c) < 0x7F)
#define IS_HOST(c)                                                                                 \
    (IS_ALNUM(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~' || (c) == '%' ||          \
     (c) == '!' || (c) == '$' || (c) == '&' || (c) == '\'' || (c) == '(' || (c) == ')' ||          \
     (c) == '*' || (c) == '+' || (c) == ',' || (c) == ';' || (c) == '=' || (c) == ':' ||           \
     (c) == '[' || (c) == ']')
#define CLASS(c)                                                                                   \
    ((IS_TOKEN(c) ? TOKEN : 0) | (IS_VALUE(c) ? VALUE : 0) | (IS_TARGET(c) ? TARGET : 0) |         \
     (IS_HOST(c) ? HOST : 0))
#define CLASS4(c)  CLASS(c), CLASS((c) + 1), CLASS((c) + 2), CLASS((c) + 3)
#define CLASS16(c) CLASS4(c), CLASS4((c) + 4), CLASS4((c) + 8), CLASS4((c) + 12)
#define CLASS64(c) CLASS16(c), CLASS16((c) + 16), CLASS16((c) + 32), CLASS16((c) + 48)

static const uint8_t classes[256] = {CLASS64(0), CLASS64(64), CLASS64(128), CLASS64(192)};

static bool is(char c, int class)
{
    return classes[(unsigned char)c] & class;
}

/* First position at or after pos whose byte is not of the class. A whole head ends in LF, which no
 * class contains. */
static size_t skip(struct slice in, size_t pos, int class)
{
    while (pos < in.n && is(in.p[pos], class))
        pos++;
    return pos;
}

static bool all(struct slice s, int class)
{
    return skip(s, 0, class) == s.n;
}

/* ---- finding the end ---- */

static enum http1_parse find_end(struct slice in, size_t *scanned, size_t *end, const char **why)
{
    size_t pos = *scanned;
    const char *lf;
    while (pos < in.n && (lf = memchr(in.p + pos, '\n', in.n - pos))) {
        size_t i = (size_t)(lf - in.p);
        if (i == 0 || in.p[i - 1] != '\r') {
            *why = "a line ends in a bare LF";
            return HTTP1_BAD;
        }
        pos = i + 1;
        if (i >= 3 && in.p[i - 2] == '\n') {
            *scanned = *end = pos;
            return HTTP1_DONE;
        }
    }
    *scanned = in.n;
    return HTTP1_MORE;
}

/* ---- header lines ---- */

/* What the header lines say about framing, collected while they are read. */
struct framing {
    bool request;
    bool has_length, chunked, has_coding;
    uint64_t length;
    unsigned hosts;
    bool close, keep_alive;
    bool expect_continue;
};

struct fault {
    enum err err;
    const char *why;
};

static bool fail(struct fault *f, enum err e, const char *why)
{
    f->err = e;
    f->why = why;
    return false;
}

/* Digits only: servers have read "+5", "-0", "0x5", "5 5" and "5,5" differently. */
static bool parse_length(struct slice v, uint64_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < v.n; i++) {
        if (!ascii_is_digit(v.p[i]))
            return false;
        uint64_t digit = (uint64_t)(v.p[i] - '0');
        if (n > (INT64_MAX - digit) / 10) /* bounded so that callers may add to it */
            return false;
        n = n * 10 + digit;
    }
    *out = n;
    return v.n > 0;
}

static bool note_length(struct framing *fr, struct slice value, struct fault *f)
{
    uint64_t n;
    if (!parse_length(value, &n))
        return fail(f, ERR_BAD_HTTP, "Content-Length is not a plain number");
    if (fr->has_length && (fr->request || n != fr->length))
        return fail(f, ERR_BAD_HTTP, "more than one Content-Length");
    fr->has_length = true;
    fr->length = n;
    return true;
}

static bool note_coding(struct framing *fr, struct slice value, struct fault *f)
{
    if (fr->has_coding)
        return fail(f, ERR_BAD_HTTP, "more than one Transfer-Encoding");
    fr->has_coding = true;
    if (!slice_ieq(value, SLICE("chunked")))
        return fail(f, ERR_NOT_IMPLEMENTED, "a transfer coding other than chunked");
    fr->chunked = true;
    return true;
}

/* The next element of a comma-separated list, trimmed; empty ones are skipped (RFC 9110 5.6.1). */
static bool list_next(struct slice *rest, struct slice *element)
{
    while (rest->n) {
        const char *comma = memchr(rest->p, ',', rest->n);
        size_t n = comma ? (size_t)(comma - rest->p) : rest->n;
        *element = slice_trim(slice_make(rest->p, n));
        *rest = slice_from(*rest, n + 1);
        if (element->n)
            return true;
    }
    return false;
}

static void note_connection(struct framing *fr, struct slice value)
{
    struct slice element;
    while (list_next(&value, &element)) {
        fr->close = fr->close || slice_ieq(element, SLICE("close"));
        fr->keep_alive = fr->keep_alive || slice_ieq(element, SLICE("keep-alive"));
    }
}

static bool note_host(struct framing *fr, struct slice value, struct fault *f)
{
    if (++fr->hosts > 1)
        return fail(f, ERR_BAD_HTTP, "more than one Host");
    if (!all(value, HOST))
        return fail(f, ERR_BAD_HTTP, "Host is not a host name");
    return true;
}

static bool note_expect(struct framing *fr, struct slice value, struct fault *f)
{
    if (!slice_ieq(value, SLICE("100-continue")))
        return fail(f, ERR_EXPECTATION_FAILED, "an expectation other than 100-continue");
    fr->expect_continue = true;
    return true;
}

/* Five names matter for framing; their lengths differ, so telling them apart is cheap. */
static bool note_header(struct framing *fr, const struct http1_header *h, struct fault *f)
{
    switch (h->name.n) {
    case 4:
        return !fr->request || !slice_ieq(h->name, SLICE("Host")) || note_host(fr, h->value, f);
    case 6:
        return !fr->request || !slice_ieq(h->name, SLICE("Expect")) || note_expect(fr, h->value, f);
    case 10:
        if (slice_ieq(h->name, SLICE("Connection")))
            note_connection(fr, h->value);
        return true;
    case 14:
        return !slice_ieq(h->name, SLICE("Content-Length")) || note_length(fr, h->value, f);
    case 17:
        return !slice_ieq(h->name, SLICE("Transfer-Encoding")) || note_coding(fr, h->value, f);
    default:
        return true;
    }
}

/* One "name: value CRLF" at *pos of a complete head; moves *pos behind it. */
static bool header_line(struct slice in, size_t *pos, struct http1_header *h, struct fault *f)
{
    size_t begin = *pos, colon = skip(in, begin, TOKEN);
    if (colon == begin) {
        bool fold = in.p[begin] == ' ' || in.p[begin] == '\t';
        return fail(f, ERR_BAD_HTTP,
                    fold ? "a folded header line" : "a header line without a name");
    }
    if (in.p[colon] != ':')
        return fail(f, ERR_BAD_HTTP, "a header name is followed by something other than a colon");
    size_t end = skip(in, colon + 1, VALUE);
    if (in.p[end] != '\r' || in.p[end + 1] != '\n')
        return fail(f, ERR_BAD_HTTP, "a control character in a header");
    h->name = slice_make(in.p + begin, colon - begin);
    h->value = slice_trim(slice_make(in.p + colon + 1, end - colon - 1));
    *pos = end + 2;
    return true;
}

/* The header lines of a complete head up to and including the empty line. in ends with the head. */
static bool header_lines(struct slice in, size_t pos, struct http1_head *head, struct framing *fr,
                         struct fault *f)
{
    head->header_count = 0;
    while (pos + 2 < in.n) { /* the empty line is last */
        if (head->header_count == HTTP1_MAX_HEADERS)
            return fail(f, ERR_HEADERS_TOO_LARGE, "too many headers");
        struct http1_header *h = &head->headers[head->header_count];
        if (!header_line(in, &pos, h, f) || !note_header(fr, h, f))
            return false;
        head->header_count++;
    }
    head->head_bytes = in.n;
    if (fr->has_coding && fr->has_length)
        return fail(f, ERR_BAD_HTTP, "Transfer-Encoding together with Content-Length");
    if (fr->has_coding && head->minor == 0)
        return fail(f, ERR_BAD_HTTP, "Transfer-Encoding in HTTP/1.0");
    return true;
}

/* ---- requests ---- */

/* "HTTP/1.1" at pos: its minor version, 0 or 1; -1 for another version, -2 for anything else. */
static int parse_version(struct slice in, size_t pos)
{
    struct slice v = slice_from(in, pos);
    if (v.n < 8 || memcmp(v.p, "HTTP/", 5) != 0 || !ascii_is_digit(v.p[5]) || v.p[6] != '.' ||
        !ascii_is_digit(v.p[7]))
        return -2;
    return v.p[5] == '1' && v.p[7] <= '1' ? v.p[7] - '0' : -1;
}

static bool request_line(struct slice in, size_t *pos, struct http1_head *head, struct fault *f)
{
    size_t begin = *pos, method_end = skip(in, begin, TOKEN);
    if (method_end == begin || in.p[method_end] != ' ')
        return fail(f, ERR_BAD_HTTP, "the request line has no method");
    size_t target = method_end + 1, target_end = skip(in, target, TARGET);
    if (target_end == target || in.p[target_end] != ' ')
        return fail(f, ERR_BAD_HTTP, "the request line has no proper target and version");
    int minor = parse_version(in, target_end + 1);
    size_t end = target_end + 9;
    if (minor == -2 || in.p[end] != '\r' || in.p[end + 1] != '\n')
        return fail(f, ERR_BAD_HTTP, "the request line has no proper version");
    if (minor == -1)
        return fail(f, ERR_HTTP_VERSION, "a version other than HTTP/1.0 and HTTP/1.1");
    head->method = slice_make(in.p + begin, method_end - begin);
    head->target = slice_make(in.p + target, target_end - target);
    head->status = 0;
    head->minor = minor;
    *pos = end + 2;
    return true;
}

static bool request_framing(struct http1_head *head, const struct framing *fr, struct fault *f)
{
    if (fr->hosts == 0 && head->minor == 1)
        return fail(f, ERR_BAD_HTTP, "no Host");
    head->body = fr->chunked      ? HTTP1_BODY_CHUNKED
                 : fr->has_length ? HTTP1_BODY_LENGTH
                                  : HTTP1_BODY_NONE;
    head->content_length = fr->length;
    head->keep_alive = !fr->close && (head->minor == 1 || fr->keep_alive);
    head->expect_continue = fr->expect_continue && head->minor == 1; /* RFC 9110 10.1.1 */
    return true;
}

/* What cannot become a request, seen before its head is complete: TLS or noise on a plain port is
 * turned away at once. */
static bool hopeless_request(struct slice in)
{
    if (in.n == 0)
        return false;
    if (in.p[0] == '\r')
        return in.n > 1 && in.p[1] != '\n';
    return !is(in.p[0], TOKEN);
}

enum http1_parse http1_parse_request(struct slice in, size_t *scanned, struct http1_head *head,
                                     enum err *err, const char **why)
{
    struct fault f = {ERR_BAD_HTTP, "the first byte is not that of a request"};
    size_t end = 0;
    enum http1_parse found = hopeless_request(in) ? HTTP1_BAD : find_end(in, scanned, &end, &f.why);
    if (found == HTTP1_DONE) {
        struct slice whole = slice_make(in.p, end);
        struct framing fr = {.request = true};
        /* One empty line before a request is forgiven (RFC 9112 2.2). */
        size_t pos = in.p[0] == '\r' ? 2 : 0;
        if (request_line(whole, &pos, head, &f) && header_lines(whole, pos, head, &fr, &f) &&
            request_framing(head, &fr, &f))
            return HTTP1_DONE;
        found = HTTP1_BAD;
    }
    if (found == HTTP1_BAD) {
        *err = f.err;
        *why = f.why;
    }
    return found;
}

/* ---- responses ---- */

static bool status_line(struct slice in, size_t *pos, struct http1_head *head, struct fault *f)
{
    head->minor = parse_version(in, 0);
    if (head->minor < 0)
        return fail(f, ERR_BAD_HTTP, "the status line does not begin with HTTP/1.0 or HTTP/1.1");
    /* A whole head has at least CRLF CRLF behind the version, so these four bytes are there. */
    const char *s = in.p + 8;
    if (s[0] != ' ' || s[1] < '1' || s[1] > '5' || !ascii_is_digit(s[2]) || !ascii_is_digit(s[3]))
        return fail(f, ERR_BAD_HTTP, "the status line has no proper status");
    head->status = (s[1] - '0') * 100 + (s[2] - '0') * 10 + (s[3] - '0');
    size_t end = 12;
    if (in.p[end] == ' ')
        end = skip(in, end + 1, VALUE);
    if (in.p[end] != '\r' || in.p[end + 1] != '\n')
        return fail(f, ERR_BAD_HTTP, "the status line does not end properly");
    head->method = head->target = slice_make("", 0);
    *pos = end + 2;
    return true;
}

/* RFC 9112 6.3. */
static void response_framing(struct http1_head *head, const struct framing *fr,
                             bool request_was_head)
{
    int s = head->status;
    if (request_was_head || s < 200 || s == 204 || s == 304)
        head->body = HTTP1_BODY_NONE;
    else if (fr->chunked)
        head->body = HTTP1_BODY_CHUNKED;
    else
        head->body = fr->has_length ? HTTP1_BODY_LENGTH : HTTP1_BODY_UNTIL_CLOSE;
    head->content_length = fr->length;
    head->keep_alive =
        !fr->close && (head->minor == 1 || fr->keep_alive) && head->body != HTTP1_BODY_UNTIL_CLOSE;
    head->expect_continue = false;
}

enum http1_parse http1_parse_response(struct slice in, size_t *scanned, bool request_was_head,
                                      struct http1_head *head, const char **why)
{
    static const char begin[] = "HTTP/1.";
    size_t seen = in.n < sizeof begin - 1 ? in.n : sizeof begin - 1;
    struct fault f = {ERR_BAD_HTTP, "the answer does not begin with HTTP/1."};
    size_t end = 0;
    enum http1_parse found =
        seen && memcmp(in.p, begin, seen) != 0 ? HTTP1_BAD : find_end(in, scanned, &end, &f.why);
    if (found == HTTP1_DONE) {
        struct slice whole = slice_make(in.p, end);
        struct framing fr = {.request = false};
        size_t pos = 0;
        if (status_line(whole, &pos, head, &f) && header_lines(whole, pos, head, &fr, &f)) {
            response_framing(head, &fr, request_was_head);
            return HTTP1_DONE;
        }
        found = HTTP1_BAD;
    }
    if (found == HTTP1_BAD)
        *why = f.why;
    return found;
}

/* ---- looking at a parsed head ---- */

const struct http1_header *http1_find(const struct http1_head *head, struct slice name)
{
    for (size_t i = 0; i < head->header_count; i++)
        if (slice_ieq(head->headers[i].name, name))
            return &head->headers[i];
    return NULL;
}

bool http1_list_has(const struct http1_head *head, struct slice name, struct slice token)
{
    for (size_t i = 0; i < head->header_count; i++) {
        if (!slice_ieq(head->headers[i].name, name))
            continue;
        struct slice rest = head->headers[i].value, element;
        while (list_next(&rest, &element))
            if (slice_ieq(element, token))
                return true;
    }
    return false;
}

bool http1_is_hop_by_hop(const struct http1_head *head, struct slice name)
{
    static const char *const fixed[] = {"connection", "keep-alive",        "te",
                                        "trailer",    "transfer-encoding", "upgrade"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (slice_ieq(name, slice_str(fixed[i])))
            return true;
    if (name.n > 6 && strncasecmp(name.p, "proxy-", 6) == 0)
        return true;
    return http1_list_has(head, SLICE("connection"), name);
}

bool http1_valid_name(struct slice name)
{
    return name.n > 0 && all(name, TOKEN);
}

bool http1_valid_value(struct slice value)
{
    return all(value, VALUE) && slice_trim(value).n == value.n;
}

/* ---- chunked bodies ---- */

/* Bounds on what is read and dropped. Signed-chunk extensions take about 90 bytes; trailers of LLM
 * servers none. */
#define CHUNK_LINE_MAX    512
#define CHUNK_TRAILER_MAX 8192

enum chunk_state {
    AT_SIZE,    /* expecting the first digit */
    IN_SIZE,    /* further digits, or what may follow them */
    BEFORE_EXT, /* blanks after the size: only ';' may end them */
    IN_EXT,     /* extension, ignored */
    AT_SIZE_LF, /* CR seen */
    IN_DATA,    /* left bytes to come */
    AT_DATA_CR,
    AT_DATA_LF,
    AT_TRAILER, /* first byte of a trailer line, or of the final empty line */
    IN_TRAILER_NAME,
    IN_TRAILER_VALUE,
    AT_TRAILER_LF,
    AT_END_LF,
    AT_END,
    BROKEN
};

void http1_chunked_init(struct http1_chunked *c)
{
    *c = (struct http1_chunked){.state = AT_SIZE};
}

static int add_size_digit(struct http1_chunked *c, char b)
{
    int digit = ascii_hex(b);
    if (digit < 0 || c->left > (uint64_t)INT64_MAX >> 4)
        return BROKEN;
    c->left = c->left << 4 | (uint64_t)digit;
    return IN_SIZE;
}

/* The state after byte b of a size line; its length is already checked. */
static int size_line_step(struct http1_chunked *c, char b)
{
    switch ((enum chunk_state)c->state) {
    case AT_SIZE:
        c->left = 0;
        return add_size_digit(c, b);
    case IN_SIZE:
        if (b == '\r')
            return AT_SIZE_LF;
        if (b == ';')
            return IN_EXT;
        if (b == ' ' || b == '\t')
            return BEFORE_EXT;
        return add_size_digit(c, b);
    case BEFORE_EXT:
        return b == ';' ? IN_EXT : b == ' ' || b == '\t' ? BEFORE_EXT : BROKEN;
    case IN_EXT:
        return b == '\r' ? AT_SIZE_LF : is(b, VALUE) ? IN_EXT : BROKEN;
    case AT_SIZE_LF:
        return b != '\n' ? BROKEN : c->left ? IN_DATA : AT_TRAILER;
    case IN_DATA:
    case AT_DATA_CR:
    case AT_DATA_LF:
    case AT_TRAILER:
    case IN_TRAILER_NAME:
    case IN_TRAILER_VALUE:
    case AT_TRAILER_LF:
    case AT_END_LF:
    case AT_END:
    case BROKEN:
        break;
    }
    return BROKEN;
}

/* The same for the bytes between chunks and for the trailer section. */
static int other_line_step(struct http1_chunked *c, char b)
{
    switch ((enum chunk_state)c->state) {
    case AT_DATA_CR:
        return b == '\r' ? AT_DATA_LF : BROKEN;
    case AT_DATA_LF:
        return b == '\n' ? AT_SIZE : BROKEN;
    case AT_TRAILER:
        return b == '\r' ? AT_END_LF : is(b, TOKEN) ? IN_TRAILER_NAME : BROKEN;
    case IN_TRAILER_NAME:
        return b == ':' ? IN_TRAILER_VALUE : is(b, TOKEN) ? IN_TRAILER_NAME : BROKEN;
    case IN_TRAILER_VALUE:
        return b == '\r' ? AT_TRAILER_LF : is(b, VALUE) ? IN_TRAILER_VALUE : BROKEN;
    case AT_TRAILER_LF:
        return b == '\n' ? AT_TRAILER : BROKEN;
    case AT_END_LF:
        return b == '\n' ? AT_END : BROKEN;
    case AT_SIZE:
    case IN_SIZE:
    case BEFORE_EXT:
    case IN_EXT:
    case AT_SIZE_LF:
    case IN_DATA:
    case AT_END:
    case BROKEN:
        break;
    }
    return BROKEN;
}

/* One byte outside the payload. */
static int chunk_step(struct http1_chunked *c, char b)
{
    if (c->state <= AT_SIZE_LF) {
        c->line_bytes = c->state == AT_SIZE ? 1 : c->line_bytes + 1;
        return c->line_bytes > CHUNK_LINE_MAX ? BROKEN : size_line_step(c, b);
    }
    if (c->state >= AT_TRAILER && ++c->trailer_bytes > CHUNK_TRAILER_MAX)
        return BROKEN;
    return other_line_step(c, b);
}

enum http1_parse http1_chunked_feed(struct http1_chunked *c, struct slice in, size_t *used,
                                    struct slice *data)
{
    size_t pos = 0;
    *data = slice_make("", 0);
    while (pos < in.n && c->state != AT_END && c->state != BROKEN) {
        if (c->state != IN_DATA) {
            c->state = chunk_step(c, in.p[pos++]);
            continue;
        }
        if (data->n)
            break; /* one run of payload per call */
        size_t take = c->left < in.n - pos ? (size_t)c->left : in.n - pos;
        *data = slice_make(in.p + pos, take);
        pos += take;
        c->left -= take;
        if (c->left == 0)
            c->state = AT_DATA_CR;
    }
    *used = pos;
    if (c->state == BROKEN)
        *data = slice_make("", 0);
    return c->state == AT_END ? HTTP1_DONE : c->state == BROKEN ? HTTP1_BAD : HTTP1_MORE;
}

size_t http1_chunk_header(size_t n, char *out)
{
    static const char hex[] = "0123456789abcdef";
    char reversed[2 * sizeof n];
    size_t digits = 0, len = 0;
    do
        reversed[digits++] = hex[n & 15];
    while (n >>= 4);
    while (digits)
        out[len++] = reversed[--digits];
    out[len++] = '\r';
    out[len++] = '\n';
    return len;
}
