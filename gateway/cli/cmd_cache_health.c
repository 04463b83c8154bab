/* weir cache doctor and watch: is it well, and what does it do now? */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "gateway/cli/cache_client.h"
#include "gateway/cli/cmd_cache.h"
#include "gateway/cli/out.h"

/* ---- doctor ---- */

static enum out_style style_of(const char *state)
{
    return strcmp(state, "ok") == 0        ? OUT_GREEN
           : strcmp(state, "warning") == 0 ? OUT_YELLOW
                                           : OUT_RED;
}

static int doctor(const struct cli_args *a)
{
    struct admin_client c;
    size_t i;
    json_t *check;

    admin_client_init(&c, a);
    json_t *o = admin_client_ask(&c, "GET", "/admin/cache/doctor", NULL);
    if (!o)
        return c.code;
    json_array_foreach(json_object_get(o, "checks"), i, check)
    {
        const char *state = admin_client_text(check, "state");
        if (strcmp(state, "problem") == 0)
            c.code = EXIT_CODE_FOUND;
        if (!c.json)
            printf("%s%-8s%s %-9s %s\n", out_style(stdout, style_of(state)), state,
                   out_style(stdout, OUT_PLAIN), admin_client_text(check, "name"),
                   admin_client_text(check, "said"));
    }
    if (c.json)
        out_json(json_incref(o));
    json_decref(o);
    return c.code;
}

const struct cli_command cmd_cache_doctor = {
    .name = "cache doctor",
    .operands = "",
    .summary = "check that the cache is well",
    .description =
        "The store and what it says of itself (for Redis: eviction policy, memory, clock, how far "
        "behind the log of changes is), the index and its encoder, audited errors, disk, the "
        "record of changes. Ends with status 1 when there is a problem.",
    .options = (const struct cli_option[]){ADMIN_CLIENT_OPTIONS, {0}},
    .examples = (const struct cli_example[]){{"weir cache doctor", "Is it well?"}, {0}},
    .run = doctor,
};

/* ---- watch ---- */

#define WATCH_WAIT "25s"

static void print_event(const json_t *e)
{
    const char *verdict = admin_client_text(e, "verdict"), *at = admin_client_text(e, "at"),
               *guard = admin_client_text(e, "guard");
    bool hit = strcmp(verdict, "exact") == 0 || strcmp(verdict, "semantic") == 0;

    printf("%.12s  %s%-8s%s %-10.10s %-16s ", strlen(at) > 11 ? at + 11 : at,
           out_style(stdout, hit ? OUT_GREEN : OUT_PLAIN), verdict, out_style(stdout, OUT_PLAIN),
           admin_client_text(e, "scope"), admin_client_text(e, "entry"));
    if (json_object_get(e, "cosine"))
        printf("cos %.3f p %.3f cut %.3f%s%s%s%s ", json_real_value(json_object_get(e, "cosine")),
               json_real_value(json_object_get(e, "probability")),
               json_real_value(json_object_get(e, "cut")), *guard ? " refused by " : "", guard,
               json_is_true(json_object_get(e, "shadow")) ? " shadow" : "",
               json_is_true(json_object_get(e, "audit")) ? " audited" : "");
    cache_client_print_line(stdout, admin_client_text(e, "text"), 80);
    putchar('\n');
}

/* Those after that number, or the first that comes within `wait`. */
static json_t *ask_events(struct admin_client *c, long long after, const char *wait)
{
    char path[96];

    snprintf(path, sizeof path, "/admin/cache/events?limit=512&after=%lld&wait=%s", after, wait);
    return admin_client_ask(c, "GET", path, NULL);
}

/* The number to go on after in *after. false: nobody reads it. */
static bool print_events(const struct admin_client *c, const json_t *o, long long *after)
{
    size_t i;
    json_t *e;

    if (*after > 0 && admin_client_int(o, "lost") > 0)
        fprintf(stderr, "%lld look-ups went by unseen\n", admin_client_int(o, "lost"));
    json_array_foreach(json_object_get(o, "events"), i, e)
    {
        if (c->json && json_dumpf(e, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER) == 0)
            putchar('\n');
        else if (!c->json)
            print_event(e);
    }
    *after = admin_client_int(o, "last");
    fflush(stdout);
    return !ferror(stdout);
}

/* A line is whole: who interrupts waits until it is written. */
static int watch(const struct cli_args *a)
{
    struct admin_client c;
    long long after = 0;
    bool once = cli_flag(a, "once");
    sigset_t stop;

    admin_client_init(&c, a);
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    json_t *o = ask_events(&c, after, once ? "0s" : WATCH_WAIT);
    while (o) {
        sigprocmask(SIG_BLOCK, &stop, NULL);
        bool printed = print_events(&c, o, &after);
        json_decref(o);
        sigprocmask(SIG_UNBLOCK, &stop, NULL);
        o = printed && !once ? ask_events(&c, after, WATCH_WAIT) : NULL;
    }
    return c.code;
}

const struct cli_command cmd_cache_watch = {
    .name = "cache watch",
    .operands = "",
    .summary = "follow look-ups as they happen",
    .description =
        "One line each: time, how it ended (exact, semantic, miss, wait: for the same question "
        "that is being answered), scope, entry, and for neighbours by meaning cosine, probability, "
        "cut and what refused them. Repeats that a worker answers from its own hot set are not "
        "shown. Each shows within a fraction of a second; while there are none weir is asked "
        "twice a minute. Until it is interrupted.",
    .options =
        (const struct cli_option[]){
            ADMIN_CLIENT_OPTIONS,
            {.name = "once", .help = "Show what is known of the last look-ups and end."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir cache watch --json | jq -r .verdict", "Verdicts as they come."}, {0}},
    .run = watch,
};
