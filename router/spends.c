/* Lists by name: there are few, and they are walked once per load. They only grow, at their heads,
 * so that others may walk them. Control's thread. */
#include "router/spends.h"

#include <stdlib.h>
#include "base/arena.h"
#include "base/mem.h"
#include "router/ledger_read.h"
#include "router/snapshot.h"

struct named_spend {
    struct named_spend *next;
    char *name;
    struct spend spend;
};

static void clear_list(struct named_spend *first)
{
    while (first) {
        struct named_spend *n = first;

        first = n->next;
        free(n->name);
        free(n);
    }
}

void spends_clear(struct spends *s)
{
    for (int k = 0; k < SPENDS_KINDS; k++) {
        clear_list(atomic_load(&s->first[k]));
        atomic_store(&s->first[k], NULL);
    }
}

static struct spend *spend_of(struct spends *s, enum spends_kind kind, const char *name)
{
    struct named_spend *first = atomic_load(&s->first[kind]), *n = first;

    while (n && strcmp(n->name, name) != 0)
        n = n->next;
    if (n)
        return &n->spend;
    n = mem_zalloc(1, sizeof *n);
    n->name = mem_strdup(slice_str(name));
    n->spend.name = n->name;
    n->next = first;
    atomic_store(&s->first[kind], n);
    return &n->spend;
}

void spends_each(struct spends *s, spends_visit_fn *fn, void *ctx)
{
    for (int k = 0; k < SPENDS_KINDS; k++)
        for (struct named_spend *n = atomic_load(&s->first[k]); n; n = n->next)
            fn(ctx, (enum spends_kind)k, &n->spend);
}

/* ---- what the ledger has ---- */

struct filling {
    struct spends *to;
    int64_t wall_us;
};

/* Of an earlier day of this month the day's page must not hear. */
static void book_day(struct spend *s, int64_t day, nanousd cost, int64_t wall_us)
{
    struct spend_page *month = &s->page[SPEND_MONTH];

    if (day >= spend_period_of(SPEND_DAY, wall_us)) {
        spend_book(s, cost, wall_us);
        return;
    }
    (void)spend_in(s, SPEND_MONTH, wall_us); /* turns the page */
    atomic_fetch_add(&month->nanousd, cost);
}

static void visit(void *ctx, const struct ledger_spend *row)
{
    const struct filling *f = ctx;

    if (row->tenant[0])
        book_day(spend_of(f->to, SPENDS_TENANT, row->tenant), row->day, row->cost, f->wall_us);
    if (row->cap[0])
        book_day(spend_of(f->to, SPENDS_CAP, row->cap), row->day, row->cost, f->wall_us);
}

enum err spends_fill(struct spends *s, const char *ledger, int64_t wall_us, struct err_text *t)
{
    struct filling f = {s, wall_us};
    struct ledger_reader *r = NULL;
    int64_t month = spend_period_of(SPEND_MONTH, wall_us);
    int64_t since_us = spend_period_begin_us(SPEND_MONTH, month);
    enum err e = ledger_reader_open(ledger, &r, t);

    if (e == ERR_OK)
        e = ledger_reader_spend(r, spend_period_of(SPEND_DAY, since_us), visit, &f, t);
    ledger_reader_close(r);
    return e;
}

/* ---- for a snapshot ---- */

void spends_serve(struct spends *s, struct snapshot *snap)
{
    const struct policy *p = snap->policy;
    struct snapshot_spends *out = &snap->spends;

    out->tenants = ARENA_ARRAY(snap->arena, struct spend *, p->tenant_count);
    for (size_t i = 0; i < p->tenant_count; i++)
        out->tenants[i] = spend_of(s, SPENDS_TENANT, p->tenants[i].name);
    out->audits = ARENA_ARRAY(snap->arena, struct spend *, p->route_count);
    for (size_t i = 0; i < p->route_count; i++)
        if (p->routes[i].decide.audit.share > 0)
            out->audits[i] = spend_of(
                s, SPENDS_CAP, arena_printf(snap->arena, SPENDS_ROUTE "%s", p->routes[i].name));
    out->cache_audits = spend_of(s, SPENDS_CAP, SPENDS_CACHE_AUDITS);
    out->cache_judge = spend_of(s, SPENDS_CAP, SPENDS_CACHE_JUDGE);
}
