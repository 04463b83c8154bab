/* Characters of ASCII, whatever the locale says. Pure; any thread. */
#ifndef BASE_ASCII_H
#define BASE_ASCII_H

#include <stdbool.h>

static inline bool ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool ascii_is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static inline char ascii_lower(char c)
{
    return ascii_is_upper(c) ? (char)(c | 0x20) : c;
}

static inline bool ascii_is_letter(char c)
{
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'z';
}

static inline bool ascii_is_alnum(char c)
{
    return ascii_is_digit(c) || ascii_is_letter(c);
}

/* The value of a hexadecimal digit of either case; -1: it is none. */
static inline int ascii_hex(char c)
{
    char lower = (char)(c | 0x20);
    if (ascii_is_digit(c))
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Likewise, of the only case that we write. */
static inline int ascii_hex_lower(char c)
{
    return ascii_is_upper(c) ? -1 : ascii_hex(c);
}

#endif
