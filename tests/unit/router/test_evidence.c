/* router/evidence, router/learn_key, router/learn_sheet, router/learned: labels in any order, said
 * twice, taken back, leave the same counters; lines survive the way there and back; strangers'
 * lines are refused. */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/rng.h"
#include "router/evidence.h"
#include "router/learn_key.h"
#include "router/learned.h"

#define NOW INT64_C(1795000000000000)

static const float features[] = {0.5F, -3.25F, 1e-30F};
static const struct evidence_answer answers[] = {
    {.model = "small model/1",
     .scorer = 3,
     .bin = 2,
     .stage = 0,
     .chance = 0.25,
     .first = true,
     .cost = 40000,
     .foretold = 30000,
     .tokens_in = 100,
     .tokens_out = 10,
     .latency_ms = 7,
     .verdict_milli = 0,
     .features = features,
     .feature_count = 3},
    {.model = "down", .bin = -1, .chance = -1, .failed = true, .verdict_milli = -1},
    {.model = "big",
     .bin = 11,
     .stage = 1,
     .chance = 0.9,
     .served = true,
     .cost = 2000000,
     .tokens_in = 100,
     .tokens_out = 50,
     .latency_ms = 900,
     .verdict_milli = -1},
};
static const struct evidence sample = {.tenant = "acme",
                                       .request_id = "req_1",
                                       .route = "a route\t\n",
                                       .class_name = "",
                                       .decided_wall_us = NOW,
                                       .learn = true,
                                       .answers = answers,
                                       .count = 3};

static struct slice text_of(const struct evidence *e, struct buf *b)
{
    buf_init(b, EVIDENCE_TEXT_BYTES);
    assert_int_equal(evidence_write(e, b), ERR_OK);
    return buf_slice(b);
}

