/* JSON strings to text and back (RFC 8259 section 7). Pure; any thread. Decoding expects validated
 * strings; encoding takes any bytes. */
#include "base/arena.h"
#include "base/ascii.h"
#include "base/json_scan_int.h"
#include "base/utf8.h"

/* Output that is measured in full and written as far as it fits, whole characters only. */
struct sink {
    char *p; /* borrowed; NULL when only measuring */
    size_t cap, n;
};

/* s is one character or escape, or a run whose characters may be told apart by their lead bytes. */
static void sink_put(struct sink *k, const char *s, size_t n)
{
    if (k->p && k->n + n <= k->cap) {
        memcpy(k->p + k->n, s, n);
    } else if (k->p && k->n < k->cap) {
        size_t fits = k->cap - k->n;
        while (fits && utf8_is_tail((unsigned char)s[fits]))
            fits--;
        memcpy(k->p + k->n, s, fits);
    }
    k->n += n; /* beyond cap after a cut: nothing later may fill the gap */
}

static unsigned hex4(const char *p)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++)
        v = v << 4 | (unsigned)ascii_hex(p[i]);
    return v;
}

static size_t put_utf8(unsigned c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* The escape at p (a backslash) as UTF-8; *len its length. Returns behind it. A surrogate pair is
 * one character. */
static const char *decode_escape(const char *p, const char *end, char utf8[4], size_t *len)
{
    unsigned c = (unsigned char)p[1];
    switch (p[1]) {
    case 'b':
        c = '\b';
        break;
    case 'f':
        c = '\f';
        break;
    case 'n':
        c = '\n';
        break;
    case 'r':
        c = '\r';
        break;
    case 't':
        c = '\t';
        break;
    case 'u':
        c = hex4(p + 2);
        p += 4;
        if (c >= 0xD800 && c <= 0xDFFF) {
            unsigned low =
                c <= 0xDBFF && end - p >= 8 && p[2] == '\\' && p[3] == 'u' ? hex4(p + 4) : 0;
            if (low >= 0xDC00 && low <= 0xDFFF) {
                c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
                p += 6;
            } else {
                c = 0xFFFD;
            }
        }
        break;
    default: /* quote, backslash, slash stand for themselves */
        break;
    }
    *len = put_utf8(c, utf8);
    return p + 2;
}

size_t json_string_decode(struct slice quoted, char *out, size_t out_bytes)
{
    struct sink k = {out, out_bytes, 0};
    if (quoted.n < 2)
        return 0;
    const char *p = quoted.p + 1, *end = quoted.p + quoted.n - 1;
    while (p < end) {
        const char *backslash = memchr(p, '\\', (size_t)(end - p));
        const char *stop = backslash ? backslash : end;
        sink_put(&k, p, (size_t)(stop - p));
        p = stop;
        if (backslash) {
            char utf8[4];
            size_t len;
            p = decode_escape(p, end, utf8, &len);
            sink_put(&k, utf8, len);
        }
    }
    return k.n;
}

bool json_key_is(const struct json_member *m, struct slice name)
{
    if (!m->key_escaped)
        return slice_eq(m->key, name);
    const char *p = m->key.p, *end = p + m->key.n;
    while (p < end) {
        char utf8[4] = {*p};
        size_t len = 1;
        p = *p == '\\' ? decode_escape(p, end, utf8, &len) : p + 1;
        if (name.n < len || memcmp(name.p, utf8, len) != 0)
            return false;
        name = slice_from(name, len);
    }
    return name.n == 0;
}

/* The escape of a byte that may not stand in a string as it is; returns its length. */
static size_t escape_of(unsigned char c, char out[8])
{
    static const char hex[] = "0123456789abcdef";
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    memcpy(out, "\\u00", 4);
    for (size_t i = 0; i + 1 < sizeof named; i += 2)
        if ((char)c == named[i]) {
            out[1] = named[i + 1];
            return 2;
        }
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

struct slice json_string_text(struct slice quoted, struct arena *a)
{
    if (!memchr(quoted.p, '\\', quoted.n))
        return slice_make(quoted.p + 1, quoted.n - 2);
    char *text = arena_alloc(a, quoted.n); /* decoding never makes it longer */
    return slice_make(text, json_string_decode(quoted, text, quoted.n));
}

size_t json_string_encode(struct slice raw, char *out, size_t out_bytes)
{
    struct sink k = {out, out_bytes, 0};
    const json_run_fn run = json_run_best();
    sink_put(&k, "\"", 1);
    const char *p = raw.p, *end = raw.n ? raw.p + raw.n : raw.p;
    while (p < end) {
        const char *stop = run(p, end);
        sink_put(&k, p, (size_t)(stop - p));
        p = stop;
        if (p == end)
            break;
        if ((unsigned char)*p < 0x80) {
            char esc[8];
            sink_put(&k, esc, escape_of((unsigned char)*p++, esc));
            continue;
        }
        size_t n = utf8_char_bytes(p, (size_t)(end - p));
        sink_put(&k, n ? p : "\xEF\xBF\xBD", n ? n : 3);
        p += n ? n : 1;
    }
    sink_put(&k, "\"", 1);
    return k.n;
}
