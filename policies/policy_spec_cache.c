/* `cache`, at the top level and in a route. Constant data, read by way of spec_policy. */
#include "policies/policy_spec_int.h"

static const struct spec_word cache_mode_words[] = {
    {"on", POLICY_CACHE_ON, false}, {"off", POLICY_CACHE_OFF, false}, {NULL, 0, false}};
static const struct spec_word cache_scope_words[] = {{"tenant", POLICY_SCOPE_TENANT, false},
                                                     {"shared", POLICY_SCOPE_SHARED, false},
                                                     {NULL, 0, false}};
static const struct spec_word cache_store_words[] = {{"embedded", POLICY_STORE_EMBEDDED, false},
                                                     {"redis", POLICY_STORE_REDIS, false},
                                                     {NULL, 0, false}};

static const struct spec_key cache_exact_keys[] = {
    {.name = "ttl",
     .type = SPEC_DURATION,
     AT(policy_cache_use, ttl_ms),
     .deflt = "24h",
     .min = SECOND,
     .max = 366 * DAY,
     .also = "max_age expiry lifetime",
     .help = "How long an answer may be given again."},
    {.name = "timely_ttl",
     .type = SPEC_DURATION,
     AT(policy_cache_use, timely_ttl_ms),
     .deflt = "5m",
     .min = SECOND,
     .max = 366 * DAY,
     .help = "The same for questions whose answer depends on when they are asked (`latest`, "
             "`today`, `who is the president`)."},
};
OBJECT(cache_exact, policy_cache_use, "cache_exact",
       "Repeats: requests that are equal in everything that can change an answer.");

static const struct spec_word semantic_mode_words[] = {
    {"on", POLICY_SEMANTIC_ON, false}, {"off", POLICY_SEMANTIC_OFF, false}, {NULL, 0, false}};
static const struct spec_word semantic_context_words[] = {
    {"same", POLICY_CONTEXT_SAME, false}, {"none", POLICY_CONTEXT_NONE, false}, {NULL, 0, false}};
static const struct spec_word guard_words[] = {
    {"numbers", POLICY_GUARD_NUMBERS, false}, {"units", POLICY_GUARD_UNITS, false},
    {"dates", POLICY_GUARD_DATES, false},     {"negation", POLICY_GUARD_NEGATION, false},
    {"order", POLICY_GUARD_ORDER, false},     {"names", POLICY_GUARD_NAMES, false},
    {"overlap", POLICY_GUARD_OVERLAP, false}, {"none", POLICY_GUARD_NONE, false},
    {"default", POLICY_GUARD_DEFAULT, false}, {NULL, 0, false}};

static const struct spec_key cache_semantic_keys[] = {
    {.name = "mode",
     .type = SPEC_ENUM,
     AT(policy_semantic, mode),
     .deflt = "on",
     .words = semantic_mode_words,
     .also = "enabled",
     .help = "`off`: only repeats are answered."},
    {.name = "max_error",
     .type = SPEC_FRACTION,
     AT(policy_semantic, max_error),
     .deflt = "0.01",
     .also = "threshold similarity similarity_threshold error delta min_similarity cutoff",
     .help = "Share of the requests that may get a wrong answer by meaning, on average: more than "
             "0 and less than 0.5. There is no similarity to set: the cut is found from audits."},
    {.name = "guards",
     .type = SPEC_FLAGS,
     AT(policy_semantic, guards),
     .deflt = "default",
     .words = guard_words,
     .also = "gates checks",
     .help = "What keeps two questions apart however alike their vectors are. `default`: all, but "
             "`overlap` only where the scope is shared; `none`: nothing does."},
    {.name = "shadow",
     .type = SPEC_BOOL,
     AT(policy_semantic, shadow),
     .deflt = "false",
     .also = "dry_run",
     .help = "Decide, count and learn, but serve nothing by meaning."},
    {.name = "audit",
     .type = SPEC_FRACTION,
     AT(policy_semantic, audit_min),
     .deflt = "0.02",
     .also = "audits sample sampling",
     .help = "Share of the hits that is answered afresh in the background and compared, at least; "
             "more while little is known."},
    {.name = "context",
     .type = SPEC_ENUM,
     AT(policy_semantic, context),
     .deflt = "same",
     .words = semantic_context_words,
     .also = "history",
     .help = "`same`: questions with equal earlier turns are compared; `none`: only questions "
             "without earlier turns."},
};
OBJECT(
    cache_semantic, policy_semantic, "cache_semantic",
    "Answers to questions that mean the same, where everything but the user's last text is equal. "
    "Needs a transformer: the `encoder` section's, or all-minilm-l6-v2 where there is none. "
    "Nothing is served before enough answers were "
    "compared.");

