/* See the header. Called by the router once per request that may be answered from the cache. */
#include "backends/wire/ask_identity.h"

#include "backends/wire/member.h"
#include "base/json_canonical.h"

/* Members that cannot change an answer. `store` and `background` are not here: they ask for
 * something besides an answer. Sources: API references of OpenAI and Anthropic, 2026. */
static const struct {
    struct slice key;
    unsigned apis; /* bits of enum wire_api */
} left_out[] = {
#define ALL    (~0u)
#define API(a) (1u << (a))
#define OPENAI (API(WIRE_CHAT) | API(WIRE_COMPLETIONS) | API(WIRE_EMBEDDINGS) | API(WIRE_RESPONSES))
#define KEY(lit)                                                                                   \
    {                                                                                              \
        lit, sizeof(lit) - 1                                                                       \
    }
    {KEY("model"), ALL}, /* the group stands for it */
    {KEY("stream"), ALL},
    {KEY("stream_options"), OPENAI},
    {KEY("metadata"), ALL},
    {KEY("user"), OPENAI},
    {KEY("safety_identifier"), OPENAI},
    {KEY("prompt_cache_key"), OPENAI},
    {KEY("prompt_cache_retention"), OPENAI},
    {KEY("service_tier"), ALL},
    {KEY("cache_control"), API(WIRE_MESSAGES)},
};

/* Members whose meaning lies with a server. */
static const struct slice states[] = {
    KEY("thread"),       KEY("container"),  KEY("previous_response_id"),
    KEY("conversation"), KEY("background"),
};
#undef KEY

static bool is_stateful(struct slice key, struct json_value v)
{
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (slice_eq(key, states[i]) && v.type != JSON_NULL && v.type != JSON_FALSE)
            return true;
    return false;
}

static bool counts(enum wire_api api, struct slice key)
{
    for (size_t i = 0; i < sizeof left_out / sizeof left_out[0]; i++)
        if (left_out[i].apis & API(api) && slice_eq(key, left_out[i].key))
            return false;
    return true;
}

struct found {
    bool hole, state;
};

static struct digest digest_request(const struct ask *ask, struct slice scope, struct slice group,
                                    const char *hole, struct found *found, struct arena *a)
{
    struct json_value root = {JSON_OBJECT, json_trim(ask->body)};
    struct digest_stream *digest = digest_stream_new();
    struct json_canonical c;
    struct json_member *m;
    size_t count;

    json_canonical_init(&c, a, digest, hole);
    json_canonical_text(&c, SLICE("weir request 1"));
    json_canonical_text(&c, slice_str(wire_api_name(ask->api)));
    json_canonical_text(&c, scope);
    json_canonical_text(&c, group);
    m = json_sorted_members(root, a, &count);
    for (size_t i = 0; i < count; i++) {
        found->state = found->state || is_stateful(m[i].key, m[i].value);
        if (!counts(ask->api, m[i].key))
            continue;
        json_canonical_text(&c, m[i].key);
        json_canonical_value(&c, m[i].value);
    }
    json_canonical_flush(&c);
    found->hole = c.hole_found;
    return digest_stream_end(digest);
}

static struct slice decode(struct slice quoted, struct arena *a)
{
    size_t n = json_string_decode(quoted, NULL, 0);
    char *text = arena_alloc(a, n + 1);

    json_string_decode(quoted, text, n);
    return slice_make(text, n);
}

void ask_identity(const struct ask *ask, struct slice scope, struct slice group, struct arena *a,
                  struct ask_identity *out)
{
    struct found found = {0};

    *out = (struct ask_identity){.text = SLICE(""), .turn = ask_turn_of(ask->api, ask->body)};
    out->exact = digest_request(ask, scope, group, NULL, &found, a);
    out->rest = out->exact;
    out->stateful = found.state;
    if (out->turn.speaker != ASK_BY_USER || out->turn.text.n == 0 || ask->api == WIRE_EMBEDDINGS)
        return;
    out->rest = digest_request(ask, scope, group, out->turn.text.p, &found, a);
    /* A duplicate member, of which another one counts, may hide the text that was found. */
    out->comparable = found.hole && !found.state;
    if (out->comparable)
        out->text = decode(out->turn.text, a);
}
