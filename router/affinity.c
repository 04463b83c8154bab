/* Where a conversation's beginning is found, by API. Called per attempt on a backend with
 * prefix_affinity, and by whoever books a request, on a worker; pure. */
#include "router/affinity.h"

#include "backends/rendezvous.h"

static bool is_from_user(struct json_value message)
{
    struct json_member role;

    return json_get(message, SLICE("role"), &role) && slice_eq(role.value.text, SLICE("\"user\""));
}

static void add_list(struct rendezvous_prefix *p, struct json_value list)
{
    struct json_iter it;
    struct json_member m;

    if (list.text.n == 0)
        return;
    if (list.type != JSON_ARRAY) { /* a prompt, an input, Anthropic's system */
        rendezvous_prefix_add(p, list.text, false);
        return;
    }
    json_iter_init(&it, list);
    while (!p->closed && json_iter_next(&it, &m))
        rendezvous_prefix_add(p, m.value.text, is_from_user(m.value));
}

/* The beginning of a conversation, where the API has one. */
static void add_turns(struct rendezvous_prefix *p, const struct ask *ask)
{
    if (ask->api == WIRE_MESSAGES)
        add_list(p, ask->anthropic.system.value);
    add_list(p, ask->api == WIRE_MESSAGES ? ask->anthropic.messages.value
                                          : ask->openai.messages.value);
}

uint64_t affinity_conversation(const struct ask *ask, struct slice tenant)
{
    struct rendezvous_prefix p;

    rendezvous_prefix_init(&p, tenant);
    if (ask->api == WIRE_CHAT || ask->api == WIRE_MESSAGES)
        add_turns(&p, ask);
    return p.messages ? p.hash : 0;
}

uint64_t affinity_prefix(const struct ask *ask, struct slice salt)
{
    struct rendezvous_prefix p;

    rendezvous_prefix_init(&p, salt);
    switch (ask->api) {
    case WIRE_CHAT:
    case WIRE_COMPLETIONS:
    case WIRE_EMBEDDINGS:
    case WIRE_MESSAGES:
        add_turns(&p, ask);
        break;
    case WIRE_RESPONSES: /* instructions and input stand anywhere in the body */
    case WIRE_APIS:
        rendezvous_prefix_add(&p, ask->body, true);
        break;
    }
    return p.hash;
}