static void words(void **state)
{
    char all[256], word[LEARN_WORD_BYTES(sizeof all)], back[sizeof word];
    (void)state;
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    size_t n = learn_word(slice_make(all, sizeof all), word);
    for (size_t i = 0; i < n; i++)
        assert_true(word[i] > ' ' && word[i] < 127 && word[i] != '/');
    assert_int_equal(learn_word_read(slice_make(word, n), back), 256);
    assert_memory_equal(back, all, 256);
    assert_int_equal(learn_word(SLICE(""), word), 1);
    assert_int_equal(learn_word_read(SLICE("%"), back), 0);
    static const char *const bad[] = {"", "%4", "%zz", "a b", "a/b", "%a0", "x%"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(learn_word_read(slice_str(bad[i]), back), -1);
}

static void a_line_and_back(void **state)
{
    struct arena a;
    struct buf b;
    struct evidence e;
    (void)state;
    arena_init(&a, 256);
    struct slice line = text_of(&sample, &b);
    assert_null(memchr(line.p, '\n', line.n));
    assert_null(memchr(line.p, '\t', line.n));
    assert_true(evidence_read(line, &a, &e));
    assert_string_equal(e.route, sample.route);
    assert_string_equal(e.class_name, "");
    assert_true(e.learn);
    assert_int_equal(e.decided_wall_us, NOW);
    assert_int_equal(e.count, 3);
    assert_string_equal(e.answers[0].model, "small model/1");
    assert_int_equal(e.answers[0].scorer, 3);
    assert_int_equal(e.answers[0].bin, 2);
    assert_int_equal(e.answers[0].feature_count, 3);
    assert_memory_equal(e.answers[0].features, features, sizeof features);
    assert_int_equal(e.answers[1].bin, -1);
    assert_true(e.answers[1].chance < 0);
    assert_true(e.answers[2].served);
    assert_true(e.answers[2].chance > 0.899 && e.answers[2].chance < 0.901);
    assert_int_equal(evidence_served(&e), 2);
    assert_int_equal(evidence_find(&e, SLICE("small model/1")), 0);
    assert_int_equal(evidence_find(&e, SLICE("nobody")), -1);
    /* Nothing shorter or longer passes for it, nor a line with one byte changed crashes. */
    for (size_t n = 0; n < line.n; n++)
        if (line.p[n] == ' ' || n + 1 == line.n)
            assert_false(evidence_read(slice_make(line.p, n), &a, &e));
    struct rng rng;
    rng_seed(&rng, 1);
    for (int i = 0; i < 20000; i++) {
        char *copy = arena_alloc(&a, line.n);
        memcpy(copy, line.p, line.n);
        copy[rng_below(&rng, line.n)] = (char)rng_u64(&rng);
        (void)evidence_read(slice_make(copy, line.n), &a, &e);
        if (i % 500 == 0)
            arena_clear(&a);
    }
    assert_true(buf_append(&b, " x", 2) == ERR_OK);
    assert_false(evidence_read(buf_slice(&b), &a, &e));
    buf_clear(&b);
    arena_clear(&a);
}

/* A small model's first answer, of which its class said 0.5 and its query 0.9. */
static struct evidence foreseen_sample(struct evidence_answer copy[3])
{
    struct evidence e = sample;

    memcpy(copy, answers, sizeof answers);
    copy[0].believed_milli = 500;
    copy[0].foreseen_milli = 900;
    e.answers = copy;
    return e;
}

static void what_a_query_means_is_remembered(void **state)
{
    static const char *const bad[] = {" x", " 00", " 00 00"};
    struct evidence_answer copy[3];
    struct evidence e = foreseen_sample(copy), back;
    int8_t query[192];
    struct arena a;
    struct buf b, plain;

    (void)state;
    arena_init(&a, 256);
    for (int i = 0; i < 192; i++)
        query[i] = (int8_t)(i - 96);
    e.query = query;
    e.query_dim = 192;
    e.query_space = (struct fingerprint){{1, 2, 0xff}};
    struct slice line = text_of(&e, &b), without = text_of(&sample, &plain);
    assert_true(line.n < without.n + 400);
    assert_true(evidence_read(line, &a, &back));
    assert_int_equal(back.query_dim, 192);
    assert_memory_equal(back.query, query, sizeof query);
    assert_true(fingerprint_eq(back.query_space, e.query_space));
    assert_int_equal(back.answers[0].foreseen_milli, 900);
    assert_true(evidence_read(without, &a, &back)); /* of a request without, and of older ones */
    assert_null(back.query);
    /* a line that promises a vector and has none, or half of one */
    char *promise = arena_strdup(&a, without);
    promise[0] = '3';
    assert_false(evidence_read(slice_make(promise, without.n), &a, &back));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_reset(&b);
        assert_int_equal(buf_append(&b, promise, without.n), ERR_OK);
        assert_int_equal(buf_append_slice(&b, slice_str(bad[i])), ERR_OK);
        assert_false(evidence_read(buf_slice(&b), &a, &back));
    }
    buf_clear(&plain);
    buf_clear(&b);
    arena_clear(&a);
}

static void what_was_foreseen_is_remembered(void **state)
{
    static const char *const bad[] = {" 0",          " 0 500",       " 0 500 900 1", " 3 500 900",
                                      " -1 500 900", " 0 0 900",     " 0 500 0",     " 0 1000 900",
                                      " 0 500 1000", " 0 500 900 x", " 0 500 9e2"};
    struct evidence_answer copy[3];
    struct evidence e = foreseen_sample(copy), back;
    struct arena a;
    struct buf plain, b;

    (void)state;
    arena_init(&a, 256);
    struct slice without = text_of(&sample, &plain), line = text_of(&e, &b);
    assert_int_equal(line.n, without.n + strlen(" 0 500 900"));
    assert_memory_equal(line.p, without.p, without.n);
    assert_true(evidence_read(line, &a, &back));
    assert_int_equal(back.answers[0].believed_milli, 500);
    assert_int_equal(back.answers[0].foreseen_milli, 900);
    assert_int_equal(back.answers[2].foreseen_milli, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_reset(&b);
        assert_int_equal(buf_append_slice(&b, without), ERR_OK);
        assert_int_equal(buf_append_slice(&b, slice_str(bad[i])), ERR_OK);
        assert_false(evidence_read(buf_slice(&b), &a, &back));
    }
    buf_clear(&plain);
    buf_clear(&b);
    arena_clear(&a);
}

