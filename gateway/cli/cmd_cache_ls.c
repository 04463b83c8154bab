/* weir cache ls and get: entries, page by page and one by one. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/money.h"
#include "gateway/cli/cache_client.h"
#include "gateway/cli/cmd_cache.h"
#include "gateway/cli/out.h"
#include "gateway/cli/progress.h"
#include "policies/policy_value.h"

#define LIMIT_DEFAULT 50
#define HEAD_COLUMNS  72 /* of a line, before the question */

/* ---- ls ---- */

struct listing {
    int64_t left; /* entries that may still be shown; -1: any number */
    size_t columns;
    json_t *all; /* with --json */
    bool begun;
};

/* Room for the question; 0: nobody looks, all of it. */
static size_t text_columns(void)
{
    struct winsize w;

    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) != 0)
        return 0;
    return w.ws_col > HEAD_COLUMNS + 20 ? w.ws_col - HEAD_COLUMNS : 20;
}

static void print_heading(void)
{
    printf("%s%-16s  %5s %5s %10s %-2s %-14s %-10s %s%s\n", out_style(stdout, OUT_BOLD), "ID",
           "AGE", "LEFT", "SIZE", "", "MODEL", "SCOPE", "QUESTION", out_style(stdout, OUT_PLAIN));
}

static void print_entry(const json_t *e, size_t columns)
{
    char age[16], left[16], size[32];

    progress_amount((uint64_t)admin_client_int(e, "bytes"), PROGRESS_BYTES, size, sizeof size);
    printf("%-16s  %5s %5s %10s %s%s %-14.14s %-10.10s ", admin_client_text(e, "id"),
           cache_client_span(admin_client_text(e, "created_at"), age, sizeof age),
           cache_client_span(admin_client_text(e, "expires_at"), left, sizeof left), size,
           json_is_true(json_object_get(e, "pinned")) ? "p" : "-",
           json_is_true(json_object_get(e, "quarantined")) ? "q" : "-",
           admin_client_text(e, "model"), admin_client_text(e, "scope"));
    cache_client_print_line(stdout, admin_client_text(e, "text"), columns);
    putchar('\n');
}

static void show_page(struct listing *l, json_t *page)
{
    size_t i;
    json_t *e;

    json_array_foreach(json_object_get(page, "entries"), i, e)
    {
        if (l->left == 0)
            return;
        if (l->all) {
            json_array_append(l->all, e);
        } else {
            if (!l->begun)
                print_heading();
            print_entry(e, l->columns);
        }
        l->begun = true;
        l->left -= l->left > 0;
    }
}

static int ls_pages(struct admin_client *c, json_t *where, const char *from, struct listing *l)
{
    char *cursor = mem_strdup(slice_str(from));

    do {
        char *path = cache_client_path("/admin/cache/entries", where, cursor, "200");
        json_t *page = admin_client_ask(c, "GET", path, NULL);
        free(path);
        if (!page)
            break;
        show_page(l, page);
        free(cursor);
        cursor = mem_strdup(slice_str(admin_client_text(page, "cursor")));
        json_decref(page);
    } while (l->left != 0 && *cursor && strcmp(cursor, "0") != 0);
    if (l->all && c->code == EXIT_CODE_OK) {
        out_json(json_pack("{s:s,s:O}", "cursor", cursor, "entries", l->all));
    } else if (c->code == EXIT_CODE_OK && strcmp(cursor, "0") != 0) {
        fflush(stdout);
        fprintf(stderr, "there is more: --cursor %s, or --all\n", cursor);
    }
    free(cursor);
    return c->code;
}

static int ls(const struct cli_args *a)
{
    const char *limit = cli_value(a, "limit"), *from = cli_value(a, "cursor"), *hint;
    struct listing l = {.left = LIMIT_DEFAULT, .columns = text_columns()};
    struct admin_client c;
    size_t count;

    admin_client_init(&c, a);
    if (limit && (value_int(slice_str(limit), &l.left, &hint) || l.left < 1)) {
        fprintf(stderr, "weir cache ls: --limit %s: a whole number from 1 on is wanted\n", limit);
        return EXIT_CODE_USAGE;
    }
    if (cli_flag(a, "all"))
        l.left = -1;
    l.all = c.json ? json_array() : NULL;
    json_t *where = cache_client_where(a, &count);
    int code = ls_pages(&c, where, from ? from : "0", &l);
    json_decref(where);
    json_decref(l.all);
    return code;
}

