/* Validators of a route: tests that an answer must pass, beside what its own signals say. Those
 * here are pure functions of the answer, the request and the operator's rules; those that ask a
 * program or a server are validate_run.h's. Pure; any thread.
 *
 * A validator that has nothing to judge (no schema was asked for, no tool was called) or cannot
 * decide (the schema uses a keyword that is not understood, the answer was too long to keep) says
 * "unknown", which counts neither way: never "pass". */
#ifndef ROUTER_VALIDATE_H
#define ROUTER_VALIDATE_H

#include <stdbool.h>
#include "backends/wire/answer_signals.h"
#include "backends/wire/chat.h"
#include "base/err.h"
#include "router/confidence.h"

/* What one validator found. */
struct validate_result {
    enum confidence_verdict verdict;
    double score;        /* 0..1: of a judge that gives one; 1 for a pass, 0 for a fail */
    struct err_text why; /* of a fail or an unknown: for people; names the place in the answer */
};

/* The answer against the JSON Schema that the request asked for (response_format, text.format,
 * output_config.format), or against schema (text.n > 0) in its place. Calls of tools are not text:
 * an answer that only calls tools is unknown. JSON mode without a schema: any JSON object passes.
 */
void validate_json_schema(const struct answer_signals *s, const struct chat *request,
                          struct slice schema, struct validate_result *out);
/* Each call names a tool of the request, and its arguments fit that tool's schema. */
void validate_tool_args(const struct answer_signals *s, const struct chat *request,
                        struct validate_result *out);
/* Some text that is not white space, or a call. */
void validate_non_empty(const struct answer_signals *s, struct validate_result *out);
struct pattern;
/* The pattern is found somewhere in the text. */
void validate_regex(const struct answer_signals *s, const struct pattern *pattern,
                    struct validate_result *out);

/* All together: one fail is a fail; else one pass is a pass; else nobody knew. The score is the
 * least of those that know. */
void validate_combine(struct validate_result *sum, const struct validate_result *one);

#endif
