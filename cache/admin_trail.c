/* Owns nothing but what admin_trail_new gives away. Called by cache_lookup.c and admin_job.c. */
#include "cache/admin_trail.h"

#include "base/mem.h"
#include "base/utf8.h"

struct admin_trail *admin_trail_new(void)
{
    struct admin_trail *t = mem_zalloc(1, sizeof *t);

    t->next = 1;
    return t;
}

/* As many whole characters as fit; what is no UTF-8 is left out. */
static void copy_text(char *out, size_t out_bytes, struct slice s)
{
    size_t n = 0, step;

    for (size_t i = 0; i < s.n; i += step ? step : 1) {
        step = utf8_char_bytes(s.p + i, s.n - i);
        if (n + step >= out_bytes)
            break;
        memcpy(out + n, s.p + i, step);
        n += step;
    }
    out[n] = '\0';
}

void admin_trail_note(struct admin_trail *t, const struct cache_ask *a, const struct cache_entry *e,
                      int64_t wall_ms)
{
    struct admin_event *v = &t->ring[t->next % ADMIN_TRAIL_EVENTS];

    *v = (struct admin_event){.number = t->next++,
                              .wall_ms = wall_ms,
                              .verdict = a->verdict,
                              .entry = e ? e->f.id : a->why.entry,
                              .by_meaning = a->why.entry != 0,
                              .cosine = a->why.cosine,
                              .probability = a->why.probability,
                              .cut = a->why.cut,
                              .guard = a->why.guard,
                              .shadow = a->why.shadow,
                              .audit = a->why.audit};
    copy_text(v->scope, sizeof v->scope, a->q.scope);
    copy_text(v->text, sizeof v->text, e ? e->f.text : a->q.text);
}

bool admin_trail_has(const struct admin_trail *t, uint64_t after)
{
    return after < t->next - 1;
}

size_t admin_trail_read(const struct admin_trail *t, uint64_t after, struct admin_event *out,
                        size_t most, uint64_t *lost)
{
    uint64_t oldest = t->next > ADMIN_TRAIL_EVENTS ? t->next - ADMIN_TRAIL_EVENTS : 1;
    uint64_t from = after + 1 > oldest ? after + 1 : oldest;
    size_t n = 0;

    *lost = from - (after + 1);
    for (; from < t->next && n < most; from++)
        out[n++] = t->ring[from % ADMIN_TRAIL_EVENTS];
    return n;
}
