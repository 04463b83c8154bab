/* The parts of `weir cache`, one noun per file. Single-threaded. */
#ifndef GATEWAY_CLI_CMD_CACHE_H
#define GATEWAY_CLI_CMD_CACHE_H

#include "gateway/cli/cli.h"

extern const struct cli_command cmd_cache_ls, cmd_cache_get, cmd_cache_stats, cmd_cache_rm,
    cmd_cache_pin, cmd_cache_quarantine, cmd_cache_changes, cmd_cache_export, cmd_cache_import,
    cmd_cache_doctor, cmd_cache_watch, cmd_cache_eval, cmd_cache_explain, cmd_cache_wrong,
    cmd_cache_tune, cmd_cache_warm;

#endif
