/* Pages of what is stored, without bodies: of everything, by id; or of what carries a tag. */
#include <stdlib.h>
#include "base/mem.h"
#include "cache/store_sqlite_int.h"

#define PAGE_ROWS 64 /* look-ups wait for one page at most: below a millisecond */

struct page {
    struct cache_fields fields[PAGE_ROWS];
    struct cache_entry *entries[PAGE_ROWS]; /* references, which the fields borrow from */
    size_t n;
    uint64_t last, last_home; /* home: of a page by tag */
    bool more;
};

/* Rows that are none are left out; whoever asks for them removes them, and what is only wrong. */
static void read_page(struct store_sqlite *s, enum sqlite_statement which, size_t limit,
                      struct page *p)
{
    *p = (struct page){0};
    for (size_t rows = 0; sql_step_row(s, which); rows++) {
        struct cache_entry *e;
        if (rows == limit - 1)
            p->more = true;
        p->last = sql_column_id(s, which, 0);
        p->last_home = which == SQL_TAGGED ? sql_column_id(s, which, 2) : 0;
        if (cache_entry_unpack_head(sql_column_bytes(s, which, 1), &e) != ERR_OK) {
            s->stat.bad_entries++;
            continue;
        }
        p->entries[p->n] = e;
        p->fields[p->n++] = e->f;
    }
    sql_done_with(s, which);
}

static void answer_page(struct sqlite_call *c, struct page *p, struct slice next)
{
    c->fn.page(c->ctx, ERR_OK, p->fields, p->n, next);
    for (size_t i = 0; i < p->n; i++)
        cache_entry_unref(p->entries[i]);
    free(p);
}

/* As bytes a cursor: the last that was given. */
struct tag_place {
    int64_t home, id;
};

void sqlite_do_tagged(struct store_sqlite *s, struct sqlite_call *c)
{
    struct page *p = mem_alloc(sizeof *p);
    int64_t home = (int64_t)store_home(c->scope);
    struct tag_place at = {c->any_scope ? INT64_MIN : home, INT64_MIN};

    if (c->value.n == sizeof at)
        memcpy(&at, c->value.p, sizeof at);
    sql_bind_bytes(s, SQL_TAGGED, 1, c->text);
    sql_bind_int(s, SQL_TAGGED, 2, at.home);
    sql_bind_int(s, SQL_TAGGED, 3, at.id);
    sql_bind_int(s, SQL_TAGGED, 4, c->any_scope ? INT64_MAX : home);
    sql_bind_int(s, SQL_TAGGED, 5, PAGE_ROWS);
    read_page(s, SQL_TAGGED, PAGE_ROWS, p);
    at = (struct tag_place){(int64_t)p->last_home, (int64_t)p->last};
    answer_page(c, p, p->more ? slice_make((const char *)&at, sizeof at) : SLICE(""));
}

void sqlite_do_scan(struct store_sqlite *s, struct sqlite_call *c)
{
    struct page *p = mem_alloc(sizeof *p);
    int64_t after = INT64_MIN;
    char next[32];

    if (c->text.n == sizeof after)
        memcpy(&after, c->text.p, sizeof after);
    sql_bind_int(s, SQL_SCAN, 1, after);
    sql_bind_int(s, SQL_SCAN, 2, PAGE_ROWS);
    read_page(s, SQL_SCAN, PAGE_ROWS, p);
    memcpy(next, &p->last, sizeof p->last);
    answer_page(c, p, slice_make(next, p->more ? sizeof p->last : 0));
}
