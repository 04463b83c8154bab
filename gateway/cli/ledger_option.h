/* Where the commands that read the ledger find it, and the span of time that they look at.
 * Single-threaded. */
#ifndef GATEWAY_CLI_LEDGER_OPTION_H
#define GATEWAY_CLI_LEDGER_OPTION_H

#include "gateway/cli/cli.h"
#include "gateway/report/traffic.h"
#include "policies/policy.h"

#define LEDGER_DEFAULT "weir-state/ledger.sqlite"

struct ledger_span {
    int64_t since_wall_us, until_wall_us;
};

/* --since: "7d" before now, or a time; without it, 7 days. false with t. */
bool ledger_option_span(const struct cli_args *a, struct ledger_span *out, struct err_text *t);
/* --ledger, else in the policy's state directory (NULL: none), else LEDGER_DEFAULT; out >= 4096
 * bytes. */
void ledger_option_path(const struct cli_args *a, const struct policy *p, char *out,
                        size_t out_bytes);
/* Reads the span into t, which the caller clears also after an error. */
enum err ledger_option_read(const char *path, const struct ledger_span *span, struct traffic *t,
                            struct err_text *why) MUST_CHECK;

#endif
