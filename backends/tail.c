/* A ring of bytes. Owns nothing but itself; written by the launcher's thread under its lock. */
#include "backends/tail.h"

#include <string.h>

void tail_write(struct tail *t, struct slice s)
{
    if (s.n > TAIL_BYTES) {
        t->written += s.n - TAIL_BYTES;
        s = slice_from(s, s.n - TAIL_BYTES);
    }
    while (s.n) {
        size_t at = t->written % TAIL_BYTES;
        size_t n = s.n < TAIL_BYTES - at ? s.n : TAIL_BYTES - at;

        memcpy(t->bytes + at, s.p, n);
        t->written += n;
        s = slice_from(s, n);
    }
}

static uint64_t oldest(const struct tail *t)
{
    return t->written > TAIL_BYTES ? t->written - TAIL_BYTES : 0;
}

enum err tail_copy(const struct tail *t, struct buf *out)
{
    uint64_t from = oldest(t);
    size_t at = from % TAIL_BYTES, n = (size_t)(t->written - from);
    size_t first = n < TAIL_BYTES - at ? n : TAIL_BYTES - at;
    char *room;
    size_t room_bytes;
    enum err err = n ? buf_reserve(out, n, &room, &room_bytes) : ERR_OK;

    if (err != ERR_OK || n == 0)
        return err;
    memcpy(room, t->bytes + at, first);
    memcpy(room + first, t->bytes, n - first);
    buf_commit(out, n);
    return ERR_OK;
}

static char byte_at(const struct tail *t, uint64_t i)
{
    return t->bytes[i % TAIL_BYTES];
}

static bool is_blank(char c)
{
    return (unsigned char)c <= ' ' || c == 0x7F;
}

static size_t shown_bytes(char c)
{
    return c == '\n' ? 3 : 1;
}

const char *tail_last_words(const struct tail *t, uint64_t since, char *out, size_t out_bytes)
{
    uint64_t from = oldest(t) > since ? oldest(t) : since, to = t->written, i;
    size_t n = 0, need = 4; /* dots and NUL */

    if (out_bytes == 0)
        return out;
    while (to > from && is_blank(byte_at(t, to - 1)))
        to--;
    while (from < to && is_blank(byte_at(t, from)))
        from++;
    for (i = to; i > from && need + shown_bytes(byte_at(t, i - 1)) <= out_bytes; i--)
        need += shown_bytes(byte_at(t, i - 1));
    if (i > from && out_bytes >= 4) {
        memcpy(out, "...", 3);
        n = 3;
    }
    for (; i < to; i++) {
        char c = byte_at(t, i);

        if (c == '\n') {
            memcpy(out + n, " | ", 3);
            n += 3;
        } else {
            out[n++] = is_blank(c) ? ' ' : c;
        }
    }
    out[n] = '\0';
    return out;
}