const struct cli_command cmd_cache_ls = {
    .name = "cache ls",
    .operands = "",
    .summary = "list entries",
    .description =
        "One line each: id, age, what is left of its life, size in the store, p for pinned and q "
        "for quarantined, the model that answered, whose it is, and the question. All conditions "
        "that are given must hold. The order is the store's; entries that are there all the time "
        "are shown at least once, whatever else is written meanwhile.",
    .options =
        (const struct cli_option[]){
            ADMIN_CLIENT_OPTIONS,
            CACHE_CLIENT_CONDITIONS,
            {.name = "limit", .argument = "N", .help = "At most so many entries; 50."},
            {.name = "all", .help = "Every entry."},
            {.name = "cursor", .argument = "CURSOR", .help = "Go on where an earlier list ended."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir cache ls --scope acme --prefix 'how do i' --limit 20", "Questions of a tenant."},
            {"weir cache ls --all --json | jq '.entries[].cost_nanousd' | paste -sd+ | bc",
             "What answering all of it once more would cost, in nano-dollars."},
            {0},
        },
    .run = ls,
};

/* ---- get ---- */

static void print_field(const char *name, const char *value)
{
    if (*value) {
        printf("%-12s ", name);
        cache_client_print_line(stdout, value, 0);
        putchar('\n');
    }
}

static void print_answer(json_t *body)
{
    const json_t *choice = json_array_get(json_object_get(body, "choices"), 0),
                 *text = json_object_get(json_object_get(choice, "message"), "content");
    if (!text)
        text = json_object_get(json_array_get(json_object_get(body, "content"), 0), "text");
    if (json_is_string(text))
        printf("\n%s\n", json_string_value(text));
    else if (body) {
        putchar('\n');
        out_json(json_incref(body));
    }
}

static void print_whole(const json_t *e)
{
    static const char *const names[] = {"id",      "answer",     "scope",     "model",
                                        "route",   "class",      "api",       "source",
                                        "encoder", "created_at", "expires_at"};
    const json_t *usage = json_object_get(e, "usage"), *tags = json_object_get(e, "tags");
    char size[32], cost[32];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        print_field(names[i], admin_client_text(e, names[i]));
    for (size_t i = 0; i < json_array_size(tags); i++)
        print_field("tag", json_string_value(json_array_get(tags, i)));
    progress_amount((uint64_t)admin_client_int(e, "bytes"), PROGRESS_BYTES, size, sizeof size);
    print_field("size", size);
    printf("%-12s %lld in, %lld out; USD %s\n", "tokens", admin_client_int(usage, "input"),
           admin_client_int(usage, "output"),
           money_format_usd(admin_client_int(e, "cost_nanousd"), cost, sizeof cost));
    if (json_is_true(json_object_get(e, "pinned")))
        print_field("pinned", "not evicted");
    if (json_is_true(json_object_get(e, "quarantined")))
        print_field("quarantined", "not served until a fresh answer replaces it");
    print_field("question", admin_client_text(e, "text"));
    print_answer(json_object_get(e, "body"));
}

static int get(const struct cli_args *a)
{
    struct admin_client c;

    admin_client_init(&c, a);
    for (int i = 0; i < a->operand_count && c.code == EXIT_CODE_OK; i++) {
        char *path = cache_client_name("/admin/cache/entries/", a->operands[i]);
        json_t *e = admin_client_ask(&c, "GET", path, NULL);
        free(path);
        if (e && c.json)
            out_json(json_incref(e));
        else if (e)
            print_whole(e);
        json_decref(e);
    }
    return c.code;
}

const struct cli_command cmd_cache_get = {
    .name = "cache get",
    .operands = "ID...",
    .min_operands = 1,
    .max_operands = -1,
    .summary = "show entries with their answers",
    .description = "What is known of each, and the answer as a client would read it. --json has "
                   "the answer as its model's server gave it, and the digests.",
    .options = (const struct cli_option[]){ADMIN_CLIENT_OPTIONS, {0}},
    .examples =
        (const struct cli_example[]){{"weir cache get 00c0ffee00c0ffee", "One entry."}, {0}},
    .run = get,
};
