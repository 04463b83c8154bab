/* Taking URLs apart. Pure. Called by policy_types. */
#include "policies/policy_url.h"

#include <arpa/inet.h>
#include "base/ascii.h"

struct parts {
    struct slice scheme, host, port, path; /* host without brackets */
    bool bracketed;
};

static bool all_host(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alnum(s.p[i]) && !strchr(".-_", s.p[i]))
            return false;
    return s.n > 0 && s.n <= 253 && s.p[0] != '-' && s.p[0] != '.';
}

static bool is_ipv6(struct slice s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;
    if (s.n == 0 || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return inet_pton(AF_INET6, text, &addr) == 1;
}

static bool port_number(struct slice s, uint16_t *out)
{
    unsigned v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!ascii_is_digit(s.p[i]) || s.n > 5)
            return false;
        v = v * 10 + (unsigned)(s.p[i] - '0');
    }
    *out = (uint16_t)v;
    return s.n > 0 && v <= 65535;
}

/* host[:port] or [v6][:port]; *port is empty when there is none. */
static const char *split_authority(struct slice s, struct parts *p, const char **hint)
{
    if (s.n && s.p[0] == '[') {
        const char *end = memchr(s.p, ']', s.n);
        if (!end)
            return "has no ']' behind the IPv6 address";
        p->host = slice_make(s.p + 1, (size_t)(end - s.p) - 1);
        p->bracketed = true;
        if (!is_ipv6(p->host))
            return "does not hold an IPv6 address between its brackets";
        struct slice rest = slice_from(s, (size_t)(end - s.p) + 1);
        p->port = slice_from(rest, 1);
        return rest.n && (rest.p[0] != ':' || p->port.n == 0)
                   ? "has something other than a port behind the address"
                   : NULL;
    }
    const char *colon = s.n ? memchr(s.p, ':', s.n) : NULL;
    if (colon && is_ipv6(s)) {
        *hint = "put an IPv6 address in brackets: [::1]";
        return "holds an IPv6 address without brackets";
    }
    p->host = colon ? slice_make(s.p, (size_t)(colon - s.p)) : s;
    p->port = colon ? slice_from(s, p->host.n + 1) : slice_make(s.p, 0);
    if (p->host.n == 0)
        return "has no host";
    if (!all_host(p->host))
        return "has an invalid host name";
    return colon && p->port.n == 0 ? "has no port behind the colon" : NULL;
}

static const char *split(struct slice s, struct parts *p, const char **hint)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || (unsigned char)s.p[i] >= 0x7f ||
            strchr("\"<>\\^`{|}", s.p[i])) {
            if (s.p[i] == '{')
                *hint = "variables are not expanded in a policy";
            return "holds a character that URLs may not have";
        }
    const char *mark = s.n ? memmem(s.p, s.n, "://", 3) : NULL;
    if (!mark) {
        *hint = "begin with http:// or https://";
        return "is not a URL";
    }
    p->scheme = slice_make(s.p, (size_t)(mark - s.p));
    struct slice rest = slice_from(s, p->scheme.n + 3);
    size_t end = 0;
    while (end < rest.n && !strchr("/?#", rest.p[end]))
        end++;
    struct slice authority = slice_make(rest.p, end);
    p->path = slice_from(rest, end);
    if (authority.n && memchr(authority.p, '@', authority.n)) {
        *hint = "credentials do not belong into a URL; use key_env or key_file";
        return "holds a user or password";
    }
    if (p->path.n && memchr(p->path.p, '?', p->path.n))
        return "has a query ('?...'), which requests could not be appended to";
    if (p->path.n && memchr(p->path.p, '#', p->path.n))
        return "has a fragment ('#...'), which servers never see";
    return split_authority(authority, p, hint);
}

static bool ends_with(struct slice s, struct slice end)
{
    return s.n >= end.n && memcmp(s.p + s.n - end.n, end.p, end.n) == 0;
}

