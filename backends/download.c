/* Downloads. The second file that includes libcurl: upstream_curl is one exchange of a request, on
 * a worker's loop, whose bytes go through; this is a file that grows on a disk, may take minutes
 * and several connections, and blocks. Called by the command line.
 *
 * Life of a file: an attempt asks for what PATH.part lacks; the head of the answer decides whether
 * it goes on (206 at our offset), begins anew (200) or is whole already (416); the body is
 * appended. A broken attempt is repeated while attempts are left. A whole file is digested from the
 * disk, synced, renamed. */
#include "backends/download.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/ascii.h"
#include "base/atomic_file.h"
#include "base/mem.h"

#define MAX_REDIRECTS   10L
#define MAX_ATTEMPTS    64 /* also of those that went forward */
#define VALIDATOR_BYTES 512
#define PATH_BYTES      4096

/* ---- one answer, of either kind ---- */

struct answer {
    CURL *easy; /* owned */
    struct curl_slist *headers;
    char error[CURL_ERROR_SIZE];
    char shown[300]; /* the URL, for messages */
    long status;     /* of the latest head */
    bool body_begun;
    struct err_text *t;
};

static void answer_clear(struct answer *a)
{
    curl_easy_cleanup(a->easy);
    curl_slist_free_all(a->headers);
}

static void add_header(struct answer *a, const char *line)
{
    a->headers = curl_slist_append(a->headers, line);
    mem_need(a->headers);
}

