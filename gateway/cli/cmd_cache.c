/* weir cache: what a running weir keeps of earlier answers. Its parts are in cmd_cache_*.c. */
#include "gateway/cli/cmd_cache.h"

static const struct cli_command *const parts[] = {
    &cmd_cache_ls,
    &cmd_cache_get,
    &cmd_cache_explain,
    &cmd_cache_wrong,
    &cmd_cache_stats,
    &cmd_cache_rm,
    &cmd_cache_pin,
    &cmd_cache_quarantine,
    &cmd_cache_export,
    &cmd_cache_import,
    &cmd_cache_warm,
    &cmd_cache_eval,
    &cmd_cache_tune,
    &cmd_cache_doctor,
    &cmd_cache_watch,
    &cmd_cache_changes,
    NULL,
};

const struct cli_command cmd_cache = {
    .name = "cache",
    .operands = "PART [OPTION]... [OPERAND]...",
    .summary = "look at, clean and move the cache of a running weir",
    .description =
        "Everything goes over the admin listener (--url, WEIR_API_KEY), so it works on a server "
        "that is serving, and neither it nor its cache ever waits for these commands: long work "
        "is done in steps, and listings are walked with cursors as Redis' SCAN walks keys. An "
        "entry is named by its id, 16 hex digits.\n\n"
        "What destroys something asks first on a terminal, and wants --yes elsewhere. Every change "
        "is recorded with its author in STATE/cache_changes.jsonl.",
    .options = (const struct cli_option[]){{0}},
    .examples =
        (const struct cli_example[]){
            {"weir cache ls --tag support --older 7d", "What is old there?"},
            {"weir cache rm --model gpt-4.1 --dry-run", "What would go?"},
            {0},
        },
    .parts = parts,
};