const char *url_endpoint(struct slice text, struct arena *a, struct policy_endpoint *out,
                         const char **hint)
{
    struct parts p = {0};
    while (text.n > 8 && text.p[text.n - 1] == '/') /* not into "https://" */
        text.n--;
    const char *why = split(text, &p, hint);
    if (why)
        return why;
    bool tls = slice_ieq(p.scheme, SLICE("https"));
    if (!tls && !slice_ieq(p.scheme, SLICE("http"))) {
        *hint = "begin with http:// or https://";
        return "has a scheme other than http and https";
    }
    uint16_t usual = tls ? 443 : 80, port = usual;
    if (p.port.n && (!port_number(p.port, &port) || port == 0))
        return "has a port that is not between 1 and 65535";
    if (ends_with(p.path, SLICE("/chat/completions")) || ends_with(p.path, SLICE("/completions")) ||
        ends_with(p.path, SLICE("/embeddings"))) {
        *hint = "give the base URL; weir appends the rest";
        return "ends with the path of one API";
    }
    const char *open = p.bracketed ? "[" : "", *close = p.bracketed ? "]" : "";
    out->url = arena_strdup(a, text);
    out->tls = tls;
    out->host = arena_strdup(a, p.host);
    out->port = port;
    out->path = arena_strdup(a, p.path);
    out->label = arena_printf(a, "%s%s%s:%u", open, out->host, close, (unsigned)port);
    out->authority = port == usual ? arena_printf(a, "%s%s%s", open, out->host, close) : out->label;
    return NULL;
}

const char *url_proxy(struct slice text, const char **hint)
{
    struct parts p = {0};
    const char *why = split(text, &p, hint);
    uint16_t port;
    if (why)
        return why;
    if (!slice_ieq(p.scheme, SLICE("http")) && !slice_ieq(p.scheme, SLICE("https")) &&
        !slice_ieq(p.scheme, SLICE("socks5")) && !slice_ieq(p.scheme, SLICE("socks5h"))) {
        *hint = "begin with http://, https://, socks5:// or socks5h://";
        return "has a scheme that proxies do not have";
    }
    if (p.port.n && (!port_number(p.port, &port) || port == 0))
        return "has a port that is not between 1 and 65535";
    return p.path.n > 1 ? "has a path, which a proxy does not have" : NULL;
}

const char *url_origin(struct slice text, const char **hint)
{
    struct parts p = {0};
    const char *why = split(text, &p, hint);
    uint16_t port;
    if (why)
        return why;
    if (p.port.n && (!port_number(p.port, &port) || port == 0))
        return "has a port that is not between 1 and 65535";
    if (p.path.n) {
        *hint = "an origin is scheme://host[:port], without a slash at the end";
        return "has a path";
    }
    return NULL;
}

bool url_loopback(struct slice host)
{
    char text[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;
    if (slice_ieq(host, SLICE("localhost")))
        return true;
    if (host.n >= sizeof text)
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    if (inet_pton(AF_INET, text, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

const char *url_address(struct slice text, struct arena *a, struct policy_address *out,
                        const char **hint)
{
    struct parts p = {.host = SLICE("127.0.0.1"), .port = text};
    uint16_t port;
    bool bare = text.n > 0 && text.n <= 5;
    for (size_t i = 0; bare && i < text.n; i++)
        bare = ascii_is_digit(text.p[i]);
    if (!bare) {
        *hint = "write host:port, e.g. 127.0.0.1:8080, or a port alone";
        if (text.n && (text.p[0] == ':' || text.p[0] == '*')) {
            *hint = "write 0.0.0.0:8080 for all IPv4 interfaces, [::]:8080 for all";
            return "has no host";
        }
        const char *why = split_authority(text, &p, hint);
        if (why)
            return why;
        if (p.port.n == 0)
            return "has no port";
    }
    if (!port_number(p.port, &port))
        return "has a port that is not between 0 and 65535";
    *out = (struct policy_address){arena_strdup(a, p.host), port, url_loopback(p.host)};
    *hint = NULL;
    return NULL;
}