#define CACHE_USE_KEYS(type_, use_, inherit_)                                                      \
    {.name = "mode",                                                                               \
     .type = SPEC_ENUM,                                                                            \
     .at = offsetof(struct type_, use_ mode),                                                      \
     .deflt = "on",                                                                                \
     .words = cache_mode_words,                                                                    \
     .also = "enabled",                                                                            \
     .help = "`off`: nothing is looked up and nothing is stored."},                                \
        {.name = "scope",                                                                          \
         .type = SPEC_ENUM,                                                                        \
         .at = offsetof(struct type_, use_ scope),                                                 \
         .deflt = "tenant",                                                                        \
         .words = cache_scope_words,                                                               \
         .also = "namespace sharing",                                                              \
         .help = "Who may be given an answer: the tenant that paid for it, or all of them. "       \
                 "Requests without a tenant share among themselves."},                             \
        {.name = "exact",                                                                          \
         .type = SPEC_OBJECT,                                                                      \
         .object = &cache_exact,                                                                   \
         .at = offsetof(struct type_, use_ on),                                                    \
         .flags = (inherit_),                                                                      \
         .also = "ttl timely_ttl expiry",                                                          \
         .help = "How long answers live."},                                                        \
        {.name = "semantic",                                                                       \
         .type = SPEC_OBJECT,                                                                      \
         .object = &cache_semantic,                                                                \
         .at = offsetof(struct type_, use_ semantic),                                              \
         .flags = SPEC_SHORT | (inherit_),                                                         \
         .also = "similarity similarity_threshold max_error",                                      \
         .help = "Answers to questions that mean the same; or `off`, which it is when left out."}, \
        {.name = "tool_calls",                                                                     \
         .type = SPEC_BOOL,                                                                        \
         .at = offsetof(struct type_, use_ tool_calls),                                            \
         .deflt = "false",                                                                         \
         .also = "tools",                                                                          \
         .help = "Whether answers that call tools are kept. A call that is given again acts "      \
                 "again: only for tools that look things up."},                                    \
    {                                                                                              \
        .name = "tags", .type = SPEC_NAMES, .at = offsetof(struct type_, use_ tags),               \
        .count_at = offsetof(struct type_, use_ tag_count), .also = "tag labels",                  \
        .help = "Tags that stored answers get, by which they can be removed together."             \
    }

static const struct spec_key cache_redis_keys[] = {
    {.name = "url",
     .type = SPEC_TEXT,
     AT(policy_cache, redis_url),
     .flags = SPEC_RESTART_ALWAYS,
     .also = "address host",
     .help = "`redis://host:port/db` or `unix:/path`, without a password: see `url_env`."},
    {.name = "url_env",
     .type = SPEC_TEXT,
     AT(policy_cache, redis_url_env),
     .flags = SPEC_RESTART_ALWAYS,
     .help = "Environment variable that holds the URL, password and all, in place of `url`."},
    {.name = "prefix",
     .type = SPEC_NAME,
     AT(policy_cache, redis_prefix),
     .flags = SPEC_RESTART_ALWAYS,
     .deflt = "weir",
     .also = "namespace",
     .help = "What all its keys begin with. Replicas that share it share answers, what is learned, "
             "and budgets."},
    {.name = "budget",
     .type = SPEC_DURATION,
     AT(policy_cache, redis_budget_ms),
     .flags = SPEC_RESTART,
     .deflt = "5ms",
     .min = 1,
     .max = SECOND,
     .also = "timeout",
     .help = "How long a request waits for it; then the look-up is a miss."},
};
OBJECT(cache_redis, policy_cache, "cache_redis",
       "A Redis or Valkey that replicas share, for answers, for what is learned and for what was "
       "spent. One "
       "that is slow or down costs hits, never answers.");

