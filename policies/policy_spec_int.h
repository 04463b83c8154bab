/* How the table of the language is written, and the objects that its sections lend each other. Only
 * for policy_spec*.c. Constant data. */
#ifndef POLICIES_POLICY_SPEC_INT_H
#define POLICIES_POLICY_SPEC_INT_H

#include "policies/policy.h"
#include "policies/policy_bind_int.h"
#include "policies/policy_spec.h"

#define AT(type, member) .at = offsetof(struct type, member)
#define ARRAY(type, member)                                                                        \
    .at = offsetof(struct type, member##s), .count_at = offsetof(struct type, member##_count)
#define COUNT(keys) (sizeof(keys) / sizeof((keys)[0]))
#define OBJECT_OF(id, type, name_, help_)                                                          \
    {                                                                                              \
        .name = name_, .keys = id##_keys, .count = COUNT(id##_keys), .bytes = sizeof(struct type), \
        .help = help_                                                                              \
    }
#define OBJECT(id, type, name_, help_)                                                             \
    static const struct spec_object id = OBJECT_OF(id, type, name_, help_)
/* An object that another file's keys refer to, as spec_ and its id. */
#define SECTION(id, type, name_, help_)                                                            \
    const struct spec_object spec_##id = OBJECT_OF(id, type, name_, help_)

#define MS(n)  INT64_C(n)
#define SECOND INT64_C(1000)
#define HOUR   (3600 * SECOND)
#define DAY    (24 * HOUR)
#define KIB    INT64_C(1024)
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)
#define TOKENS INT64_C(100000000)

/* Sections of the file. */
extern const struct spec_object spec_server, spec_backend, spec_model, spec_tenant, spec_encoder,
    spec_class, spec_retry, spec_cache, spec_decide, spec_route;
/* Parts that stand in more than one section. */
extern const struct spec_object spec_price, spec_route_cache, spec_objective, spec_confidence,
    spec_explore, spec_learn, spec_audit, spec_holdout;

/* The keys of `decide`, which a route may have as well. */
#define DECIDE_KEYS(type_, use_, inherit_)                                                         \
    {.name = "accept",                                                                             \
     .type = SPEC_FRACTION,                                                                        \
     .at = offsetof(struct type_, use_ accept),                                                    \
     .flags = SPEC_NONE,                                                                           \
     .also = "threshold accept_at",                                                                \
     .help = "Probability of being right at which an answer is final; else the next model of the " \
             "cascade is asked, in written order. A step may have its own."},                      \
        {.name = "objective",                                                                      \
         .type = SPEC_OBJECT,                                                                      \
         .object = &spec_objective,                                                                \
         .at = offsetof(struct type_, use_ objective),                                             \
         .flags = SPEC_SHORT | (inherit_),                                                         \
         .also = "optimize optimise goal",                                                         \
         .help = "Models are asked in any order, for the least cost of a success; an answer that " \
                 "`accept` takes is final."},                                                      \
        {.name = "confidence",                                                                     \
         .type = SPEC_OBJECT,                                                                      \
         .object = &spec_confidence,                                                               \
         .at = offsetof(struct type_, use_ confidence),                                            \
         .flags = (inherit_),                                                                      \
         .help = "How answers are judged; with `accept` or `objective`."},                         \
        {.name = "explore",                                                                        \
         .type = SPEC_OBJECT,                                                                      \
         .object = &spec_explore,                                                                  \
         .at = offsetof(struct type_, use_ explore),                                               \
         .flags = (inherit_),                                                                      \
         .also = "exploration bandit",                                                             \
         .help = "How much is tried out; with `objective`."},                                      \
        {.name = "learn",                                                                          \
         .type = SPEC_OBJECT,                                                                      \
         .object = &spec_learn,                                                                    \
         .at = offsetof(struct type_, use_ learn),                                                 \
         .flags = SPEC_SHORT | (inherit_),                                                         \
         .also = "learning",                                                                       \
         .help = "What is made of outcomes; with `accept` or `objective`."},                       \
        {.name = "audit",                                                                          \
         .type = SPEC_OBJECT,                                                                      \
         .object = &spec_audit,                                                                    \
         .at = offsetof(struct type_, use_ audit),                                                 \
         .flags = (inherit_),                                                                      \
         .also = "audits",                                                                         \
         .help = "Finished requests asked of every model; with `accept` or `objective`."},         \
    {                                                                                              \
        .name = "holdout", .type = SPEC_OBJECT, .object = &spec_holdout,                           \
        .at = offsetof(struct type_, use_ holdout), .flags = (inherit_), .also = "baseline",       \
        .help = "Requests that stay on one model; with `accept` or `objective`."                   \
    }

#endif
