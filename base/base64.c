/* Owns nothing. Called where bytes travel in JSON. */
#include "base/base64.h"

#include <stdint.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *bytes, size_t n, char *out)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) |
                     (i + 2 < n ? p[i + 2] : 0);
        *out++ = letters[v >> 18];
        *out++ = letters[v >> 12 & 63];
        *out++ = i + 1 < n ? letters[v >> 6 & 63] : '=';
        *out++ = i + 2 < n ? letters[v & 63] : '=';
    }
    *out = '\0';
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four letters, of which the last `padding` are '='. */
static bool decode_four(const char *p, size_t padding, unsigned char *out)
{
    uint32_t v = 0;

    for (size_t i = 0; i < 4; i++) {
        int d = i < 4 - padding ? value_of(p[i]) : 0;
        if (d < 0)
            return false;
        v = v << 6 | (uint32_t)d;
    }
    if (v & ((1u << 8 * padding) - 1)) /* no byte holds these bits */
        return false;
    for (size_t i = 0; i < 3 - padding; i++)
        out[i] = (unsigned char)(v >> (16 - 8 * i));
    return true;
}

bool base64_decode(struct slice text, unsigned char *out, size_t *n)
{
    size_t padding = 0;

    *n = 0;
    if (text.n % 4)
        return false;
    while (padding < 2 && padding < text.n && text.p[text.n - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < text.n; i += 4) {
        size_t missing = i + 4 == text.n ? padding : 0;
        if (!decode_four(text.p + i, missing, out + *n))
            return false;
        *n += 3 - missing;
    }
    return true;
}
