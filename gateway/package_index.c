/* One page of a package index. The HTML reader looks at the href attributes of anchors and at
 * nothing else, as PEP 503 asks. Called by model_fetch. */
#include "gateway/package_index.h"

#include <ctype.h>
#include "backends/download.h"
#include "base/json_scan.h"

#define URL_BYTES 2048

static enum err not_listed(const char *page_url, const char *file, struct err_text *t)
{
    char shown[200];
    download_url_show(page_url, shown, sizeof shown);
    err_say(t, "%s: the index does not list %s", shown, file);
    return ERR_NOT_FOUND;
}

/* Without the fragment, which holds a digest that nobody here needs: the file's is pinned. */
static enum err resolve(const char *page_url, char *reference, char *url, size_t url_bytes,
                        struct err_text *t)
{
    reference[strcspn(reference, "#")] = '\0';
    if (download_url_resolve(page_url, reference, url, url_bytes))
        return ERR_OK;
    /* Not repeated here: it may hold anything, and this goes to a terminal. */
    err_say(t, "the index gives a URL for the file that is not one of HTTP or HTTPS");
    return ERR_UPSTREAM_PROTOCOL;
}

/* ---- JSON ---- */

static enum err find_json(struct slice page, const char *page_url, const char *file, char *url,
                          size_t url_bytes, struct err_text *t)
{
    struct json_member files, f, name, where;
    struct json_iter it;
    char reference[URL_BYTES], found[512];
    if (!page.n || page.p[0] != '{' || !json_validate(page, NULL) ||
        !json_get((struct json_value){JSON_OBJECT, page}, SLICE("files"), &files) ||
        files.value.type != JSON_ARRAY) {
        err_say(t, "the index's answer is not a page of the simple repository API");
        return ERR_UPSTREAM_PROTOCOL;
    }
    for (json_iter_init(&it, files.value); json_iter_next(&it, &f);) {
        if (f.value.type != JSON_OBJECT || !json_get(f.value, SLICE("filename"), &name) ||
            !json_get(f.value, SLICE("url"), &where) || name.value.type != JSON_STRING ||
            where.value.type != JSON_STRING)
            continue;
        size_t n = json_string_decode(name.value.text, found, sizeof found);
        size_t m = json_string_decode(where.value.text, reference, sizeof reference - 1);
        if (n >= sizeof found || m >= sizeof reference ||
            !slice_eq(slice_make(found, n), slice_str(file)))
            continue;
        reference[m] = '\0';
        return resolve(page_url, reference, url, url_bytes, t);
    }
    return not_listed(page_url, file, t);
}

/* ---- HTML ---- */

static struct slice skip_space(struct slice s)
{
    while (s.n && isspace((unsigned char)s.p[0]))
        s = slice_from(s, 1);
    return s;
}

static struct slice find_char(struct slice s, char c)
{
    const char *p = s.n ? memchr(s.p, c, s.n) : NULL;
    return p ? slice_from(s, (size_t)(p - s.p)) : slice_from(s, s.n);
}

/* Takes one attribute off the front of *tag; false at the tag's end. The value keeps its character
 * references. */
static bool next_attribute(struct slice *tag, struct slice *name, struct slice *value)
{
    struct slice s = skip_space(*tag);
    size_t n = 0;
    while (n < s.n && !isspace((unsigned char)s.p[n]) && s.p[n] != '=' && s.p[n] != '>')
        n++;
    *name = slice_make(s.p, n);
    *value = slice_make(s.p, 0);
    s = skip_space(slice_from(s, n));
    if (s.n && s.p[0] == '=') {
        s = skip_space(slice_from(s, 1));
        bool quoted = s.n && (s.p[0] == '"' || s.p[0] == '\'');
        size_t m = 0;
        if (quoted) {
            struct slice rest = slice_from(s, 1), end = find_char(rest, s.p[0]);
            *value = slice_make(rest.p, rest.n - end.n);
            s = slice_from(end, 1);
        } else {
            while (m < s.n && !isspace((unsigned char)s.p[m]) && s.p[m] != '>')
                m++;
            *value = slice_make(s.p, m);
            s = slice_from(s, m);
        }
    } else if (n == 0) {
        return false; /* '>' or the page's end */
    }
    *tag = s;
    return true;
}

/* "&amp;" is the one character reference that URLs in such pages need. */
static bool copy_href(struct slice href, char *out, size_t out_bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < href.n; i++) {
        if (n + 1 >= out_bytes)
            return false;
        out[n++] = href.p[i];
        if (slice_starts(slice_from(href, i), SLICE("&amp;")))
            i += sizeof "&amp;" - 2;
    }
    out[n] = '\0';
    return true;
}

/* Whether the URL's path ends in the file's name. */
static bool names_file(const char *reference, const char *file)
{
    size_t n = strcspn(reference, "?#"), m = strlen(file);
    return n >= m && memcmp(reference + n - m, file, m) == 0 &&
           (n == m || reference[n - m - 1] == '/');
}

static enum err find_html(struct slice page, const char *page_url, const char *file, char *url,
                          size_t url_bytes, struct err_text *t)
{
    char reference[URL_BYTES];
    struct slice rest = page, name, value;
    while ((rest = find_char(rest, '<')).n > 2) {
        bool anchor = (rest.p[1] | 32) == 'a' && isspace((unsigned char)rest.p[2]);
        rest = slice_from(rest, anchor ? 2 : 1);
        while (anchor && next_attribute(&rest, &name, &value))
            if (slice_ieq(name, SLICE("href")) && copy_href(value, reference, sizeof reference) &&
                names_file(reference, file))
                return resolve(page_url, reference, url, url_bytes, t);
    }
    return not_listed(page_url, file, t);
}

enum err package_index_find(struct slice page, const char *content_type, const char *page_url,
                            const char *file, char *url, size_t url_bytes, struct err_text *t)
{
    page = skip_space(page);
    bool json = strstr(content_type, "json") || (page.n && page.p[0] == '{');
    return json ? find_json(page, page_url, file, url, url_bytes, t)
                : find_html(page, page_url, file, url, url_bytes, t);
}
