/* weir cache rm, pin, quarantine: what changes entries. */
#include <stdlib.h>
#include <string.h>
#include "gateway/cli/cache_client.h"
#include "gateway/cli/cmd_cache.h"
#include "gateway/cli/confirm.h"
#include "gateway/cli/out.h"
#include "gateway/cli/progress.h"

#define ALL_PHRASE "remove everything"

/* ---- removal by conditions ---- */

struct sum {
    long long looked_at, matched, removed, bytes;
};

/* A removal, or counting what it would take. */
struct removal {
    json_t *where;
    const char *phrase; /* NULL: count */
    struct sum *sum;
};

static json_t *ask_step(struct admin_client *c, const char *cursor, void *ctx)
{
    const struct removal *r = ctx;
    json_t *body = json_pack("{s:O,s:s,s:b}", "where", r->where, "cursor", cursor, "dry_run",
                             r->phrase == NULL);

    if (r->phrase)
        json_object_set_new(body, "confirm", json_string(r->phrase));
    return admin_client_ask(c, "POST", "/admin/cache/remove", body);
}

static void add_step(const json_t *step, void *ctx)
{
    struct sum *sum = ((const struct removal *)ctx)->sum;

    sum->looked_at += admin_client_int(step, "looked_at");
    sum->matched += admin_client_int(step, "matched");
    sum->removed += admin_client_int(step, "removed");
    sum->bytes += admin_client_int(step, "bytes");
}

static bool walk(struct admin_client *c, json_t *where, const char *phrase, struct sum *sum)
{
    struct removal r = {where, phrase, sum};

    return cache_client_walk(
        c, &(struct cache_client_walk){phrase ? "removing" : "counting", ask_step, add_step, &r});
}

static void report(const struct admin_client *c, const char *what, long long n,
                   const struct sum *sum)
{
    char size[32];

    if (c->json) {
        out_json(json_pack("{s:I,s:I,s:I,s:I}", "looked_at", sum->looked_at, "matched",
                           sum->matched, "removed", sum->removed, "bytes", sum->bytes));
        return;
    }
    progress_amount((uint64_t)sum->bytes, PROGRESS_BYTES, size, sizeof size);
    printf("%lld entr%s %s, %s\n", n, n == 1 ? "y" : "ies", what, size);
}

/* A whole scope goes at once, by its generation; what it took is swept after that. */
static bool flush(struct admin_client *c, json_t *where)
{
    json_t *done = admin_client_ask(
        c, "POST", "/admin/cache/flush",
        json_pack("{s:O,s:s}", "scope", json_object_get(where, "scope"), "confirm", "flush"));

    json_decref(done);
    json_object_set_new(where, "dead", json_string("true"));
    return done;
}

static int remove_where(struct admin_client *c, const struct cli_args *a, json_t *where,
                        size_t count)
{
    struct sum found = {0}, gone = {0};
    char question[160], size[32];
    bool all = count == 0, scope_only = count == 1 && json_object_get(where, "scope");

    if (!walk(c, where, NULL, &found))
        return c->code;
    if (cli_flag(a, "dry-run") || found.matched == 0) {
        report(c, "match", found.matched, &found);
        return EXIT_CODE_OK;
    }
    progress_amount((uint64_t)found.bytes, PROGRESS_BYTES, size, sizeof size);
    snprintf(question, sizeof question, "Remove %lld entr%s (%s)%s?", found.matched,
             found.matched == 1 ? "y" : "ies", size, all ? ", that is everything" : "");
    if (!confirm("cache rm", cli_flag(a, "yes"), question, all ? ALL_PHRASE : "y"))
        return EXIT_CODE_FOUND;
    if (scope_only && !flush(c, where))
        return c->code;
    if (walk(c, where, all ? ALL_PHRASE : "remove", &gone))
        report(c, "removed", gone.removed, &gone);
    return c->code;
}

/* ---- removal by name ---- */

static int remove_ids(struct admin_client *c, const struct cli_args *a)
{
    struct sum gone = {0};
    char question[96];

    snprintf(question, sizeof question, "Remove %d entr%s?", a->operand_count,
             a->operand_count == 1 ? "y" : "ies");
    if (!confirm("cache rm", cli_flag(a, "yes"), question, "y"))
        return EXIT_CODE_FOUND;
    for (int i = 0; i < a->operand_count; i++) {
        char *path = cache_client_name("/admin/cache/entries/", a->operands[i]);
        json_t *done = admin_client_ask(c, "DELETE", path, NULL);
        free(path);
        if (!done && c->code != EXIT_CODE_FOUND)
            return c->code; /* one that is not there does not keep the others */
        gone.looked_at++;
        gone.matched += admin_client_int(done, "removed");
        gone.removed += admin_client_int(done, "removed");
        gone.bytes += admin_client_int(done, "bytes");
        json_decref(done);
    }
    report(c, "removed", gone.removed, &gone);
    return c->code;
}

