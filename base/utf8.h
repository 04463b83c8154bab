/* One step of UTF-8 (RFC 3629, Unicode table 3-7), for code that walks text of unknown quality
 * character by character. Pure. The bulk validation of JSON bodies has its own, wider loop in
 * json_scan.c. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

static inline bool utf8_is_tail(unsigned char c)
{
    return (c & 0xC0) == 0x80;
}

/* Length of the well-formed character at p (n > 0 bytes are there), 1..4; 0 when there is none: a
 * stray or missing continuation byte, an overlong form, a surrogate, beyond U+10FFFF, or cut off by
 * n. */
static inline size_t utf8_char_bytes(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 0;
    if (p[0] < 0xE0)
        return n >= 2 && utf8_is_tail(p[1]) ? 2 : 0;
    if (p[0] < 0xF0) {
        if (n < 3 || !utf8_is_tail(p[1]) || !utf8_is_tail(p[2]))
            return 0;
        bool overlong = p[0] == 0xE0 && p[1] < 0xA0;
        bool surrogate = p[0] == 0xED && p[1] > 0x9F;
        return overlong || surrogate ? 0 : 3;
    }
    if (n < 4 || !utf8_is_tail(p[1]) || !utf8_is_tail(p[2]) || !utf8_is_tail(p[3]))
        return 0;
    bool overlong = p[0] == 0xF0 && p[1] < 0x90;
    bool beyond = p[0] == 0xF4 && p[1] > 0x8F;
    return overlong || beyond ? 0 : 4;
}

#endif
