/* See journal.h. Entry of serial s lives in slot s % cap. Called by exchange.c and control.c. */
#include "tests/fleet/journal.h"

#include <stdlib.h>
#include "base/mem.h"
#include "tests/fleet/text.h"

void journal_init(struct journal *j, size_t entries, size_t body_max_bytes)
{
    *j = (struct journal){.cap = entries, .body_max_bytes = body_max_bytes};
    j->ring = entries ? mem_zalloc(entries, sizeof *j->ring) : NULL;
}

static void entry_clear(struct journal_entry *e)
{
    free(e->head);
    free(e->body);
    free(e->target);
    free(e->model);
    free(e->faults);
    *e = (struct journal_entry){0};
}

void journal_reset(struct journal *j)
{
    for (size_t i = 0; i < j->cap; i++)
        entry_clear(&j->ring[i]);
}

void journal_clear(struct journal *j)
{
    journal_reset(j);
    free(j->ring);
    *j = (struct journal){0};
}

static char *headers_json(const struct http1_head *head)
{
    struct buf b;
    buf_init(&b, MAX_TEXT_BYTES);
    TEXT_LIT(&b, "[");
    for (size_t i = 0; i < head->header_count; i++) {
        TEXT_ADD(&b, "%s[", i ? "," : "");
        text_json(&b, head->headers[i].name);
        TEXT_LIT(&b, ",");
        text_json(&b, head->headers[i].value);
        TEXT_LIT(&b, "]");
    }
    TEXT_LIT(&b, "]");
    char *s = mem_strdup(buf_slice(&b));
    buf_clear(&b);
    return s;
}

void journal_begin(struct journal *j, uint64_t serial, const struct http1_head *head,
                   struct slice body, uint16_t port)
{
    struct buf b;
    if (!j->cap)
        return;
    struct journal_entry *e = &j->ring[serial % j->cap];
    entry_clear(e);
    e->serial = serial;
    e->head = headers_json(head);
    e->target = mem_strdup(head->target);
    e->model = mem_strdup(SLICE(""));
    e->faults = mem_strdup(SLICE(""));
    e->body_bytes = body.n;
    e->body_hash = text_hash(body);
    e->port = port;
    e->outcome = OUTCOME_KINDS;
    body.n = body.n < j->body_max_bytes ? body.n : j->body_max_bytes;
    buf_init(&b, MAX_TEXT_BYTES);
    text_json(&b, body);
    e->body = mem_strdup(buf_slice(&b));
    buf_clear(&b);
}

struct journal_entry *journal_find(struct journal *j, uint64_t serial)
{
    struct journal_entry *e = j->cap ? &j->ring[serial % j->cap] : NULL;
    return e && e->serial == serial ? e : NULL;
}

static void print_entry(const struct journal_entry *e, struct buf *out)
{
    TEXT_ADD(out, "{\"serial\":%llu,\"port\":%u,\"target\":", (unsigned long long)e->serial,
             e->port);
    text_json(out, slice_str(e->target));
    TEXT_LIT(out, ",\"model\":");
    text_json(out, slice_str(e->model));
    TEXT_LIT(out, ",\"faults\":");
    text_json(out, slice_str(e->faults));
    TEXT_ADD(out,
             ",\"status\":%d,\"outcome\":\"%s\",\"began_us\":%lld,\"ended_us\":%lld,\"output_"
             "tokens\":%lld",
             e->status, outcome_name(e->outcome), (long long)e->began_wall_us,
             (long long)e->ended_wall_us, (long long)e->output_tokens);
    TEXT_ADD(out,
             ",\"cost_nanousd\":%lld,\"headers\":%s,\"body_bytes\":%zu,\"body_fnv1a64\":\"%"
             "016llx\",\"body\":%s}",
             (long long)e->cost, e->head, e->body_bytes, (unsigned long long)e->body_hash, e->body);
}

void journal_print(const struct journal *j, uint64_t newest, uint64_t since, size_t n,
                   struct buf *out)
{
    size_t printed = 0;
    n = n < j->cap ? n : j->cap;
    uint64_t first = newest > n ? newest - n + 1 : 1;
    first = first > since ? first : since + 1;
    TEXT_LIT(out, "[");
    for (uint64_t s = first; j->cap && s <= newest; s++) {
        const struct journal_entry *e = &j->ring[s % j->cap];
        if (e->serial != s)
            continue;
        TEXT_ADD(out, "%s", printed++ ? "," : "");
        print_entry(e, out);
    }
    TEXT_LIT(out, "]");
}
