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

/* Both digests in one walk; without a hole, rest is a copy of exact. */
static void digest_request(const struct ask *ask, struct slice scope, struct slice group,
                           const char *hole, struct arena *a, struct ask_identity *out)
{
    struct json_value root = {JSON_OBJECT, json_trim(ask->body)};
    struct digest_stream *whole = digest_stream_new(), *rest = hole ? digest_stream_new() : NULL;
    struct json_canonical c;
    struct json_member *m;
    size_t count;

    json_canonical_init(&c, a, whole, rest, hole);
    json_canonical_text(&c, SLICE("weir request 1"));
    json_canonical_text(&c, slice_str(wire_api_name(ask->api)));
    json_canonical_text(&c, scope);
    json_canonical_text(&c, group);
    m = json_sorted_members(root, a, &count);
    for (size_t i = 0; i < count; i++) {
        out->stateful = out->stateful || is_stateful(m[i].key, m[i].value);
        if (!counts(ask->api, m[i].key))
            continue;
        json_canonical_text(&c, m[i].key);
        json_canonical_value(&c, m[i].value);
    }
    json_canonical_flush(&c);
    out->exact = digest_stream_end(whole);
    out->rest = rest ? digest_stream_end(rest) : out->exact;
    /* A duplicate member, of which another one counts, may hide the text that was found. */
    out->comparable = c.hole_found && !out->stateful;
}

void ask_identity(const struct ask *ask, struct slice scope, struct slice group, struct arena *a,
                  struct ask_identity *out)
{
    struct ask_turn turn = ask_turn_of(ask->api, ask->body);
    bool asks = turn.speaker == ASK_BY_USER && turn.text.n && ask->api != WIRE_EMBEDDINGS;

    *out = (struct ask_identity){.text = SLICE(""), .turn = turn};
    digest_request(ask, scope, group, asks ? turn.text.p : NULL, a, out);
    if (out->comparable)
        out->text = arena_dup(a, json_string_text(turn.text, a));
}