static void label_lines(void **state)
{
    struct evidence_labels l, back;
    struct buf b;
    (void)state;
    buf_init(&b, 4096);
    evidence_labels_init(&l, &sample);
    assert_true(evidence_label(&l, 2, TALLY_EXPLICIT, 750, NOW));
    assert_true(evidence_label(&l, 2, TALLY_IMPLICIT, -1, NOW + 1));
    assert_int_equal(evidence_labels_write(&l, &b), ERR_OK);
    assert_true(evidence_labels_read(buf_slice(&b), &back));
    assert_memory_equal(&l, &back, sizeof l);
    static const char *const bad[] = {"x",
                                      "0",
                                      "0 explicit",
                                      "0 explicit 1001 5",
                                      "0 explicit -2 5",
                                      "16 explicit 0 5",
                                      "-1 explicit 0 5",
                                      "0 nobody 0 5",
                                      "0 explicit 0 99999999999999999999",
                                      "0  explicit 0 5"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(evidence_labels_read(slice_str(bad[i]), &back));
    buf_clear(&b);
}

static int64_t cell(struct learn_sheet *s, const char *context, const char *arm,
                    enum tally_kind kind, int field)
{
    struct learn_unit_name name = {slice_str(context), slice_str(arm), kind,
                                   tally_bucket_start(kind, NOW)};
    return learn_sheet_unit(s, &name)->count[field];
}

#define CONTEXT "a%20route%09%0A/%"
#define SMALL   "small%20model%2F1/3" /* bins and labels */
#define SMALL0  "small%20model%2F1/0" /* all else */
#define SMALL7  "small%20model%2F1/7"
#define SMALL8  "small%20model%2F1/8"

static void what_is_counted(void **state)
{
    struct evidence_labels l;
    struct learn_sheet s;
    (void)state;
    learn_sheet_init(&s, 100);
    evidence_labels_init(&l, &sample);
    evidence_count(&sample, &l, &s);
    assert_int_equal(s.by_name.count, 8);
    assert_int_equal(cell(&s, CONTEXT, SMALL0, TALLY_SLOW, TALLY_FIRST), 1);
    assert_int_equal(cell(&s, CONTEXT, SMALL0, TALLY_SLOW, TALLY_ASKED), 1);
    assert_int_equal(cell(&s, CONTEXT, SMALL0, TALLY_SLOW, TALLY_SERVED), 0);
    assert_int_equal(cell(&s, CONTEXT, SMALL0, TALLY_SLOW, TALLY_COST_NANOUSD), 40000);
    assert_int_equal(cell(&s, CONTEXT, SMALL0, TALLY_SLOW, TALLY_COST_SQUARE), 1600);
    assert_int_equal(cell(&s, CONTEXT, SMALL0, TALLY_SLOW, TALLY_FORETOLD), 30000);
    assert_int_equal(cell(&s, CONTEXT, SMALL0, TALLY_SLOW, TALLY_FORETOLD_COST), 40000);
    assert_int_equal(cell(&s, CONTEXT, SMALL0, TALLY_QUICK, TALLY_FORETOLD), 0);
    assert_int_equal(cell(&s, CONTEXT, "big/0", TALLY_SLOW, TALLY_FORETOLD_COST), 0);
    assert_int_equal(cell(&s, CONTEXT, SMALL0, TALLY_SLOW, TALLY_RESOLVED), 0); /* not served */
    assert_int_equal(cell(&s, CONTEXT, SMALL, TALLY_SLOW, tally_answers(0, 2)), 1);
    int bad = tally_label(TALLY_VALIDATOR, false, false, 2);
    assert_int_equal(cell(&s, CONTEXT, SMALL, TALLY_SLOW, bad), 1000);
    assert_int_equal(cell(&s, CONTEXT, SMALL, TALLY_QUICK, bad), 1000);
    assert_int_equal(cell(&s, CONTEXT, SMALL, TALLY_QUICK, TALLY_ASKED), 0);
    assert_int_equal(cell(&s, CONTEXT, "down/0", TALLY_SLOW, TALLY_FAILED), 1);
    assert_int_equal(cell(&s, CONTEXT, "down/0", TALLY_SLOW, TALLY_COST_NANOUSD), 0);
    assert_int_equal(cell(&s, CONTEXT, "big/0", TALLY_SLOW, TALLY_SERVED), 1);

    struct evidence_labels after = l;
    assert_true(evidence_label(&after, 2, TALLY_JUDGE, 400, NOW + 5));
    assert_true(evidence_label(&after, 2, TALLY_EXPLICIT, 1000, NOW + 5));
    evidence_relabel(&sample, &l, &after, &s);
    assert_int_equal(cell(&s, CONTEXT, "big/0", TALLY_SLOW, TALLY_RESOLVED), 1);
    assert_int_equal(cell(&s, CONTEXT, "big/0", TALLY_SLOW, TALLY_PREDICTED_MILLI), 900);
    assert_int_equal(cell(&s, CONTEXT, "big/0", TALLY_SLOW, TALLY_REALISED_MILLI), 1000);
    int judged = tally_label(TALLY_JUDGE, true, true, 11);
    assert_int_equal(cell(&s, CONTEXT, "big/0", TALLY_SLOW, judged), 400);
    l = after; /* the explicit word goes: the judge's is what is known */
    assert_true(evidence_label(&after, 2, TALLY_EXPLICIT, EVIDENCE_WITHDRAWN, NOW + 6));
    evidence_relabel(&sample, &l, &after, &s);
    assert_int_equal(cell(&s, CONTEXT, "big/0", TALLY_SLOW, TALLY_RESOLVED), 1);
    assert_int_equal(cell(&s, CONTEXT, "big/0", TALLY_SLOW, TALLY_REALISED_MILLI), 400);
    learn_sheet_clear(&s);

    struct evidence frozen = sample;
    frozen.learn = false;
    evidence_count(&frozen, &l, &s);
    evidence_relabel(&frozen, &l, &after, &s);
    assert_true(learn_sheet_empty(&s));
    learn_sheet_clear(&s);
}

/* Another scorer's version: labels before, during and after the change are counted under both. */
static void two_versions(void **state)
{
    struct evidence_answer own[3];
    struct evidence e = sample;
    struct evidence_labels l, after;
    struct learn_sheet s;
    int good = tally_label(TALLY_EXPLICIT, true, false, 2),
        good9 = tally_label(TALLY_EXPLICIT, true, false, 9),
        good4 = tally_label(TALLY_EXPLICIT, true, false, 4);
    (void)state;

    memcpy(own, answers, sizeof own);
    e.answers = own;
    learn_sheet_init(&s, 100);
    evidence_labels_init(&l, &e);
    evidence_count(&e, &l, &s);
    after = l;
    evidence_label(&after, 0, TALLY_EXPLICIT, 1000, NOW + 1);
    evidence_relabel(&e, &l, &after, &s);
    l = after;
    assert_int_equal(cell(&s, CONTEXT, SMALL, TALLY_SLOW, good), 1000);

    assert_true(evidence_rescore(&e, &l, &own[0], 7, 9, 3, &s));
    assert_false(evidence_rescore(&e, &l, &own[0], 7, 9, 3, &s)); /* it is */
    assert_false(evidence_rescore(&e, &l, &own[0], 3, 1, 3, &s));
    assert_false(evidence_rescore(&e, &l, &own[1], 7, 9, 3, &s)); /* it gave no answer */
    assert_int_equal(cell(&s, CONTEXT, SMALL7, TALLY_SLOW, tally_answers(0, 9)), 1);
    assert_int_equal(cell(&s, CONTEXT, SMALL7, TALLY_SLOW, good9), 1000);
    assert_int_equal(cell(&s, CONTEXT, SMALL7, TALLY_QUICK, good9), 1000);
    assert_int_equal(cell(&s, CONTEXT, SMALL7, TALLY_SLOW, TALLY_ASKED), 0);
    evidence_label(&after, 0, TALLY_EXPLICIT, 250, NOW + 2);
    evidence_relabel(&e, &l, &after, &s);
    l = after;
    assert_int_equal(cell(&s, CONTEXT, SMALL, TALLY_SLOW, good), 250);
    assert_int_equal(cell(&s, CONTEXT, SMALL7, TALLY_SLOW, good9), 250);

    struct arena a;
    struct buf b;
    struct evidence back;
    arena_init(&a, 1024);
    assert_true(evidence_read(text_of(&e, &b), &a, &back));
    assert_int_equal(back.answers[0].scorer, 3);
    assert_int_equal(back.answers[0].also_scorer, 7);
    assert_int_equal(back.answers[0].also_bin, 9);
    arena_clear(&a);
    buf_clear(&b);

    /* The next one: the version in force stays, the oldest is not kept up any more. */
    assert_true(evidence_rescore(&e, &l, &own[0], 8, 4, 7, &s));
    evidence_label(&after, 0, TALLY_EXPLICIT, EVIDENCE_WITHDRAWN, NOW + 3);
    evidence_relabel(&e, &l, &after, &s);
    assert_int_equal(cell(&s, CONTEXT, SMALL, TALLY_SLOW, good), 250);
    assert_int_equal(cell(&s, CONTEXT, SMALL7, TALLY_SLOW, good9), 0);
    assert_int_equal(cell(&s, CONTEXT, SMALL8, TALLY_SLOW, good4), 0);
    assert_int_equal(cell(&s, CONTEXT, SMALL8, TALLY_SLOW, tally_answers(0, 4)), 1);
    learn_sheet_clear(&s);

    /* A line of the format before, which knew one version, and one that never was. */
    arena_init(&a, 1024);
    assert_true(evidence_read(SLICE("1 5 1 r % 1 m 3 2 0 1 250 0"), &a, &back));
    assert_int_equal(back.answers[0].scorer, 3);
    assert_int_equal(back.answers[0].also_scorer, 0);
    assert_false(evidence_read(SLICE("2 5 1 r % 1 m 3 2 7 12 0 1 250 0"), &a, &back));
    assert_false(evidence_read(SLICE("3 5 1 r % 1 m 3 2 7 1 0 1 250 0"), &a, &back));
    arena_clear(&a);
}

static void foresight_meets_labels(void **state)
{
    struct evidence_answer copy[3];
    struct evidence e = foreseen_sample(copy);
    struct evidence_labels none, silent, good, gone;
    struct learn_sheet s;

    (void)state;
    learn_sheet_init(&s, 100);
    copy[0].verdict_milli = -1;
    copy[0].scorer = 0;
    copy[2].believed_milli = copy[2].foreseen_milli = 500; /* a later answer: not held against it */
    evidence_labels_init(&none, &e);
    silent = none;
    assert_true(evidence_label(&silent, 0, TALLY_SILENCE, 1000, NOW));
    evidence_relabel(&e, &none, &silent, &s);
    assert_int_equal(cell(&s, CONTEXT, SMALL0, TALLY_SLOW, TALLY_FORESEEN), 0);
    good = silent;
    assert_true(evidence_label(&good, 0, TALLY_EXPLICIT, 1000, NOW + 1));
    assert_true(evidence_label(&good, 2, TALLY_EXPLICIT, 1000, NOW + 1));
    evidence_relabel(&e, &silent, &good, &s);
    for (int k = 0; k < TALLY_KINDS; k++) {
        enum tally_kind kind = (enum tally_kind)k;
        assert_int_equal(cell(&s, CONTEXT, SMALL0, kind, TALLY_FORESEEN), 1);
        assert_int_equal(cell(&s, CONTEXT, SMALL0, kind, TALLY_BELIEVED_LOSS), 693147);
        assert_int_equal(cell(&s, CONTEXT, SMALL0, kind, TALLY_FORESEEN_LOSS), 105361);
        assert_int_equal(cell(&s, CONTEXT, SMALL0, kind, TALLY_LEAD_SQUARE), 587 * 587);
        assert_int_equal(cell(&s, CONTEXT, "big/0", kind, TALLY_FORESEEN), 0);
    }
    gone = good;
    assert_true(evidence_label(&gone, 0, TALLY_EXPLICIT, EVIDENCE_WITHDRAWN, NOW + 2));
    evidence_relabel(&e, &good, &gone, &s);
    for (int f = TALLY_FORESEEN; f <= TALLY_LEAD_SQUARE; f++)
        assert_int_equal(cell(&s, CONTEXT, SMALL0, TALLY_SLOW, f), 0);
    learn_sheet_clear(&s);
}

struct word {
    int answer;
    enum tally_source source;
    int value;
    int64_t said;
};

/* Everything that was said, in some order, some of it twice. */
static void say_all(const struct word *w, int n, struct rng *rng, struct learn_sheet *s)
{
    struct evidence_labels l, after;
    int order[64];

    evidence_labels_init(&l, &sample);
    evidence_count(&sample, &l, s);
    for (int i = 0; i < 2 * n; i++)
        order[i] = i % n;
    for (int i = 2 * n - 1; i > 0; i--) {
        int j = (int)rng_below(rng, (uint64_t)i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (int i = 0; i < 2 * n; i++) {
        const struct word *x = &w[order[i]];
        after = l;
        evidence_label(&after, x->answer, x->source, x->value, x->said);
        evidence_relabel(&sample, &l, &after, s);
        l = after;
    }
}

static void order_and_repeats_do_not_matter(void **state)
{
    struct rng rng;
    (void)state;
    rng_seed(&rng, 7);
    for (int round = 0; round < 300; round++) {
        struct word w[12];
        struct learn_sheet first, s;
        for (int i = 0; i < 12; i++)
            w[i] = (struct word){.answer = rng_below(&rng, 2) ? 0 : 2,
                                 .source = (enum tally_source)rng_below(&rng, TALLY_SOURCES),
                                 .value = (int)rng_below(&rng, 1002) - 1,
                                 .said = NOW + (int64_t)rng_below(&rng, 6)};
        learn_sheet_init(&first, 100);
        say_all(w, 12, &rng, &first);
        for (int again = 0; again < 4; again++) {
            learn_sheet_init(&s, 100);
            say_all(w, 12, &rng, &s);
            assert_int_equal(s.by_name.count, first.by_name.count);
            LIST_FOREACH (it, &s.units) {
                struct learn_unit *u = CONTAINER_OF(it, struct learn_unit, link);
                assert_memory_equal(&u->tally, learn_sheet_unit(&first, &u->name), sizeof u->tally);
            }
            learn_sheet_clear(&s);
        }
        learn_sheet_clear(&first);
    }
}

static void a_full_sheet(void **state)
{
    struct evidence_labels l;
    struct learn_sheet s, part;
    (void)state;
    learn_sheet_init(&s, 3);
    learn_sheet_init(&part, 10);
    evidence_labels_init(&l, &sample);
    evidence_count(&sample, &l, &s);
    assert_int_equal(s.by_name.count, 3);
    assert_int_equal(s.refused, 5);
    learn_sheet_take(&s, &part, 2);
    assert_int_equal(s.by_name.count, 1);
    assert_int_equal(part.by_name.count, 2);
    assert_int_equal(cell(&part, CONTEXT, SMALL0, TALLY_SLOW, TALLY_ASKED), 1);
    learn_sheet_clear(&s);
    learn_sheet_clear(&part);
}

static void unit_names(void **state)
{
    struct learn_unit_name n = {SLICE("r/c"), SLICE("m/0"), TALLY_QUICK, -5}, back;
    struct buf b;
    (void)state;
    buf_init(&b, 100);
    assert_int_equal(learn_unit_name_write(&n, &b), ERR_OK);
    assert_true(learn_unit_name_read(buf_slice(&b), &back));
    assert_true(learn_unit_name_eq(&n, &back));
    static const char *const bad[] = {"",          "a b",      "a b s", "a b x 1",
                                      "a b s 1 2", "a b s 1x", " b s 1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(learn_unit_name_read(slice_str(bad[i]), &back));
    buf_clear(&b);
}

/* Units that came in different orders give the same bits; old ones are forgotten. */
/* Labels of quick buckets by time, of the slow ones that ended before the day; and those since a
 * moment, whole. */
static void labels_by_time(void **state)
{
    struct learned a;
    struct tally t = {0};
    struct tally_view v = {0};
    struct change_labels by_time;
    struct slice context = SLICE("r/c"), arm = SLICE("m/0");
    int64_t quick_us = tally_bucket_us(TALLY_QUICK), slow_us = tally_bucket_us(TALLY_SLOW);
    int64_t now_us = tally_bucket_start(TALLY_SLOW, NOW) + slow_us - 1;
    int64_t last_us = tally_bucket_start(TALLY_QUICK, now_us);

    (void)state;
    learned_init(&a);
    tally_add_label(&t, TALLY_EXPLICIT, 0, 3, 1000, 1);
    tally_add_label(&t, TALLY_IMPLICIT, 2, 5, 250, 1);
    tally_add(&t, TALLY_RESOLVED, 2);
    for (int i = 0; i < 400; i++)
        learned_put(
            &a, &(struct learn_unit_name){context, arm, TALLY_QUICK, last_us - i * quick_us}, &t);
    for (int i = 0; i < 8; i++)
        learned_put(&a,
                    &(struct learn_unit_name){context, arm, TALLY_SLOW,
                                              tally_bucket_start(TALLY_SLOW, now_us) - i * slow_us},
                    &t);
    change_labels_init(&by_time, now_us);
    assert_false(
        learned_labels(&a, context, SLICE("m/1"), &tally_trust_default, now_us, 1 << 30, &by_time));
    assert_true(
        learned_labels(&a, context, arm, &tally_trust_default, now_us, INT64_C(1) << 50, &by_time));
    double implicit = tally_trust_default.source[TALLY_IMPLICIT];
    for (int i = 0; i < CHANGE_BUCKETS; i++) {
        assert_true(fabs(by_time.bucket[i].good - (1 + 0.25 * implicit)) < 1e-6);
        assert_true(fabs(by_time.bucket[i].bad - (0.75 * implicit)) < 1e-6);
    }
    assert_true(fabs(by_time.older.good - (4 * (1 + 0.25 * implicit))) <
                1e-6); /* of 8, a day is 4 */

    learned_labels_since(&a, context, arm, last_us - 9 * quick_us, &v);
    assert_true(fabs(v.x[tally_label(TALLY_EXPLICIT, true, false, 3)] - (10000)) < 1e-6);
    assert_true(fabs(v.x[tally_label(TALLY_IMPLICIT, false, true, 5)] - (7500)) < 1e-6);
    assert_true(fabs(v.x[TALLY_RESOLVED] - (0)) < 1e-6);
    learned_labels_since(&a, context, SLICE("m/1"), 0, &v);
    assert_true(fabs(v.x[tally_label(TALLY_EXPLICIT, true, false, 3)] - (10000)) < 1e-6);
    learned_clear(&a);
}

static void views(void **state)
{
    struct learned a, b;
    struct tally t = {0};
    struct tally_view x = {0}, y = {0};
    struct slice context = SLICE("r/c"), arm = SLICE("m/0");
    (void)state;
    learned_init(&a);
    learned_init(&b);
    for (int i = 0; i < 50; i++) {
        for (int order = 0; order < 2; order++) {
            int n = order ? 49 - i : i;
            struct learn_unit_name name = {context, arm, TALLY_SLOW,
                                           tally_bucket_start(TALLY_SLOW, NOW) -
                                               n * tally_bucket_us(TALLY_SLOW)};
            t.count[TALLY_ASKED] = 1000003 + 7 * n;
            t.count[tally_answers(0, 3)] = n;
            learned_put(order ? &b : &a, &name, &t);
            learned_put(order ? &b : &a, &name, &t); /* whole content: not added */
        }
    }
    assert_int_equal(a.units, 50);
    int64_t half_life_ms = INT64_C(7) * 86400000;
    assert_true(learned_view(&a, context, arm, TALLY_SLOW, NOW, half_life_ms, &x));
    assert_true(learned_view(&b, context, arm, TALLY_SLOW, NOW + 1, half_life_ms, &y));
    assert_memory_equal(&x, &y, sizeof x);
    assert_true(x.x[TALLY_ASKED] > 1e6 && x.x[TALLY_ASKED] < 50 * 1000003.0);
    assert_false(learned_view(&a, context, SLICE("m/1"), TALLY_SLOW, NOW, half_life_ms, &x));
    assert_false(learned_view(&a, context, arm, TALLY_QUICK, NOW, half_life_ms, &x));
    learned_forget(&a, NOW + tally_keep_us(TALLY_SLOW) - 10 * tally_bucket_us(TALLY_SLOW));
    assert_int_equal(a.units, 11);
    learned_forget(&a, NOW + 2 * tally_keep_us(TALLY_SLOW));
    assert_int_equal(a.units, 0);
    assert_int_equal(a.arms.count, 0);
    learned_clear(&a);
    learned_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words),
        cmocka_unit_test(a_line_and_back),
        cmocka_unit_test(what_a_query_means_is_remembered),
        cmocka_unit_test(what_was_foreseen_is_remembered),
        cmocka_unit_test(foresight_meets_labels),
        cmocka_unit_test(label_lines),
        cmocka_unit_test(what_is_counted),
        cmocka_unit_test(two_versions),
        cmocka_unit_test(order_and_repeats_do_not_matter),
        cmocka_unit_test(a_full_sheet),
        cmocka_unit_test(unit_names),
        cmocka_unit_test(views),
        cmocka_unit_test(labels_by_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
