/* Decodes string values. Pure; called for each text of each event. */
#include "backends/wire/json_text.h"

enum err json_text(struct json_value v, struct buf *scratch, struct slice *out)
{
    char *room;
    size_t room_bytes;
    enum err err;

    *out = SLICE("");
    if (v.type != JSON_STRING || v.text.n < 2)
        return ERR_OK;
    *out = slice_make(v.text.p + 1, v.text.n - 2);
    if (out->n == 0 || !memchr(out->p, '\\', out->n))
        return ERR_OK;
    buf_reset(scratch);
    /* Decoding shortens, but for lone surrogates, whose six bytes become three: so it does there.
     */
    err = buf_reserve(scratch, out->n, &room, &room_bytes);
    if (err)
        return err;
    buf_commit(scratch, json_string_decode(v.text, room, room_bytes));
    *out = buf_slice(scratch);
    return ERR_OK;
}
