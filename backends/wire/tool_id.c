/* Mapping of tool-call ids. Owns nothing; called by the writers of requests. */
#include "backends/wire/tool_id.h"

#include <stdint.h>
#include "base/ascii.h"

#define PREFIX       "weir_"
#define PREFIX_BYTES (sizeof(PREFIX) - 1)
#define DIGEST_BYTES 22 /* 62^22 > 2^128 */

static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool tool_id_fits(const struct tool_id_rule *rule, struct slice id)
{
    if (id.n < rule->min_bytes || id.n > rule->max_bytes)
        return false;
    for (size_t i = 0; i < id.n && !rule->any; i++)
        if (!ascii_is_alnum(id.p[i]) && (rule->only_alnum || (id.p[i] != '_' && id.p[i] != '-')))
            return false;
    return true;
}

/* One that looks mapped is mapped again, so that no two ids become the same. */
bool tool_id_allowed(const struct tool_id_rule *rule, struct slice id)
{
    return tool_id_fits(rule, id) && (rule->any || !slice_starts(id, SLICE(PREFIX)));
}

/* ---- mapping ---- */

static struct slice encode(struct slice id, struct arena *a)
{
    char *out = arena_alloc(a, PREFIX_BYTES + (id.n * 4 + 2) / 3);
    size_t n = PREFIX_BYTES;
    uint32_t bits = 0;
    int held = 0;

    memcpy(out, PREFIX, PREFIX_BYTES);
    for (size_t i = 0; i < id.n; i++) {
        bits = bits << 8 | (unsigned char)id.p[i];
        for (held += 8; held >= 6; held -= 6)
            out[n++] = base64url[bits >> (held - 6) & 63];
    }
    if (held)
        out[n++] = base64url[bits << (6 - held) & 63];
    return slice_make(out, n);
}

/* ---- digest ---- */

/* FNV-1a, then the finaliser of MurmurHash3, which spreads every bit over all. */
static uint64_t hash(uint64_t h, struct slice id)
{
    for (size_t i = 0; i < id.n; i++)
        h = (h ^ (unsigned char)id.p[i]) * UINT64_C(0x100000001b3);
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

static struct slice digest(const struct tool_id_rule *rule, struct slice id, struct arena *a)
{
    size_t n = rule->max_bytes < DIGEST_BYTES ? rule->max_bytes : DIGEST_BYTES;
    char *out = arena_alloc(a, n);
    uint64_t h = hash(UINT64_C(0xcbf29ce484222325), id);

    for (size_t i = 0; i < n; i++, h /= 62) {
        if (i == DIGEST_BYTES / 2) /* 11 letters are 65 bits: all of one hash */
            h = hash(UINT64_C(0x9e3779b97f4a7c15), id);
        out[i] = base64url[h % 62];
    }
    return slice_make(out, n);
}

struct slice tool_id_map(const struct tool_id_rule *rule, struct slice id, struct arena *a)
{
    struct slice mapped;

    if (tool_id_allowed(rule, id))
        return id;
    if (!rule->only_alnum && PREFIX_BYTES + (id.n * 4 + 2) / 3 <= rule->max_bytes) {
        mapped = encode(id, a);
        if (tool_id_fits(rule, mapped))
            return mapped;
    }
    return digest(rule, id, a);
}
