/* Used by the tests of sums that replicas share. */
#include "tests/unit/router/spends_names.h"

#include "tests/unit/policies/policy_fixture.h"

#define KEY_A "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define KEY_B "f3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const char policy_text[] =
    "version: 1\n"
    "backends: {s: {dialect: openai, url: \"http://127.0.0.1:9/v1\"}}\n"
    "models:\n"
    "  m: {backend: s, price: {input: 1, output: 1}}\n"
    "  n: {backend: s, price: {input: 1, output: 1}}\n"
    "tenants:\n"
    "  acme: {keys: [{sha256: " KEY_A "}], budget: {max_usd_per_month: 0.0000001}}\n"
    "  idle: {keys: [{sha256: " KEY_B "}]}\n"
    "routes:\n"
    "  - {name: sound, match: {model: x}, cascade: [m, n], accept: 0.5, audit: {share: 1, judge: "
    "m}}\n";

void spends_names_make(struct spends_names *n)
{
    arena_init(&n->arena, 1024);
    n->snap = (struct snapshot){.arena = &n->arena, .policy = fixture_load(policy_text)};
    spends_serve(&n->spends, &n->snap);
    n->acme = n->snap.spends.tenants[0];
    n->idle = n->snap.spends.tenants[1];
    n->audits = n->snap.spends.audits[0];
}

void spends_names_clear(struct spends_names *n)
{
    spends_clear(&n->spends);
    policy_unref(n->snap.policy);
    arena_clear(&n->arena);
}
