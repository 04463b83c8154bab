/* SQLite: "s" and the last id in hex digits, as its bytes lie in the store's cursor. Redis: "r" and
 * the server's own number. Called by admin_job.c. */
#include "cache/admin_cursor.h"

#include <stdio.h>

#define PLACE_BYTES 8 /* of SQLite's */

void admin_cursor_write(const char *kind, struct slice place, char out[static ADMIN_CURSOR_BYTES])
{
    size_t n = 1;

    if (place.n == 0) {
        snprintf(out, ADMIN_CURSOR_BYTES, "0");
        return;
    }
    out[0] = kind[0];
    for (size_t i = 0; i < place.n && n + 3 < ADMIN_CURSOR_BYTES; i++)
        if (kind[0] == 's')
            n += (size_t)snprintf(out + n, 3, "%02x", (unsigned char)place.p[i]);
        else
            out[n++] = place.p[i];
    out[n] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(struct slice hex, char *room)
{
    for (size_t i = 0; i < PLACE_BYTES; i++) {
        int hi = hex_digit(hex.p[2 * i]), lo = hex_digit(hex.p[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        room[i] = (char)(hi * 16 + lo);
    }
    return true;
}

bool admin_cursor_read(const char *kind, struct slice word, char room[static ADMIN_CURSOR_BYTES],
                       struct slice *place)
{
    struct slice rest = slice_from(word, 1);

    *place = SLICE("");
    if (word.n == 0 || slice_eq(word, SLICE("0")))
        return true;
    if (word.p[0] != kind[0])
        return false;
    if (kind[0] == 's') {
        *place = slice_make(room, PLACE_BYTES);
        return rest.n == 2 * PLACE_BYTES && read_hex(rest, room);
    }
    if (rest.n == 0 || rest.n > 20)
        return false;
    for (size_t i = 0; i < rest.n; i++)
        if (rest.p[i] < '0' || rest.p[i] > '9')
            return false;
    memcpy(room, rest.p, rest.n);
    *place = slice_make(room, rest.n);
    return true;
}
