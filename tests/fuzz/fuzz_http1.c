/* Any bytes as a request head, a response head and a chunked body: whole and in pieces must come to
 * the same. The first byte chooses the parser and the size of the pieces. */
#include <stdlib.h>
#include "base/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static enum http1_parse parse(int kind, struct slice in, size_t *scanned, struct http1_head *head)
{
    enum err err = ERR_OK;
    const char *why = NULL;
    enum http1_parse r = kind == 0 ? http1_parse_request(in, scanned, head, &err, &why)
                                   : http1_parse_response(in, scanned, kind == 2, head, &why);
    require(r != HTTP1_BAD || (why && (kind != 0 || err != ERR_OK)));
    return r;
}

static void check_views(const struct http1_head *head, struct slice in)
{
    require(head->head_bytes <= in.n && head->header_count <= HTTP1_MAX_HEADERS);
    for (size_t i = 0; i < head->header_count; i++) {
        const struct http1_header *h = &head->headers[i];
        require(h->name.p > in.p && h->value.p > h->name.p + h->name.n - 1);
        require(h->value.p + h->value.n <= in.p + head->head_bytes - 4);
        require(http1_valid_name(h->name) && http1_valid_value(h->value));
        require(http1_find(head, h->name) != NULL);
        (void)http1_is_hop_by_hop(head, h->name);
    }
}

static void fuzz_head(int kind, size_t piece, struct slice in)
{
    static struct http1_head whole, split;
    size_t scanned_whole = 0, scanned = 0, n = 0;
    enum http1_parse a = parse(kind, in, &scanned_whole, &whole), b = HTTP1_MORE;
    while (b == HTTP1_MORE && n < in.n) {
        n = in.n - n > piece ? n + piece : in.n;
        b = parse(kind, slice_make(in.p, n), &scanned, &split);
    }
    require(in.n == 0 || a == b);
    if (a != HTTP1_DONE)
        return;
    check_views(&whole, in);
    require(whole.head_bytes == split.head_bytes && whole.header_count == split.header_count);
    require(whole.body == split.body && whole.keep_alive == split.keep_alive);
    require(whole.body != HTTP1_BODY_LENGTH || whole.content_length == split.content_length);
}

/* Decodes with pieces of the given size; a hash of the payload stands for it. */
static enum http1_parse decode(struct slice in, size_t piece, uint64_t *hash, size_t *taken)
{
    struct http1_chunked c;
    enum http1_parse r = HTTP1_MORE;
    http1_chunked_init(&c);
    *hash = *taken = 0;
    while (r == HTTP1_MORE && *taken < in.n) {
        size_t used, n = in.n - *taken > piece ? piece : in.n - *taken;
        struct slice data;
        r = http1_chunked_feed(&c, slice_make(in.p + *taken, n), &used, &data);
        require(used <= n && data.n <= used && (used > 0 || r != HTTP1_MORE));
        for (size_t i = 0; i < data.n; i++)
            *hash = *hash * 31 + (unsigned char)data.p[i];
        *taken += used;
    }
    return r;
}

static void fuzz_chunked(size_t piece, struct slice in)
{
    uint64_t whole, split;
    size_t taken_whole, taken_split;
    enum http1_parse a = decode(in, in.n + 1, &whole, &taken_whole),
                     b = decode(in, piece, &split, &taken_split);
    require(a == b && taken_whole == taken_split);
    require(a == HTTP1_BAD ||
            whole == split); /* broken: how much came out before depends on the pieces */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    int kind = data[0] & 3;
    size_t piece = 1 + (data[0] >> 2 & 31);
    struct slice in = slice_make((const char *)data + 1, size - 1);
    if (kind == 3)
        fuzz_chunked(piece, in);
    else
        fuzz_head(kind, piece, in);
    return 0;
}