static int misused(const char *what)
{
    fprintf(stderr, "weir cache rm: %s\ntry 'weir help cache rm'\n", what);
    return EXIT_CODE_USAGE;
}

static int rm(const struct cli_args *a)
{
    struct admin_client c;
    size_t count;
    json_t *where = cache_client_where(a, &count);
    bool all = cli_flag(a, "all");
    int code;

    admin_client_init(&c, a);
    if (a->operand_count > 0 && (count > 0 || all || cli_flag(a, "dry-run")))
        code = misused("ids alone, or conditions");
    else if (a->operand_count > 0)
        code = remove_ids(&c, a);
    else if (count == 0 && !all)
        code = misused("which entries? Ids, conditions, or --all");
    else if (count > 0 && all)
        code = misused("--all takes no conditions");
    else
        code = remove_where(&c, a, where, count);
    json_decref(where);
    return code;
}

const struct cli_command cmd_cache_rm = {
    .name = "cache rm",
    .operands = "[ID]...",
    .max_operands = -1,
    .summary = "remove entries",
    .description =
        "The entries that are named, or all for which every condition holds, or --all. What "
        "conditions mean is counted first. On a terminal it asks, and for everything a phrase has "
        "to be typed; elsewhere --yes is wanted. --scope alone is a flush: from one moment to the "
        "next nothing of the scope is served, and its space is freed after that.",
    .options =
        (const struct cli_option[]){
            ADMIN_CLIENT_OPTIONS,
            CACHE_CLIENT_CONDITIONS,
            {.name = "all", .help = "Everything."},
            {.name = "dry-run", .help = "Count, remove nothing."},
            {.name = "yes", .letter = 'y', .help = "Do not ask."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir cache rm --tag prices --dry-run", "How many would go?"},
            {"weir cache rm --scope acme --yes", "Nothing of that tenant is served any more."},
            {0},
        },
    .run = rm,
};

/* ---- marks ---- */

static int mark(const struct cli_args *a, const char *key, const char *set, const char *unset)
{
    struct admin_client c;
    bool off = cli_flag(a, "off");

    admin_client_init(&c, a);
    for (int i = 0; i < a->operand_count; i++) {
        json_t *body = json_pack("{s:s,s:b}", "id", a->operands[i], key, !off);
        json_t *e = admin_client_ask(&c, "POST", "/admin/cache/mark", body);
        if (e && c.json)
            out_json(json_incref(e));
        else if (e)
            printf("%s %s\n", a->operands[i], off ? unset : set);
        json_decref(e);
        if (!e && c.code != EXIT_CODE_FOUND)
            break;
    }
    return c.code;
}

static int pin(const struct cli_args *a)
{
    return mark(a, "pinned", "is pinned", "is no longer pinned");
}

static int quarantine(const struct cli_args *a)
{
    return mark(a, "quarantined", "is quarantined", "may be served again");
}

const struct cli_command cmd_cache_pin = {
    .name = "cache pin",
    .operands = "ID...",
    .min_operands = 1,
    .max_operands = -1,
    .summary = "keep entries from being evicted",
    .description = "A pinned entry is never the one that makes room; it still expires, and a fresh "
                   "answer still replaces it. In Redis this holds for what weir evicts, not for "
                   "what the server's maxmemory-policy does.",
    .options = (const struct cli_option[]){ADMIN_CLIENT_OPTIONS,
                                           {.name = "off", .help = "Take the mark away."},
                                           {0}},
    .examples = (const struct cli_example[]){{"weir cache pin 00c0ffee00c0ffee", "Keep it."}, {0}},
    .run = pin,
};

const struct cli_command cmd_cache_quarantine = {
    .name = "cache quarantine",
    .operands = "ID...",
    .min_operands = 1,
    .max_operands = -1,
    .summary = "stop serving entries, and keep them to be looked at",
    .description = "From one moment to the next the entry is served to nobody, neither exactly nor "
                   "by meaning; the next who asks its question gets a fresh answer, which replaces "
                   "it. Until then 'weir cache get' shows it, and --off lets it be served again.",
    .options = (const struct cli_option[]){ADMIN_CLIENT_OPTIONS,
                                           {.name = "off", .help = "Take the mark away."},
                                           {0}},
    .examples =
        (const struct cli_example[]){{"weir cache ls --quarantined", "What is locked up?"}, {0}},
    .run = quarantine,
};
