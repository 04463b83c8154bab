/* What the parts of `weir cache` ask the admin API, and how they print what it says.
 * Single-threaded. */
#ifndef GATEWAY_CLI_CACHE_CLIENT_H
#define GATEWAY_CLI_CACHE_CLIENT_H

#include <jansson.h>
#include <stdio.h>
#include "gateway/cli/admin_client.h"

/* Conditions on entries, for `where` and for a query; see weir help cache. */
#define CACHE_CLIENT_CONDITIONS                                                                    \
    {.name = "scope", .argument = "NAME", .help = "Of that scope; '' is what all tenants share."}, \
        {.name = "tag", .argument = "TAG", .help = "With that tag."},                              \
        {.name = "model", .argument = "NAME", .help = "Answered by that model."},                  \
        {.name = "route", .argument = "NAME", .help = "Asked over that route."},                   \
        {.name = "class", .argument = "NAME", .help = "Of that class."},                           \
        {.name = "prefix",                                                                         \
         .argument = "TEXT",                                                                       \
         .help = "Whose question begins so; letters of either case."},                             \
        {.name = "id", .argument = "HEX", .help = "Whose id begins so."},                          \
        {.name = "answer", .argument = "ID", .help = "All keys of one answer."},                   \
        {.name = "source",                                                                         \
         .argument = "SOURCE",                                                                     \
         .help = "From there: traffic, audit, warming or import."},                                \
        {.name = "older",                                                                          \
         .argument = "AGE",                                                                        \
         .help = "Older than that ('7d'), or from before that time ('2026-01-01')."},              \
        {.name = "newer", .argument = "AGE", .help = "Not older than that, or since that time."},  \
        {.name = "pinned", .help = "Pinned ones."},                                                \
        {.name = "quarantined", .help = "Quarantined ones."},                                      \
    {                                                                                              \
        .name = "dead", .help = "What has expired or was flushed and still takes room, in place "  \
                                "of what is alive."                                                \
    }

/* The conditions that were given, as the API's `where`; their number is *count. */
json_t *cache_client_where(const struct cli_args *a, size_t *count);
/* The same behind `path`, with further "key=value": freed by the caller. cursor, limit: NULL, or
 * what they say. */
char *cache_client_path(const char *path, json_t *where, const char *cursor, const char *limit);
/* A path that ends with what the user typed, escaped; freed by the caller. */
char *cache_client_name(const char *path, const char *name);

/* What the API does in steps: ask for the one at a cursor, NULL when that failed; take in what it
 * says. */
struct cache_client_walk {
    const char *doing; /* "adding up", for people */
    json_t *(*ask)(struct admin_client *c, const char *cursor, void *ctx);
    void (*take)(const json_t *step, void *ctx);
    void *ctx;
};
/* false: why was said. */
bool cache_client_walk(struct admin_client *c, const struct cache_client_walk *w);

/* ---- what is printed ---- */

/* Text in one line: what a terminal would obey is shown as escapes; columns 0: all of it. */
void cache_client_print_line(FILE *f, const char *text, size_t columns);
/* "3m", "2d": since or until an RFC 3339 time; out >= 16 bytes. */
const char *cache_client_span(const char *time, char *out, size_t out_bytes);

#endif
