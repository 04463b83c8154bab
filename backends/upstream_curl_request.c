/* A request in libcurl's options. Called by upstream_curl.c. */
#include "backends/upstream_curl_int.h"

#include <stdio.h>
#include <string.h>

static bool add_header(struct transfer *x, const char *line)
{
    struct curl_slist *longer = curl_slist_append(x->headers, line);

    if (longer)
        x->headers = longer;
    return longer != NULL;
}

/* "Name: value"; libcurl takes "Name;" for a header without a value, and "Name:" to leave one of
 * its own out. */
static bool add_request_headers(struct transfer *x)
{
    struct buf line;
    bool ok = true;

    buf_init(&line, 1024 * 1024);
    for (size_t i = 0; ok && i < x->req.header_count; i++) {
        const struct http1_header *h = &x->req.headers[i];

        buf_reset(&line);
        ok = buf_append_slice(&line, h->name) == ERR_OK &&
             buf_append_slice(&line, h->value.n ? SLICE(": ") : SLICE(";")) == ERR_OK &&
             buf_append_slice(&line, h->value) == ERR_OK && buf_append(&line, "", 1) == ERR_OK &&
             add_header(x, buf_slice(&line).p);
    }
    buf_reset(&line);
    ok = ok && buf_printf(&line, "Host: %s", x->req.target->authority) == ERR_OK &&
         buf_append(&line, "", 1) == ERR_OK && add_header(x, buf_slice(&line).p);
    buf_clear(&line);
    return ok;
}

static bool own_headers_off(struct transfer *x)
{
    static const char *const libcurls[] = {"Accept", "Content-Type", "User-Agent"};

    for (size_t i = 0; i < sizeof libcurls / sizeof *libcurls; i++) {
        char line[32];
        bool given = false;

        for (size_t h = 0; h < x->req.header_count; h++)
            given = given || slice_ieq(x->req.headers[h].name, slice_str(libcurls[i]));
        snprintf(line, sizeof line, "%s:", libcurls[i]);
        if (!given && !add_header(x, line))
            return false;
    }
    if (x->req.target->max_idle_connections <= 0 && !add_header(x, "Connection: close"))
        return false;
    return add_header(x, "Expect:") && add_header(x, "Accept-Encoding: identity");
}

#define OPT(option, value)                                                                         \
    do {                                                                                           \
        if (curl_easy_setopt(x->easy, (option), (value)) != CURLE_OK)                              \
            return false;                                                                          \
    } while (0)

static bool set_url(struct transfer *x)
{
    const struct upstream_target *t = x->req.target;
    bool v6 = strchr(t->host, ':') != NULL;
    struct buf url;
    bool ok;

    buf_init(&url, 1024 * 1024);
    ok = buf_printf(&url, "%s://%s%s%s:%u", t->tls ? "https" : "http", v6 ? "[" : "", t->host,
                    v6 ? "]" : "", (unsigned)t->port) == ERR_OK &&
         buf_append_slice(&url, x->req.path) == ERR_OK && buf_append(&url, "", 1) == ERR_OK &&
         curl_easy_setopt(x->easy, CURLOPT_URL, buf_slice(&url).p) == CURLE_OK; /* copied */
    buf_clear(&url);
    return ok;
}

static bool set_method(struct transfer *x)
{
    uint64_t body_bytes = upstream_body_bytes(&x->req);
    char method[32];

    if (x->req.method.n >= sizeof method)
        return false;
    memcpy(method, x->req.method.p, x->req.method.n);
    method[x->req.method.n] = '\0';
    if (strcmp(method, "HEAD") == 0) {
        OPT(CURLOPT_NOBODY, 1L);
        return true;
    }
    if (body_bytes || upstream_method_has_body(x->req.method)) {
        OPT(CURLOPT_POST, 1L);
        OPT(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_bytes);
        OPT(CURLOPT_READFUNCTION, upstream_curl_on_read);
        OPT(CURLOPT_READDATA, x);
        OPT(CURLOPT_SEEKFUNCTION, upstream_curl_on_seek);
        OPT(CURLOPT_SEEKDATA, x);
    } else {
        OPT(CURLOPT_HTTPGET, 1L);
    }
    OPT(CURLOPT_CUSTOMREQUEST, method);
    return true;
}

static bool set_security(struct transfer *x)
{
    const struct upstream_target *t = x->req.target;

    OPT(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    OPT(CURLOPT_SSL_VERIFYPEER, t->tls_verify ? 1L : 0L);
    OPT(CURLOPT_SSL_VERIFYHOST, t->tls_verify ? 2L : 0L);
    if (t->tls_ca_file) {
        OPT(CURLOPT_CAINFO, t->tls_ca_file);
        OPT(CURLOPT_CAPATH, NULL);
    }
    /* "" also keeps libcurl from reading proxies out of the environment */
    OPT(CURLOPT_PROXY, t->proxy ? t->proxy : "");
    OPT(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    return true;
}

static bool set_transfer(struct transfer *x)
{
    bool http2 = x->req.target->http2 && x->req.target->tls;

    x->multiplexed = http2;
    OPT(CURLOPT_PRIVATE, x);
    OPT(CURLOPT_ERRORBUFFER, x->error);
    OPT(CURLOPT_NOSIGNAL, 1L);
    OPT(CURLOPT_FOLLOWLOCATION, 0L);
    OPT(CURLOPT_PATH_AS_IS, 1L);
    OPT(CURLOPT_PROTOCOLS_STR, "http,https");
    OPT(CURLOPT_HTTP_VERSION, http2 ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
    OPT(CURLOPT_PIPEWAIT, http2 ? 1L : 0L);
    OPT(CURLOPT_TCP_KEEPALIVE, 1L);
    OPT(CURLOPT_HEADERFUNCTION, upstream_curl_on_header);
    OPT(CURLOPT_HEADERDATA, x);
    OPT(CURLOPT_WRITEFUNCTION, upstream_curl_on_body);
    OPT(CURLOPT_WRITEDATA, x);
    OPT(CURLOPT_PREREQFUNCTION, upstream_curl_on_connected);
    OPT(CURLOPT_PREREQDATA, x);
    OPT(CURLOPT_HTTPHEADER, x->headers);
    if (x->req.timeouts.connect_ms > 0)
        OPT(CURLOPT_CONNECTTIMEOUT_MS, (long)x->req.timeouts.connect_ms);
    if (x->req.target->max_idle_connections <= 0)
        OPT(CURLOPT_FORBID_REUSE, 1L);
    return true;
}

bool upstream_curl_set_up(struct transfer *x)
{
    return add_request_headers(x) && own_headers_off(x) && set_url(x) && set_method(x) &&
           set_security(x) && set_transfer(x);
}
