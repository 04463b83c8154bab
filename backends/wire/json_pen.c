/* The writer behind every encoder. Owns nothing. Called several times per event of a stream, so
 * short strings are encoded in one go into room for the worst case; long ones are measured first,
 * lest a text of plain letters be refused for six times its size. */
#include "backends/wire/json_pen.h"

#include "base/decimal.h"
#include "base/json_scan.h"

#define SHORT_BYTES 512

void json_pen_begin(struct json_pen *pen, struct buf *out)
{
    *pen = (struct json_pen){.out = out, .start_bytes = buf_len(out)};
}

enum err json_pen_end(struct json_pen *pen)
{
    if (!pen->err)
        return ERR_OK;
    pen->out->tail = pen->out->head + pen->start_bytes;
    return pen->err == ERR_TOO_LARGE ? ERR_UPSTREAM_TOO_LARGE : pen->err;
}

void json_pen_raw(struct json_pen *pen, struct slice text)
{
    if (!pen->err)
        pen->err = buf_append_slice(pen->out, text);
}

void json_pen_string(struct json_pen *pen, struct slice text)
{
    char *room;
    size_t room_bytes, n;

    if (pen->err)
        return;
    n = text.n <= SHORT_BYTES ? 6 * text.n + 2 : json_string_encode(text, NULL, 0);
    pen->err = buf_reserve(pen->out, n, &room, &room_bytes);
    if (pen->err && text.n <= SHORT_BYTES) {
        n = json_string_encode(text, NULL, 0);
        pen->err = buf_reserve(pen->out, n, &room, &room_bytes);
    }
    if (!pen->err)
        buf_commit(pen->out, json_string_encode(text, room, room_bytes));
}

void json_pen_int(struct json_pen *pen, int64_t n)
{
    char digits[DECIMAL_BYTES];

    json_pen_raw(pen, slice_make(digits, decimal_put_signed(n, digits)));
}

void json_pen_line(struct json_pen *pen, struct slice json)
{
    char *room;
    size_t room_bytes;

    if (pen->err)
        return;
    pen->err = buf_reserve(pen->out, json.n, &room, &room_bytes);
    if (pen->err)
        return;
    for (size_t i = 0; i < json.n; i++)
        room[i] = json.p[i] == '\n' || json.p[i] == '\r' ? ' ' : json.p[i];
    buf_commit(pen->out, json.n);
}
