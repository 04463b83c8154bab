/* The tokeniser over any text, options and limit, with a small vocabulary or, where the input has a
 * NUL, with the vocabulary that stands before it. A limit must cut and change nothing else, and the
 * bytes that are reported as covered must give the same ids again. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "router/encoder/wordpiece.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char small[] = "[UNK]\n[CLS]\n[SEP]\na\n##a\nb\n##b\nab\n##ab\n.\n#\n\xC3\xA9\n"
                            "e\n##e\n\xE1\x84\x80\n##\xE1\x85\xA1\n\xE4\xB8\xAD\n";

static void require(bool ok)
{
    if (!ok)
        abort();
}

/* A copy that ends where its memory ends. */
static struct wordpiece_counts encode(const struct wordpiece *w, struct slice text, int32_t *ids,
                                      size_t max)
{
    char *copy = mem_alloc(text.n ? text.n : 1);
    if (text.n)
        memcpy(copy, text.p, text.n);
    struct wordpiece_counts c = wordpiece_encode(w, slice_make(copy, text.n), true, ids, max);
    free(copy);
    return c;
}

static void check(const struct wordpiece *w, struct slice text, size_t max)
{
    size_t room = text.n + 2;
    int32_t *all = mem_alloc(room * sizeof *all), *cut = mem_alloc(room * sizeof *cut);
    struct wordpiece_counts whole = encode(w, text, all, room);
    require(!whole.truncated && whole.bytes == text.n && whole.tokens >= 2);
    max = max < room ? max : room;
    struct wordpiece_counts part = encode(w, text, cut, max);
    require(part.tokens == (part.truncated ? max : whole.tokens));
    require(memcmp(all, cut, (part.tokens - 1) * sizeof *all) == 0);
    require(cut[0] == wordpiece_id(w, SLICE("[CLS]")));
    require(cut[part.tokens - 1] == wordpiece_id(w, SLICE("[SEP]")));
    struct wordpiece_counts again = encode(w, slice_make(text.p, part.bytes), cut, room);
    require(again.tokens <= part.tokens && !again.truncated);
    require(memcmp(all, cut, (again.tokens - 1) * sizeof *all) == 0);
    free(all);
    free(cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct wordpiece_options opt = {data[0] & 1, data[0] & 2, data[0] & 4};
    size_t max = 2 + data[1] % 16;
    struct slice text = slice_make((const char *)data + 2, size - 2), vocab = slice_str(small);
    const char *nul = data[0] & 8 ? memchr(text.p, 0, text.n) : NULL;
    if (nul) {
        vocab = slice_make(text.p, (size_t)(nul - text.p));
        text = slice_from(text, vocab.n + 1);
    }
    struct wordpiece *w;
    struct err_text t;
    if (wordpiece_new(vocab, &opt, &w, &t)) {
        require(strnlen(t.s, sizeof t.s) < sizeof t.s);
        return 0;
    }
    check(w, text, max);
    wordpiece_free(w);
    return 0;
}
