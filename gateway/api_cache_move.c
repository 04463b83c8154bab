/* Export and import of entries over /admin/cache. An export is a stream that goes on as fast as its
 * client reads: a page of heads, then their entries a few at a time, then the next page; it owns
 * what it has of both. Control thread. */
#include <stdlib.h>
#include "base/mem.h"
#include "gateway/admin_reply.h"
#include "gateway/api_cache_int.h"
#include "gateway/cache_line.h"
#include "gateway/json_put.h"

#define BATCH_ENTRIES 16
#define BATCH_BYTES   ((size_t)4 << 20)
#define EXPORT_LIMIT  200
#define LINES_TYPE    "application/x-ndjson"

/* ---- export ---- */

struct export
{
    struct cache_task base;
    struct admin_job *asked; /* owned: the conditions, for the next page's job */
    struct admin_job *page;  /* owned: heads that are to be fetched; NULL: none yet */
    size_t next;             /* of them */
    bool begun, waiting;     /* the reply's head is out; a job is on its way */
    bool full;               /* the client has to read first */
};

static void go_on(struct export *e);

static void export_free(struct cache_task *t)
{
    struct export *e = CONTAINER_OF(t, struct export, base);

    admin_job_free(e->asked);
    admin_job_free(e->page);
    free(e);
}

/* A job that is on its way finds nobody. */
static void export_gone(struct admin_task *task)
{
    struct cache_task *t = CONTAINER_OF(task, struct cache_task, task);

    cache_task_close(t);
    export_free(t);
}

static void export_writable(struct admin_task *task)
{
    struct export *e = CONTAINER_OF(task, struct export, base.task);

    e->full = false;
    go_on(e);
}

static void ask_page(struct export *e, struct slice cursor)
{
    struct admin_job *j = admin_job_new(ADMIN_PAGE);

    j->filter = e->asked->filter; /* whose slices live as long as the export does */
    j->life = e->asked->life;
    j->cursor = arena_dup(&j->arena, cursor);
    j->limit = EXPORT_LIMIT;
    e->waiting = true;
    cache_task_give(&e->base, j);
}

static void ask_entries(struct export *e)
{
    struct admin_job *j = admin_job_new(ADMIN_GET);
    size_t bytes = 0;

    while (e->next < e->page->entry_count && j->id_count < BATCH_ENTRIES) {
        const struct cache_fields *f = &e->page->entries[e->next]->f;
        bytes += f->body_bytes;
        if (j->id_count > 0 && bytes > BATCH_BYTES)
            break;
        j->ids[j->id_count++] =
            (struct store_ref){.scope = arena_dup(&j->arena, f->scope), .id = f->id};
        e->next++;
    }
    e->waiting = true;
    cache_task_give(&e->base, j);
}

static void write_entry(struct export *e, const struct cache_entry *entry)
{
    json_t *o = cache_line_json(&entry->f);
    char *line = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER);

    mem_need(line);
    http_reply_write(e->base.x, slice_str(line));
    if (!http_reply_write(e->base.x, SLICE("\n")))
        e->full = true;
    free(line);
    json_decref(o);
}

static void end_export(struct export *e)
{
    cache_task_close(&e->base);
    http_reply_end(e->base.x);
    export_free(&e->base);
}

static void break_off(struct export *e, const struct admin_job *j)
{
    cache_task_close(&e->base);
    if (e->begun)
        http_reply_abort(e->base.x, "export broken off"); /* the client sees a cut answer */
    else
        admin_reply_error(e->base.x, j->err, j->why.s[0] ? j->why.s : NULL);
    export_free(&e->base);
}

static void go_on(struct export *e)
{
    if (e->waiting || e->full)
        return;
    if (e->page && e->next < e->page->entry_count)
        ask_entries(e);
    else if (!e->page)
        ask_page(e, SLICE("0"));
    else if (strcmp(e->page->next, "0") != 0)
        ask_page(e, slice_str(e->page->next));
    else
        end_export(e);
}

static void begin_reply(struct export *e)
{
    const struct http1_header type = {SLICE("Content-Type"), SLICE(LINES_TYPE)};

    if (!e->begun)
        http_reply_begin(e->base.x, 200, &type, 1);
    e->begun = true;
}

static void export_take(struct cache_task *t, struct admin_job *j)
{
    struct export *e = CONTAINER_OF(t, struct export, base);

    e->waiting = false;
    if (j->err != ERR_OK) {
        break_off(e, j);
        admin_job_free(j);
        return;
    }
    begin_reply(e);
    if (j->kind == ADMIN_PAGE) {
        admin_job_free(e->page);
        e->page = j;
        e->next = 0;
    } else {
        for (size_t i = 0; i < j->entry_count; i++)
            if (j->entries[i])
                write_entry(e, j->entries[i]);
        admin_job_free(j);
    }
    go_on(e);
}

void api_cache_get_export(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    struct export *e = mem_zalloc(1, sizeof *e);

    (void)rest;
    e->base = (struct cache_task){.task = {.gone = export_gone, .writable = export_writable},
                                  .take = export_take,
                                  .drop = export_free};
    e->asked = admin_job_new(ADMIN_PAGE);
    if (cache_task_query(x, e->asked) && cache_task_open(&e->base, admin, x))
        go_on(e);
    else
        export_free(&e->base);
}

/* ---- import ---- */

static void reply_import(struct http_exchange *x, struct admin_job *j)
{
    json_t *o = json_object();

    json_put_int(o, "stored", (int64_t)j->stored);
    json_put_int(o, "kept", (int64_t)j->kept);
    json_put_int(o, "refused", (int64_t)j->refused);
    json_put_int(o, "without_vector", (int64_t)j->without_vector);
    admin_reply_json(x, 200, NULL, o);
}

/* All lines, or none: false with why. */
static bool read_lines(struct slice body, struct admin_job *j, struct err_text *why)
{
    for (size_t number = 1; body.n > 0; number++) {
        const char *end = memchr(body.p, '\n', body.n);
        struct slice line = slice_make(body.p, end ? (size_t)(end - body.p) : body.n);
        struct cache_entry *e;
        struct err_text what;
        body = slice_from(body, end ? line.n + 1 : line.n);
        if (slice_trim(line).n == 0)
            continue;
        if (cache_line_parse(line, &e, &what) != ERR_OK) {
            err_say(why, "Line %zu: %.400s.", number, what.s);
            return false;
        }
        admin_job_add(j, e);
    }
    return true;
}

void api_cache_post_import(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    struct admin_job *j = admin_job_new(ADMIN_PUT);
    struct err_text why = {""};
    json_t *change = NULL;

    (void)rest;
    if (!cache_task_is_of_type(x, LINES_TYPE)) {
        admin_job_free(j);
        return;
    }
    if (!read_lines(http_exchange_body(x), j, &why))
        admin_reply_error(x, ERR_BAD_REQUEST, why.s);
    else if ((change = cache_task_change(admin, x, "import")))
        json_put_int(change, "entries", (int64_t)j->entry_count);
    if (change)
        cache_task_ask(admin, x, j, reply_import, change);
    else
        admin_job_free(j);
}
