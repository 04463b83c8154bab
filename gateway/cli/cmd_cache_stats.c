/* weir cache stats and changes: what the cache holds and does, and who changed it. */
#include <stdlib.h>
#include <string.h>
#include "gateway/cli/cache_client.h"
#include "gateway/cli/cmd_cache.h"
#include "gateway/cli/out.h"
#include "gateway/cli/progress.h"

/* ---- stats ---- */

static void add_up(json_t *sums, json_t *scopes)
{
    const char *scope, *key;
    json_t *counts, *n;

    json_object_foreach(scopes, scope, counts)
    {
        json_t *sum = json_object_get(sums, scope);
        if (!sum) {
            json_object_set(sums, scope, counts);
            continue;
        }
        json_object_foreach(counts, key, n)
        {
            json_object_set_new(sum, key,
                                json_integer(json_integer_value(json_object_get(sum, key)) +
                                             json_integer_value(n)));
        }
    }
}

static json_t *ask_step(struct admin_client *c, const char *cursor, void *ctx)
{
    char *path = cache_client_path("/admin/cache/usage", NULL, cursor, NULL);
    json_t *step = admin_client_ask(c, "GET", path, NULL);

    (void)ctx;
    free(path);
    return step;
}

static void add_step(const json_t *step, void *sums)
{
    add_up(sums, json_object_get(step, "scopes"));
}

/* By scope, over all steps; NULL: why was said. */
static json_t *usage(struct admin_client *c)
{
    json_t *sums = json_object();

    if (cache_client_walk(c, &(struct cache_client_walk){"adding up", ask_step, add_step, sums}))
        return sums;
    json_decref(sums);
    return NULL;
}

static void print_amount(const char *name, const json_t *o, const char *key)
{
    char size[32];

    progress_amount((uint64_t)admin_client_int(o, key), PROGRESS_BYTES, size, sizeof size);
    printf("%-24s %s\n", name, size);
}

static void print_facts(const json_t *f)
{
    const json_t *store = json_object_get(f, "store"), *semantic = json_object_get(f, "semantic");
    long long lookups = admin_client_int(f, "lookups"), hits = admin_client_int(f, "hits_exact"),
              near = admin_client_int(semantic, "hits");

    printf("%-24s %s\n", "store",
           json_is_true(json_object_get(store, "up"))
               ? "up"
               : "DOWN: everything misses ('weir cache doctor' says why)");
    if (json_is_integer(json_object_get(store, "entries"))) { /* a Redis does not count them */
        printf("%-24s %lld\n", "entries", admin_client_int(store, "entries"));
        print_amount("bytes", store, "bytes");
    }
    printf("%-24s %lld\n", "in memory", admin_client_int(f, "resident"));
    print_amount("bytes in memory", f, "resident_bytes");
    printf("%-24s %lld, beside what workers answered from their hot sets\n", "look-ups", lookups);
    printf("%-24s %lld exact, %lld by meaning (%.1f %%)\n", "hits", hits, near,
           lookups ? 100.0 * (double)(hits + near) / (double)lookups : 0.0);
    printf("%-24s %lld\n", "stored answers", admin_client_int(f, "puts"));
    printf("%-24s %lld\n", "refused by the store", admin_client_int(f, "refused_puts"));
    printf("%-24s %lld failed, %lld late, %lld damaged\n", "of the store",
           admin_client_int(store, "failed"), admin_client_int(store, "late"),
           admin_client_int(store, "bad_entries"));
    if (admin_client_int(semantic, "indexed") > 0 || admin_client_int(semantic, "labels") > 0) {
        printf("%-24s %lld vectors\n", "index", admin_client_int(semantic, "indexed"));
        print_amount("bytes of the index", semantic, "index_bytes");
        printf("%-24s %lld labels, %lld audits, %lld of them wrong%s\n", "learned",
               admin_client_int(semantic, "labels"), admin_client_int(semantic, "audits"),
               admin_client_int(semantic, "audited_wrong"),
               json_is_true(json_object_get(semantic, "alarm")) ? "; ALARM" : "");
    }
}

