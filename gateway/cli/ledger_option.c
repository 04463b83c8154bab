/* Called by weir report and weir replay. */
#include "gateway/cli/ledger_option.h"

#include <stdio.h>
#include "base/clock.h"
#include "gateway/cli/exit.h"
#include "policies/policy_value.h"

#define DEFAULT_MS (INT64_C(7) * 24 * 3600 * 1000)

static bool find_span(const struct cli_args *a, struct ledger_span *out, struct err_text *t)
{
    const char *since = cli_value(a, "since"), *hint = NULL;
    int64_t now_us = clock_wall_us(), ago_ms = DEFAULT_MS;

    out->until_wall_us = now_us;
    if (since && value_duration(slice_str(since), &ago_ms, &hint) != NULL) {
        if (value_time(slice_str(since), &out->since_wall_us, &hint) != NULL)
            err_say(t, "--since '%s' is neither a span such as 7d nor a time such as 2026-01-01",
                    since);
        else if (out->since_wall_us > now_us)
            err_say(t, "--since '%s' is still to come", since);
        else
            return true;
        return false;
    }
    if (ago_ms < 0 || ago_ms > now_us / 1000)
        ago_ms = now_us / 1000;
    out->since_wall_us = now_us - ago_ms * 1000;
    return true;
}

void ledger_option_path(const struct cli_args *a, const struct policy *p, char *out,
                        size_t out_bytes)
{
    const char *given = cli_value(a, "ledger");

    if (given || !p)
        snprintf(out, out_bytes, "%s", given ? given : LEDGER_DEFAULT);
    else
        snprintf(out, out_bytes, "%s/ledger.sqlite", p->server.state_dir);
}

static enum err read_span(const char *path, const struct ledger_span *span, struct traffic *t,
                          struct err_text *why)
{
    struct ledger_reader *reader = NULL;
    enum err err = ledger_reader_open(path, &reader, why);

    if (err == ERR_OK)
        err = ledger_scan(reader,
                          &(struct ledger_scan){.since_wall_us = span->since_wall_us,
                                                .until_wall_us = span->until_wall_us,
                                                .visit = traffic_add,
                                                .ctx = t},
                          why);
    ledger_reader_close(reader);
    traffic_end(t);
    return err;
}

int ledger_option_traffic(const struct cli_args *a, const struct policy *p,
                          struct ledger_span *span, struct traffic *t)
{
    struct err_text why = {""};
    char path[4096];
    int code = EXIT_CODE_OK;

    traffic_init(t);
    ledger_option_path(a, p, path, sizeof path);
    if (!find_span(a, span, &why))
        code = EXIT_CODE_USAGE;
    else if (read_span(path, span, t, &why) != ERR_OK)
        code = EXIT_CODE_RUNTIME;
    if (code != EXIT_CODE_OK)
        fprintf(stderr, "weir %s: %s\n", a->command->name, why.s);
    return code;
}
