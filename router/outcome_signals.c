/* Owns the requests that are remembered. Called by learner.c; prints are made by learning.c. */
#include "router/outcome_signals.h"

#include <stdlib.h>
#include "base/mem.h"
#include "cache/htable.h"

#define SETS         1024 /* of WAYS requests each, by conversation */
#define WAYS         4
#define MAX_EXPECTED 200000
#define END_BYTES    160 /* of either end of a text */
#define GRAM_BYTES   3

/* ---- prints ---- */

static uint64_t mix(uint64_t h, uint64_t word)
{
    return htable_hash_id(h ^ word) + UINT64_C(0x9e3779b97f4a7c15);
}

/* Eight bytes at a time: conversations are long. */
static uint64_t hash_bytes(uint64_t h, struct slice s)
{
    uint64_t word;

    for (; s.n >= sizeof word; s = slice_from(s, sizeof word)) {
        memcpy(&word, s.p, sizeof word);
        h = mix(h, word);
    }
    word = 0;
    if (s.n)
        memcpy(&word, s.p, s.n);
    return mix(h, word ^ (uint64_t)s.n << 56);
}

static void add_grams(struct outcome_print *p, struct slice s)
{
    for (size_t i = 0; i + GRAM_BYTES <= s.n; i++) {
        uint64_t gram = 0;

        for (size_t k = 0; k < GRAM_BYTES; k++) {
            unsigned char c = (unsigned char)s.p[i + k];
            gram = gram << 8 | (c >= 'A' && c <= 'Z' ? c | 0x20u : c);
        }
        gram = htable_hash_id(gram + 1);
        p->grams[gram >> 6 & (OUTCOME_GRAM_WORDS - 1)] |= UINT64_C(1) << (gram & 63);
    }
}

void outcome_print_make(struct outcome_print *p, struct slice tenant, struct slice before,
                        struct slice said)
{
    static const char assistant[] = "\"assistant\"";

    *p = (struct outcome_print){.conversation = 0};
    if (said.n == 0 || before.n == 0 ||
        !memmem(before.p, before.n, assistant, sizeof assistant - 1))
        return;
    p->conversation = hash_bytes(hash_bytes(1, tenant), before) | 1;
    if (said.n <= 2 * END_BYTES) {
        add_grams(p, said);
        return;
    }
    add_grams(p, slice_make(said.p, END_BYTES));
    add_grams(p, slice_from(said, said.n - END_BYTES));
}

double outcome_print_likeness(const struct outcome_print *a, const struct outcome_print *b)
{
    int shared = 0, all = 0;

    for (int i = 0; i < OUTCOME_GRAM_WORDS; i++) {
        shared += __builtin_popcountll(a->grams[i] & b->grams[i]);
        all += __builtin_popcountll(a->grams[i] | b->grams[i]);
    }
    return all ? (double)shared / all : 1;
}

/* ---- what is remembered ---- */

struct remembered {
    struct list link; /* of expected ones */
    struct outcome_request request;
    int64_t due_us;
    int value_milli;
};

struct outcome_signals {
    struct remembered *recent[SETS][WAYS]; /* owned; newest first */
    struct remembered *given;              /* owned: what the last call showed */
    struct list expected;                  /* of struct remembered, in the order they came */
    size_t expected_count;
};

static struct remembered *remember(const struct outcome_request *r)
{
    struct remembered *m = mem_alloc(sizeof *m + r->tenant.n + r->request_id.n);
    char *p = (char *)(m + 1);

    *m = (struct remembered){.request = *r};
    if (r->tenant.n)
        memcpy(p, r->tenant.p, r->tenant.n);
    m->request.tenant = slice_make(p, r->tenant.n);
    p += r->tenant.n;
    if (r->request_id.n)
        memcpy(p, r->request_id.p, r->request_id.n);
    m->request.request_id = slice_make(p, r->request_id.n);
    return m;
}

struct outcome_signals *outcome_signals_new(void)
{
    struct outcome_signals *s = mem_zalloc(1, sizeof *s);

    list_init(&s->expected);
    return s;
}

void outcome_signals_free(struct outcome_signals *s)
{
    if (!s)
        return;
    for (int i = 0; i < SETS; i++)
        for (int w = 0; w < WAYS; w++)
            free(s->recent[i][w]);
    LIST_FOREACH_SAFE (it, &s->expected)
        free(CONTAINER_OF(it, struct remembered, link));
    free(s->given);
    free(s);
}

/* ---- asked again ---- */

static bool asks_again(const struct outcome_request *r, const struct outcome_request *before)
{
    int64_t since_us = r->begun_us - before->ended_us;

    return r->print.conversation == before->print.conversation &&
           slice_eq(r->tenant, before->tenant) && since_us >= OUTCOME_AGAIN_AFTER_US &&
           since_us <= OUTCOME_AGAIN_WITHIN_US &&
           outcome_print_likeness(&r->print, &before->print) >= OUTCOME_LIKENESS;
}

bool outcome_signals_note(struct outcome_signals *s, const struct outcome_request *r,
                          struct outcome_request *earlier)
{
    struct remembered **set = s->recent[r->print.conversation / 2 % SETS];
    int found = WAYS - 1; /* else the oldest gives way */
    bool again = false;

    if (r->print.conversation == 0)
        return false;
    for (int w = 0; w < WAYS && !again; w++)
        if (set[w] && asks_again(r, &set[w]->request)) {
            found = w;
            again = true;
        }
    free(s->given);
    s->given = set[found];
    memmove(&set[1], &set[0], (size_t)found * sizeof *set);
    set[0] = remember(r);
    if (again)
        *earlier = s->given->request;
    return again;
}

/* ---- silence ---- */

static void forget_first(struct outcome_signals *s)
{
    struct remembered *m = CONTAINER_OF(s->expected.next, struct remembered, link);

    list_remove(&m->link);
    s->expected_count--;
    free(s->given);
    s->given = m;
}

void outcome_signals_expect(struct outcome_signals *s, struct slice tenant, struct slice request_id,
                            int64_t due_us, int value_milli)
{
    struct remembered *m =
        remember(&(struct outcome_request){.tenant = tenant, .request_id = request_id});

    m->due_us = due_us;
    m->value_milli = value_milli;
    list_push_back(&s->expected, &m->link);
    if (++s->expected_count > MAX_EXPECTED)
        forget_first(s);
}

bool outcome_signals_due(struct outcome_signals *s, int64_t now_us, struct outcome_silence *out)
{
    const struct remembered *m =
        list_empty(&s->expected) ? NULL : CONTAINER_OF(s->expected.next, struct remembered, link);

    if (!m || m->due_us > now_us)
        return false;
    forget_first(s);
    *out = (struct outcome_silence){m->request.tenant, m->request.request_id, m->value_milli};
    return true;
}
