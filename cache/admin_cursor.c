/* SQLite: "s" and the store's cursor in hex digits. Redis: "r" and a number. One of a listing by
 * tag has a "t" behind the first letter. Called by admin_job.c. */
#include "cache/admin_cursor.h"

#include <stdio.h>
#include "base/ascii.h"

/* Of SQLite's cursors. */
#define PLACE_BYTES     8
#define TAG_PLACE_BYTES 16

void admin_cursor_write(const char *kind, bool by_tag, struct slice place,
                        char out[static ADMIN_CURSOR_BYTES])
{
    size_t n = (size_t)snprintf(out, ADMIN_CURSOR_BYTES, "%c%s", kind[0], by_tag ? "t" : "");

    if (place.n == 0) {
        snprintf(out, ADMIN_CURSOR_BYTES, "0");
        return;
    }
    for (size_t i = 0; i < place.n && n + 3 < ADMIN_CURSOR_BYTES; i++)
        if (kind[0] == 's')
            n += (size_t)snprintf(out + n, 3, "%02x", (unsigned char)place.p[i]);
        else
            out[n++] = place.p[i];
    out[n] = '\0';
}

static bool read_hex(struct slice hex, char *room, size_t bytes)
{
    if (hex.n != 2 * bytes)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        int hi = ascii_hex_lower(hex.p[2 * i]), lo = ascii_hex_lower(hex.p[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        room[i] = (char)(hi * 16 + lo);
    }
    return true;
}

bool admin_cursor_read(const char *kind, bool by_tag, struct slice word,
                       char room[static ADMIN_CURSOR_BYTES], struct slice *place)
{
    struct slice rest = slice_from(word, by_tag ? 2 : 1);

    *place = SLICE("");
    if (word.n == 0 || slice_eq(word, SLICE("0")))
        return true;
    if (word.p[0] != kind[0] || (by_tag && (word.n < 2 || word.p[1] != 't')))
        return false;
    if (kind[0] == 's') {
        size_t bytes = by_tag ? TAG_PLACE_BYTES : PLACE_BYTES;
        *place = slice_make(room, bytes);
        return read_hex(rest, room, bytes);
    }
    if (rest.n == 0 || rest.n > 20)
        return false;
    for (size_t i = 0; i < rest.n; i++)
        if (!ascii_is_digit(rest.p[i]))
            return false;
    memcpy(room, rest.p, rest.n);
    *place = slice_make(room, rest.n);
    return true;
}