static void set_url(struct answer *a, const char *url)
{
    /* What begins encrypted stays so. */
    bool https = strncasecmp(url, "https:", 6) == 0;
    curl_easy_setopt(a->easy, CURLOPT_URL, url);
    curl_easy_setopt(a->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(a->easy, CURLOPT_REDIR_PROTOCOLS_STR, https ? "https" : "http,https");
    curl_easy_setopt(a->easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(a->easy, CURLOPT_MAXREDIRS, MAX_REDIRECTS);
    const char *certificates = getenv("SSL_CERT_FILE");
    if (certificates && *certificates)
        curl_easy_setopt(a->easy, CURLOPT_CAINFO, certificates);
}

static void set_limits(struct answer *a, const struct download_limits *limits)
{
    assert(limits->connect_ms > 0 && limits->stall_seconds > 0 && limits->attempts > 0);
    curl_easy_setopt(a->easy, CURLOPT_CONNECTTIMEOUT_MS, limits->connect_ms);
    curl_easy_setopt(a->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(a->easy, CURLOPT_LOW_SPEED_TIME, limits->stall_seconds);
}

static void answer_init(struct answer *a, const char *url, const struct download_limits *limits,
                        struct err_text *t)
{
    *a = (struct answer){.t = t};
    a->easy = curl_easy_init();
    mem_need(a->easy);
    download_url_show(url, a->shown, sizeof a->shown);
    curl_easy_setopt(a->easy, CURLOPT_ERRORBUFFER, a->error);
    curl_easy_setopt(a->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(a->easy, CURLOPT_USERAGENT, "weir");
    set_url(a, url);
    set_limits(a, limits);
}

/* What a finished transfer says, without its status. */
static enum err translate(const struct answer *a, CURLcode code)
{
    switch ((int)code) {
    case CURLE_OK:
        return ERR_OK;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return ERR_UPSTREAM_DNS;
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
        return ERR_UPSTREAM_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
        return ERR_UPSTREAM_TLS;
    case CURLE_OPERATION_TIMEDOUT: {
        curl_off_t connected = 0;
        curl_easy_getinfo(a->easy, CURLINFO_CONNECT_TIME_T, &connected);
        return connected ? ERR_UPSTREAM_IDLE_TIMEOUT : ERR_UPSTREAM_CONNECT_TIMEOUT;
    }
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
        return ERR_UPSTREAM_RESET;
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return a->body_begun ? ERR_UPSTREAM_CUT : ERR_UPSTREAM_RESET;
    default:
        return ERR_UPSTREAM_PROTOCOL;
    }
}

static enum err say_failure(const struct answer *a, CURLcode code)
{
    enum err e = translate(a, code);
    err_say(a->t, "%s: %s", a->shown, a->error[0] ? a->error : curl_easy_strerror(code));
    return e;
}

static enum err say_status(const struct answer *a)
{
    err_say(a->t, "%s: the server answered with status %ld", a->shown, a->status);
    if (a->status == 401 || a->status == 403 || a->status == 407)
        return ERR_UPSTREAM_AUTH;
    if (a->status == 404 || a->status == 410)
        return ERR_UPSTREAM_NOT_FOUND;
    return a->status >= 500 || a->status == 429 ? ERR_UPSTREAM_SERVER_ERROR : ERR_UPSTREAM_REJECTED;
}

/* "Name: value" of a head; the value without white space around it. */
static bool header_is(struct slice line, const char *name, struct slice *value)
{
    struct slice wanted = slice_str(name);
    if (!slice_istarts(line, wanted) || line.n <= wanted.n || line.p[wanted.n] != ':')
        return false;
    while (line.n && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    *value = slice_trim(slice_from(line, wanted.n + 1));
    return true;
}

/* Waiting is worth it where the network or the server may be in passing trouble. */
static bool passing(enum err e)
{
    return e == ERR_UPSTREAM_RESET || e == ERR_UPSTREAM_CUT || e == ERR_UPSTREAM_IDLE_TIMEOUT ||
           e == ERR_UPSTREAM_SERVER_ERROR;
}

static void wait_before(const struct download_limits *limits, int attempt)
{
    long ms = limits->backoff_ms << (attempt < 6 ? attempt - 1 : 5);
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

/* ---- a file ---- */

struct transfer {
    const struct download_file *f;
    struct answer a;
    char part[PATH_BYTES], from[PATH_BYTES]; /* PATH.part, PATH.part.from */
    int fd;                                  /* of PATH.part */
    uint64_t size;                           /* of PATH.part now */
    uint64_t resumed, total;                 /* total 0: not known */
    char validator[VALIDATOR_BYTES];         /* of what PATH.part holds; "" none */
    /* of the head that is being read */
    char new_validator[VALIDATOR_BYTES];
    uint64_t range_begin, range_total, length;
    bool has_range;
    bool whole;      /* 416, and nothing is missing */
    bool pieced;     /* PATH.part comes from more than one answer */
    enum err failed; /* our own verdict, before libcurl's */
    struct err_text *t;
};

static enum err fail_disk(struct transfer *x, const char *what)
{
    int why = errno;
    if (why == ENOSPC || why == EDQUOT || why == EFBIG)
        err_say(x->t,
                "%s: there is no room for it on the disk (%s); %" PRIu64
                " bytes are there and will be gone on with",
                x->part, strerror(why), x->size);
    else
        err_say(x->t, "%s: cannot %s it: %s", x->part, what, strerror(why));
    return ERR_INTERNAL;
}

/* The first line is the URL that PATH.part comes from, the second its validator. */
static void load_validator(struct transfer *x)
{
    char *text;
    size_t n, url_bytes = strlen(x->f->url);
    x->validator[0] = '\0';
    if (atomic_file_read(x->from, 8192, &text, &n, NULL) != ERR_OK)
        return;
    if (n > url_bytes + 1 && memcmp(text, x->f->url, url_bytes) == 0 && text[url_bytes] == '\n') {
        struct slice v = slice_make(text + url_bytes + 1, n - url_bytes - 1);
        if (v.n < sizeof x->validator && !memchr(v.p, '\n', v.n))
            snprintf(x->validator, sizeof x->validator, "%.*s", SLICE_ARG(v));
    }
    free(text);
}

static enum err save_validator(struct transfer *x)
{
    char *text;
    if (strcmp(x->validator, x->new_validator) == 0)
        return ERR_OK;
    snprintf(x->validator, sizeof x->validator, "%s", x->new_validator);
    if (!x->validator[0]) {
        unlink(x->from);
        return ERR_OK;
    }
    size_t n = strlen(x->f->url) + strlen(x->validator) + 2;
    text = mem_alloc(n);
    snprintf(text, n, "%s\n%s", x->f->url, x->validator);
    enum err e = atomic_file_write(x->from, 0600, slice_make(text, n - 1), x->t);
    free(text);
    return e;
}

static enum err begin_anew(struct transfer *x)
{
    if (ftruncate(x->fd, 0) != 0)
        return fail_disk(x, "empty");
    x->size = x->resumed = 0;
    x->pieced = false;
    return ERR_OK;
}

static enum err open_part(struct transfer *x)
{
    int a = snprintf(x->part, sizeof x->part, "%s.part", x->f->path);
    int b = snprintf(x->from, sizeof x->from, "%s.part.from", x->f->path);
    if (a < 0 || b < 0 || (size_t)b >= sizeof x->from) {
        err_say(x->t, "%.200s...: the path is too long", x->f->path);
        return ERR_INTERNAL;
    }
    x->fd = open(x->part, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644);
    struct stat st;
    if (x->fd < 0 || fstat(x->fd, &st) != 0)
        return fail_disk(x, "write");
    x->size = (uint64_t)st.st_size;
    load_validator(x);
    x->resumed = x->size;
    return x->size > x->f->max_bytes ? begin_anew(x) : ERR_OK;
}

/* "bytes 100-199/200" or "bytes * /200" (RFC 9110 section 14.4). */
static void read_content_range(struct transfer *x, struct slice v)
{
    char text[96];
    uint64_t end;
    if (v.n >= sizeof text)
        return;
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(v));
    if (sscanf(text, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64, &x->range_begin, &end,
               &x->range_total) == 3)
        x->has_range = true;
    else if (sscanf(text, "bytes */%" SCNu64, &x->range_total) == 1)
        x->has_range = false;
}

static void read_length(struct transfer *x, struct slice v)
{
    uint64_t n = 0;
    for (size_t i = 0; i < v.n && i < 18; i++) {
        if (!ascii_is_digit(v.p[i]))
            return;
        n = 10 * n + (uint64_t)(v.p[i] - '0');
    }
    x->length = n;
}

/* Weak validators do not tell versions apart byte by byte (RFC 9110 section 13.1.5). */
static void read_validator(struct transfer *x, struct slice v, bool etag)
{
    if (v.n && v.n < sizeof x->new_validator && !slice_starts(v, SLICE("W/")) &&
        (etag || !x->new_validator[0]))
        snprintf(x->new_validator, sizeof x->new_validator, "%.*s", SLICE_ARG(v));
}

static size_t on_file_header(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *x = arg;
    struct slice line = slice_make(p, size * n), v;
    if (slice_starts(line, SLICE("HTTP/"))) { /* also of a redirect's target */
        x->new_validator[0] = '\0';
        x->has_range = false;
        x->range_total = x->length = 0;
    } else if (header_is(line, "ETag", &v)) {
        read_validator(x, v, true);
    } else if (header_is(line, "Last-Modified", &v)) {
        read_validator(x, v, false);
    } else if (header_is(line, "Content-Range", &v)) {
        read_content_range(x, v);
    } else if (header_is(line, "Content-Length", &v)) {
        read_length(x, v);
    }
    return size * n;
}

/* The head is complete. ERR_OK: what follows belongs behind x->size. */
static enum err accept_head(struct transfer *x)
{
    curl_easy_getinfo(x->a.easy, CURLINFO_RESPONSE_CODE, &x->a.status);
    if (x->a.status == 206) {
        if (!x->has_range || x->range_begin != x->size) {
            err_say(x->t, "%s: the server sent another range than the one asked for", x->a.shown);
            return ERR_UPSTREAM_PROTOCOL;
        }
        x->total = x->range_total;
    } else if (x->a.status == 200) {
        if (x->size && begin_anew(x) != ERR_OK)
            return ERR_INTERNAL;
        x->total = x->length;
    } else {
        return say_status(&x->a);
    }
    if (x->total > x->f->max_bytes) {
        err_say(x->t, "%s: %" PRIu64 " bytes, at most %" PRIu64 " were expected", x->a.shown,
                x->total, x->f->max_bytes);
        return ERR_UPSTREAM_TOO_LARGE;
    }
    return save_validator(x);
}

static enum err append(struct transfer *x, const char *p, size_t n)
{
    if (n > x->f->max_bytes - x->size) {
        err_say(x->t, "%s: more than the %" PRIu64 " bytes that were expected", x->a.shown,
                x->f->max_bytes);
        return ERR_UPSTREAM_TOO_LARGE;
    }
    while (n > 0) {
        ssize_t w = write(x->fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return fail_disk(x, "write");
        p += w;
        n -= (size_t)w;
        x->size += (size_t)w;
    }
    return ERR_OK;
}

static size_t on_file_body(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *x = arg;
    if (!x->a.body_begun)
        x->failed = accept_head(x);
    x->a.body_begun = true;
    if (x->failed == ERR_OK)
        x->failed = append(x, p, size * n);
    return x->failed == ERR_OK ? size * n : 0;
}

static int on_file_progress(void *arg, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal,
                            curl_off_t ulnow)
{
    const struct transfer *x = arg;
    (void)dltotal, (void)dlnow, (void)ultotal, (void)ulnow;
    const struct download_progress p = {x->size, x->total, x->resumed};
    x->f->on_progress(&p, x->f->ctx);
    return 0;
}

static void ask(struct transfer *x)
{
    char line[VALIDATOR_BYTES + 32];
    CURL *easy = x->a.easy;
    if (x->size) {
        x->pieced = true;
        snprintf(line, sizeof line, "Range: bytes=%" PRIu64 "-", x->size);
        add_header(&x->a, line);
        if (x->validator[0]) {
            snprintf(line, sizeof line, "If-Range: %s", x->validator);
            add_header(&x->a, line);
        }
    }
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, x->a.headers);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_file_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_file_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, x);
    if (x->f->on_progress) {
        curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_file_progress);
        curl_easy_setopt(easy, CURLOPT_XFERINFODATA, x);
    }
}

/* 416 to a question that began at the file's end: nothing is missing. Otherwise what is there is
 * not a part of what the server has. */
static enum err judge_416(struct transfer *x)
{
    if (x->range_total == x->size && x->size) {
        x->whole = true;
        return ERR_OK;
    }
    if (!x->size)
        return say_status(&x->a);
    enum err e = begin_anew(x);
    err_say(x->t, "%s: the server does not have the part that is missing", x->a.shown);
    return e == ERR_OK ? ERR_UPSTREAM_CUT : e; /* once more, from the beginning */
}

static enum err attempt(struct transfer *x)
{
    /* Neither a validator nor a digest would tell two versions of the file apart. */
    if (x->size && !x->validator[0] && !x->f->expect && begin_anew(x) != ERR_OK)
        return ERR_INTERNAL;
    answer_init(&x->a, x->f->url, &x->f->limits, x->t);
    x->failed = ERR_OK;
    x->whole = false;
    ask(x);
    CURLcode code = curl_easy_perform(x->a.easy);
    curl_easy_getinfo(x->a.easy, CURLINFO_RESPONSE_CODE, &x->a.status);
    enum err e;
    if (x->a.status == 416)
        e = judge_416(x);
    else if (x->failed != ERR_OK)
        e = x->failed;
    else if (code != CURLE_OK)
        e = say_failure(&x->a, code);
    else
        e = x->a.body_begun ? ERR_OK : accept_head(x); /* an empty body */
    if (e == ERR_OK && !x->whole && x->total && x->size != x->total) {
        err_say(x->t, "%s: %" PRIu64 " of %" PRIu64 " bytes came", x->a.shown, x->size, x->total);
        e = ERR_UPSTREAM_CUT;
    }
    answer_clear(&x->a);
    return e;
}

/* A wrong digest may be a resumed file's fault: those bytes are thrown away, and only what came in
 * one piece is blamed on the source. */
static enum err check_digest(struct transfer *x, struct digest *got)
{
    char want[DIGEST_HEX_BYTES], have[DIGEST_HEX_BYTES];
    if (!digest_file(x->part, got))
        return fail_disk(x, "read");
    if (!x->f->expect || digest_eq(*got, *x->f->expect))
        return ERR_OK;
    bool pieced = x->pieced;
    enum err e = begin_anew(x);
    unlink(x->from);
    x->validator[0] = '\0';
    digest_hex(*x->f->expect, want);
    digest_hex(*got, have);
    char shown[256];
    download_url_show(x->f->url, shown, sizeof shown);
    err_say(x->t, "%.200s: not the expected file: its SHA-256 is %s, not %s", shown, have, want);
    if (e != ERR_OK)
        return e;
    return pieced ? ERR_UPSTREAM_CUT : ERR_UPSTREAM_PROTOCOL;
}

static enum err finish(struct transfer *x)
{
    if (fsync(x->fd) != 0)
        return fail_disk(x, "write");
    if (rename(x->part, x->f->path) != 0)
        return fail_disk(x, "rename");
    unlink(x->from);
    return ERR_OK;
}

enum err download_file(const struct download_file *f, struct digest *got, struct err_text *t)
{
    struct transfer x = {.f = f, .fd = -1, .t = t};
    enum err e = open_part(&x);
    for (int n = 1, all = 1; e == ERR_OK; n++, all++) {
        uint64_t before = x.size;
        e = attempt(&x);
        if (e == ERR_OK)
            e = check_digest(&x, got);
        if (e == ERR_OK || !passing(e))
            break;
        if (x.size > before)
            n = 1; /* as long as it goes forward it goes on */
        if (n >= f->limits.attempts || all >= MAX_ATTEMPTS)
            break;
        wait_before(&f->limits, n);
        e = ERR_OK;
    }
    if (e == ERR_OK)
        e = finish(&x);
    if (x.fd >= 0)
        close(x.fd);
    return e;
}

/* ---- a short answer ---- */

struct reading {
    struct download_text *d;
    struct answer a;
    bool too_large;
};

static size_t on_text_header(char *p, size_t size, size_t n, void *arg)
{
    struct reading *r = arg;
    struct slice line = slice_make(p, size * n), v;
    if (slice_starts(line, SLICE("HTTP/")))
        r->d->content_type[0] = '\0';
    else if (header_is(line, "Content-Type", &v) && v.n < sizeof r->d->content_type)
        snprintf(r->d->content_type, sizeof r->d->content_type, "%.*s", SLICE_ARG(v));
    return size * n;
}

static size_t on_text_body(char *p, size_t size, size_t n, void *arg)
{
    struct reading *r = arg;
    r->a.body_begun = true;
    if (buf_append(r->d->body, p, size * n) == ERR_OK)
        return size * n;
    r->too_large = true;
    return 0;
}

static enum err judge_text(struct reading *r, CURLcode code)
{
    const char *url = NULL;
    if (r->too_large) {
        err_say(r->a.t, "%s: the answer is longer than %zu bytes", r->a.shown,
                r->d->body->max_bytes);
        return ERR_UPSTREAM_TOO_LARGE;
    }
    if (code != CURLE_OK)
        return say_failure(&r->a, code);
    curl_easy_getinfo(r->a.easy, CURLINFO_RESPONSE_CODE, &r->a.status);
    if (r->a.status != 200)
        return say_status(&r->a);
    curl_easy_getinfo(r->a.easy, CURLINFO_EFFECTIVE_URL, &url);
    int n = snprintf(r->d->final_url, sizeof r->d->final_url, "%s", url ? url : r->d->url);
    if (n > 0 && (size_t)n < sizeof r->d->final_url)
        return ERR_OK;
    err_say(r->a.t, "%s: redirected to a URL that is too long", r->a.shown);
    return ERR_UPSTREAM_PROTOCOL;
}

static enum err read_text(struct download_text *d, struct err_text *t)
{
    struct reading r = {.d = d};
    char accept[256];
    answer_init(&r.a, d->url, &d->limits, t);
    snprintf(accept, sizeof accept, "Accept: %s", d->accept);
    add_header(&r.a, accept);
    buf_reset(d->body);
    curl_easy_setopt(r.a.easy, CURLOPT_HTTPHEADER, r.a.headers);
    curl_easy_setopt(r.a.easy, CURLOPT_ACCEPT_ENCODING, ""); /* indexes are long, and shrink */
    curl_easy_setopt(r.a.easy, CURLOPT_HEADERFUNCTION, on_text_header);
    curl_easy_setopt(r.a.easy, CURLOPT_HEADERDATA, &r);
    curl_easy_setopt(r.a.easy, CURLOPT_WRITEFUNCTION, on_text_body);
    curl_easy_setopt(r.a.easy, CURLOPT_WRITEDATA, &r);
    enum err e = judge_text(&r, curl_easy_perform(r.a.easy));
    answer_clear(&r.a);
    return e;
}

enum err download_text(struct download_text *d, struct err_text *t)
{
    enum err e;
    for (int n = 1;; n++) {
        e = read_text(d, t);
        if (!passing(e) || n >= d->limits.attempts)
            return e;
        wait_before(&d->limits, n);
    }
}

/* ---- URLs ---- */

/* A part of u, or NULL; curl_free it. */
static char *part_of(CURLU *u, CURLUPart part)
{
    char *s = NULL;
    return curl_url_get(u, part, &s, part == CURLUPART_PORT ? CURLU_DEFAULT_PORT : 0) == CURLUE_OK
               ? s
               : NULL;
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart part)
{
    char *x = part_of(a, part), *y = part_of(b, part);
    bool same = x && y && strcasecmp(x, y) == 0;
    curl_free(x);
    curl_free(y);
    return same;
}

static void copy_part(CURLU *from, CURLU *to, CURLUPart part)
{
    char *s = part_of(from, part);
    if (s)
        (void)curl_url_set(to, part, s, 0);
    curl_free(s);
}

bool download_url_resolve(const char *base, const char *reference, char *out, size_t out_bytes)
{
    CURLU *b = curl_url(), *u = curl_url();
    mem_need(b);
    mem_need(u);
    char *whole = NULL, *scheme = NULL;
    bool ok = curl_url_set(b, CURLUPART_URL, base, 0) == CURLUE_OK &&
              curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
              curl_url_set(u, CURLUPART_URL, reference, 0) == CURLUE_OK;
    if (ok && same_part(b, u, CURLUPART_SCHEME) && same_part(b, u, CURLUPART_HOST) &&
        same_part(b, u, CURLUPART_PORT)) {
        copy_part(b, u, CURLUPART_USER);
        copy_part(b, u, CURLUPART_PASSWORD);
    }
    ok = ok && (scheme = part_of(u, CURLUPART_SCHEME)) &&
         (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) &&
         (whole = part_of(u, CURLUPART_URL)) && strlen(whole) < out_bytes;
    if (ok)
        snprintf(out, out_bytes, "%s", whole);
    curl_free(whole);
    curl_free(scheme);
    curl_url_cleanup(b);
    curl_url_cleanup(u);
    return ok;
}

void download_url_show(const char *url, char *out, size_t out_bytes)
{
    CURLU *u = curl_url();
    char *whole = NULL;
    mem_need(u);
    if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_USER, NULL, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_PASSWORD, NULL, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_QUERY, NULL, 0) == CURLUE_OK)
        (void)curl_url_get(u, CURLUPART_URL, &whole, 0);
    snprintf(out, out_bytes, "%s", whole ? whole : "the URL");
    curl_free(whole);
    curl_url_cleanup(u);
}