static const struct spec_key cache_judge_keys[] = {
    {.name = "model",
     .type = SPEC_TEXT,
     AT(policy_judge, model_name),
     .deflt = POLICY_JUDGE_RULES,
     .also = "name",
     .help = "A model of this policy, asked where texts and vectors do not settle it; or "
             "`rule-only`: then such pairs teach nothing."},
    {.name = "max_usd_per_day",
     .type = SPEC_USD,
     AT(policy_judge, max_per_day),
     .deflt = "1.00",
     .also = "budget max_cost limit",
     .help = "What its calls may cost in a day (UTC), at all replicas that share a Redis; beyond "
             "it nobody "
             "is asked."},
};
OBJECT(cache_judge, policy_judge, "cache_judge",
       "Two answers that are equal, or nearly and without another number or name, say the same; "
       "those that share nothing do not. Who judges what lies between.");

static const struct spec_key cache_audits_keys[] = {
    {.name = "max_usd_per_day",
     .type = SPEC_USD,
     AT(policy_cache, audits_per_day),
     .deflt = "5.00",
     .also = "budget max_cost limit",
     .help = "What answers asked afresh may cost in a day (UTC), at all replicas that share a "
             "Redis; beyond it hits are "
             "not audited."},
};
OBJECT(cache_audits, policy_cache, "cache_audits",
       "The price of watching over the answers by meaning: some are answered afresh, too.");

static const struct spec_key cache_keys[] = {
    CACHE_USE_KEYS(policy_cache, use., 0),
    {.name = "store",
     .type = SPEC_ENUM,
     AT(policy_cache, store),
     .flags = SPEC_RESTART_ALWAYS,
     .deflt = "embedded",
     .words = cache_store_words,
     .also = "backend type",
     .help = "Where answers are kept, and what is learned of models: files in `state_dir`, or a "
             "Redis, where replicas also tell each other what was spent. Needs a restart."},
    {.name = "redis",
     .type = SPEC_OBJECT,
     .object = &cache_redis,
     AT(policy_cache, wanted),
     .help = "The Redis. Only with `store: redis`. Needs a restart."},
    {.name = "max_entries",
     .type = SPEC_INT,
     AT(policy_cache, max_entries),
     .flags = SPEC_RESTART,
     .deflt = "100000",
     .min = 1,
     .max = 100000000,
     .also = "size",
     .help = "Answers kept. Needs a restart."},
    {.name = "max_memory",
     .type = SPEC_SIZE,
     AT(policy_cache, max_memory_bytes),
     .flags = SPEC_RESTART,
     .deflt = "256MiB",
     .min = MIB,
     .max = 1024 * GIB,
     .also = "memory",
     .help = "Bytes of answers held in memory, and in an embedded store's file. Needs a restart."},
    {.name = "judge",
     .type = SPEC_OBJECT,
     .object = &cache_judge,
     AT(policy_cache, judge),
     .flags = SPEC_SHORT,
     .also = "verifier evaluator",
     .help = "Who tells whether two answers say the same, for `semantic`."},
    {.name = "audits",
     .type = SPEC_OBJECT,
     .object = &cache_audits,
     AT(policy_cache, wanted),
     .also = "audit",
     .help = "What answers that are asked afresh may cost, for `semantic`."},
    {.name = "snapshot",
     .type = SPEC_TEXT,
     AT(policy_cache, snapshot),
     .flags = SPEC_RESTART | SPEC_NONE,
     .deflt = "cache.index",
     .also = "index_file",
     .help = "File in `state_dir` that keeps the index of meanings between runs; `none`: it is "
             "filled from the store at each start. Needs a restart."},
};
SECTION(cache, policy_cache, "cache",
        "Answers from earlier answers. Left out, and with no `cache` in a route: nothing is looked "
        "up and nothing is stored. `cache: off` turns a written one off.");

static const struct spec_key route_cache_keys[] = {
    CACHE_USE_KEYS(policy_cache_use, , SPEC_INHERIT),
};
SECTION(route_cache, policy_cache_use, "route_cache",
        "What differs from the top-level `cache`. `cache: off` alone: this route uses none.");
