/* Where the commands that read the ledger find it, and the span of time that they look at.
 * Single-threaded. */
#ifndef GATEWAY_CLI_LEDGER_OPTION_H
#define GATEWAY_CLI_LEDGER_OPTION_H

#include "gateway/cli/cli.h"
#include "gateway/report/traffic.h"
#include "policies/policy.h"

#define LEDGER_DEFAULT "weir-state/ledger.sqlite"

/* Of commands that call ledger_option_traffic. */
#define LEDGER_OPTION_SINCE                                                                        \
    {                                                                                              \
        .name = "since", .argument = "AGE",                                                        \
        .help = "A span up to now ('7d', '12h') or a time ('2026-01-01', UTC). Default: 7d."       \
    }

struct ledger_span {
    int64_t since_wall_us, until_wall_us;
};

/* --ledger, else in the policy's state directory (NULL: none), else LEDGER_DEFAULT; out >= 4096
 * bytes. */
void ledger_option_path(const struct cli_args *a, const struct policy *p, char *out,
                        size_t out_bytes);
/* Reads what was asked for into t: of the ledger above the span of --since ("7d" before now, or a
 * time; without it, 7 days), which *span then says. Else complains and returns the exit code. The
 * caller clears t in any case. */
int ledger_option_traffic(const struct cli_args *a, const struct policy *p,
                          struct ledger_span *span, struct traffic *t);

#endif