static void print_scopes(json_t *sums)
{
    const char *scope;
    json_t *n;
    char size[32];

    printf("\n%s%-24s %10s %12s %12s %8s %12s%s\n", out_style(stdout, OUT_BOLD), "SCOPE", "ENTRIES",
           "BYTES", "WITH VECTOR", "PINNED", "QUARANTINED", out_style(stdout, OUT_PLAIN));
    json_object_foreach(sums, scope, n)
    {
        progress_amount((uint64_t)admin_client_int(n, "bytes"), PROGRESS_BYTES, size, sizeof size);
        printf("%-24s %10lld %12s %12lld %8lld %12lld\n", *scope ? scope : "(shared)",
               admin_client_int(n, "entries"), size, admin_client_int(n, "with_vector"),
               admin_client_int(n, "pinned"), admin_client_int(n, "quarantined"));
    }
}

static int stats(const struct cli_args *a)
{
    struct admin_client c;
    json_t *facts, *sums = NULL;

    admin_client_init(&c, a);
    facts = admin_client_ask(&c, "GET", "/admin/cache", NULL);
    if (!facts)
        return c.code;
    if (json_is_true(json_object_get(facts, "enabled")) && !cli_flag(a, "quick"))
        sums = usage(&c);
    if (sums)
        json_object_set(facts, "scopes", sums);
    if (c.code == EXIT_CODE_OK && c.json) {
        out_json(json_incref(facts));
    } else if (c.code == EXIT_CODE_OK && !json_is_true(json_object_get(facts, "enabled"))) {
        printf("the policy has no cache\n");
    } else if (c.code == EXIT_CODE_OK) {
        print_facts(facts);
        if (sums)
            print_scopes(sums);
    }
    json_decref(sums);
    json_decref(facts);
    return c.code;
}

const struct cli_command cmd_cache_stats = {
    .name = "cache stats",
    .operands = "",
    .summary = "say what the cache holds and does, and whose it is",
    .description = "Facts of the process, then entries and bytes by scope, added up over the whole "
                   "store in steps.",
    .options = (const struct cli_option[]){ADMIN_CLIENT_OPTIONS,
                                           {.name = "quick", .help = "Do not add up by scope."},
                                           {0}},
    .examples = (const struct cli_example[]){{"weir cache stats", "How full, how useful?"}, {0}},
    .run = stats,
};

/* ---- changes ---- */

static void print_change(json_t *change)
{
    static const char *const known[] = {"at", "who", "from", "action", "outcome", "before"};
    const char *key;
    json_t *value;

    printf("%s  %-10s %-22s %-10s %-8s", admin_client_text(change, "at"),
           admin_client_text(change, "who"), admin_client_text(change, "from"),
           admin_client_text(change, "action"), admin_client_text(change, "outcome"));
    json_object_foreach(change, key, value)
    {
        bool shown = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            shown = shown || strcmp(key, known[i]) == 0;
        char *text = shown ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        if (text) {
            printf(" %s=", key);
            cache_client_print_line(stdout, text, 0);
        }
        free(text);
    }
    putchar('\n');
}

static int changes(const struct cli_args *a)
{
    const char *limit = cli_value(a, "limit");
    struct admin_client c;
    char *path = cache_client_path("/admin/cache/changes", NULL, NULL, limit ? limit : "20");
    size_t i;
    json_t *change;

    admin_client_init(&c, a);
    json_t *o = admin_client_ask(&c, "GET", path, NULL);
    free(path);
    if (!o)
        return c.code;
    if (!json_is_true(json_object_get(o, "whole"))) {
        fprintf(stderr, "weir cache changes: the file was tampered with: a line does not name the "
                        "one before it\n");
        c.code = EXIT_CODE_FOUND;
    }
    if (c.json) {
        out_json(o);
        return c.code;
    }
    json_array_foreach(json_object_get(o, "changes"), i, change)
    {
        print_change(change);
    }
    json_decref(o);
    return c.code;
}

const struct cli_command cmd_cache_changes = {
    .name = "cache changes",
    .operands = "",
    .summary = "show who changed what in the cache, and when",
    .description = "The newest last, out of STATE/cache_changes.jsonl. Each line there carries the "
                   "SHA-256 of the line before it; when one was changed or taken out, this says so "
                   "and ends with status 1.",
    .options =
        (const struct cli_option[]){
            ADMIN_CLIENT_OPTIONS,
            {.name = "limit", .argument = "N", .help = "So many, 1 to 1000; 20."},
            {0},
        },
    .examples =
        (const struct cli_example[]){{"weir cache changes --limit 5", "The last five."}, {0}},
    .run = changes,
};
