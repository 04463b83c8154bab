/* Owns nothing. Called by gateway/http_conn for each head; base/http1 has already refused bytes
 * outside 0x21..0x7E. */
#include "gateway/http_target.h"

#include "base/ascii.h"

static void split_query(struct slice s, struct slice *path, struct slice *query)
{
    const char *mark = s.n ? memchr(s.p, '?', s.n) : NULL;
    size_t path_bytes = mark ? (size_t)(mark - s.p) : s.n;
    *path = path_bytes ? slice_make(s.p, path_bytes) : SLICE("/");
    *query = mark ? slice_make(mark + 1, s.n - path_bytes - 1) : SLICE("");
}

/* Behind "http://" or "https://"; empty when the target has another scheme or none. */
static struct slice after_scheme(struct slice target)
{
    static const struct slice schemes[] = {{"http://", 7}, {"https://", 8}};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (target.n > schemes[i].n && strncasecmp(target.p, schemes[i].p, schemes[i].n) == 0)
            return slice_from(target, schemes[i].n);
    return slice_make("", 0);
}

bool http_target_split(struct slice method, struct slice target, struct slice *path,
                       struct slice *query, const char **why)
{
    if (target.n > HTTP_TARGET_MAX_BYTES) {
        *why = "the request target is too long";
        return false;
    }
    if (target.n && memchr(target.p, '#', target.n)) {
        *why = "the request target has a fragment";
        return false;
    }
    if (target.n && target.p[0] == '/') {
        split_query(target, path, query);
        return true;
    }
    if (slice_eq(target, SLICE("*")) && slice_eq(method, SLICE("OPTIONS"))) {
        *path = target;
        *query = SLICE("");
        return true;
    }
    struct slice rest = after_scheme(target);
    size_t authority = 0;
    while (authority < rest.n && rest.p[authority] != '/' && rest.p[authority] != '?')
        authority++;
    if (authority == 0) {
        *why = "the request target is neither a path nor an http URL";
        return false;
    }
    split_query(slice_from(rest, authority), path, query);
    return true;
}

bool http_target_decode(struct slice in, struct arena *a, struct slice *out)
{
    char *p = arena_alloc(a, in.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] != '%') {
            p[n++] = in.p[i];
            continue;
        }
        if (i + 2 >= in.n || ascii_hex(in.p[i + 1]) < 0 || ascii_hex(in.p[i + 2]) < 0)
            return false;
        p[n++] = (char)(ascii_hex(in.p[i + 1]) << 4 | ascii_hex(in.p[i + 2]));
        i += 2;
    }
    *out = slice_make(p, n);
    return true;
}

/* Of an HTML form: the space is a plus. */
static bool form_decode(struct slice in, struct arena *a, struct slice *out)
{
    char *p = arena_strdup(a, in);

    for (size_t i = 0; i < in.n; i++)
        if (p[i] == '+')
            p[i] = ' ';
    return http_target_decode(slice_make(p, in.n), a, out);
}

bool http_target_next(struct slice *query, struct arena *a, struct slice *key, struct slice *value,
                      const char **wrong)
{
    *wrong = NULL;
    while (query->n > 0) {
        const char *end = memchr(query->p, '&', query->n);
        struct slice pair = slice_make(query->p, end ? (size_t)(end - query->p) : query->n);
        *query = slice_from(*query, end ? pair.n + 1 : pair.n);
        if (pair.n == 0)
            continue;
        const char *mark = memchr(pair.p, '=', pair.n);
        size_t n = mark ? (size_t)(mark - pair.p) : pair.n;
        if (form_decode(slice_make(pair.p, n), a, key) &&
            form_decode(slice_from(pair, mark ? n + 1 : n), a, value))
            return true;
        *wrong = "a '%' in the query stands without two hex digits behind it";
        return false;
    }
    return false;
}
