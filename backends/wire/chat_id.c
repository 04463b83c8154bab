/* Ids for clients. Pure; called once per answer, and for tool calls that came without an id. */
#include "backends/wire/chat_id.h"

#include <stdbool.h>
#include "base/ascii.h"
#include "base/line.h"

#define BODY_MAX     64
#define DIGEST_CHARS 24

static const struct slice prefixes[] = {
    {"chatcmpl-", 9}, {"cmpl-", 5}, {"msg_", 4}, {"resp_", 5}, {"gen-", 4},
};

static struct slice without_prefix(struct slice id)
{
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (slice_starts(id, prefixes[i]))
            return slice_from(id, prefixes[i].n);
    return id;
}

static bool is_plain(struct slice id)
{
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        bool alnum = ascii_is_alnum(c);
        if (!alnum && c != '_' && c != '-')
            return false;
    }
    return id.n >= 1 && id.n <= BODY_MAX;
}

/* FNV-1a, 64 bits, from a given basis. */
static uint64_t hash(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* Two hashes of different bases give the 24 letters some 128 bits. */
static void put_digest(struct slice text, int64_t number, char *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    static const uint64_t bases[2] = {UINT64_C(0xcbf29ce484222325), UINT64_C(0x9e3779b97f4a7c15)};

    for (int half = 0; half < 2; half++) {
        uint64_t h = hash(hash(bases[half], &number, sizeof(number)), text.p, text.n);
        h ^= h >> 32;
        for (int i = 0; i < DIGEST_CHARS / 2; i++) {
            out[half * DIGEST_CHARS / 2 + i] = letters[h % 62];
            h = h / 62 + h * UINT64_C(0x9e3779b97f4a7c15);
        }
    }
    out[DIGEST_CHARS] = 0;
}

void chat_id_body(struct slice upstream, struct slice fallback, char out[CHAT_ID_BYTES])
{
    struct slice id = upstream.n ? upstream : fallback;
    struct slice body = without_prefix(id);

    if (is_plain(body))
        line_copy(out, CHAT_ID_BYTES, body);
    else
        put_digest(id, 0, out);
}

void chat_id_of_call(struct slice answer_id, int64_t number, char out[CHAT_ID_BYTES])
{
    static const char prefix[] = "call_";

    memcpy(out, prefix, sizeof(prefix) - 1);
    put_digest(answer_id, number + 1, out + sizeof(prefix) - 1);
}
