/* Prefix hashes (a longer conversation keeps its place), even spread, little movement when the
 * fleet changes, the bound on loads, hostile input. All of it pure. */
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "backends/rendezvous.h"
#include "base/rng.h"

#define SYSTEM "{\"role\":\"system\",\"content\":\"Be brief.\"}"
#define KEYS   20000

static uint64_t hash_of(const char *const *messages, const char *roles)
{
    struct rendezvous_prefix p;

    rendezvous_prefix_init(&p, SLICE("qwen"));
    for (size_t i = 0; messages[i]; i++)
        rendezvous_prefix_add(&p, slice_str(messages[i]), roles[i] == 'u');
    return p.hash;
}

static void test_turns_of_a_conversation_agree(void **state)
{
    const char *first[] = {SYSTEM, "\"Why is the sky blue?\"", NULL};
    const char *later[] = {SYSTEM, "\"Why is the sky blue?\"", "\"Rayleigh.\"", "\"And at dusk?\"",
                           NULL};
    const char *other[] = {SYSTEM, "\"Why is the sea blue?\"", NULL};
    const char *other_system[] = {"\"Be verbose.\"", "\"Why is the sky blue?\"", NULL};

    (void)state;
    assert_true(hash_of(first, "su") == hash_of(later, "suau"));
    assert_true(hash_of(first, "su") != hash_of(other, "su"));
    assert_true(hash_of(first, "su") != hash_of(other_system, "su"));
}

static void test_message_borders_and_lengths_count(void **state)
{
    const char *one[] = {"abcdefgh", "ij", NULL}, *two[] = {"abcdefghij", "", NULL},
               *three[] = {"abcdefghij", NULL};
    struct rendezvous_prefix a, b;

    (void)state;
    assert_true(hash_of(one, "su") != hash_of(two, "su"));
    assert_true(hash_of(two, "su") != hash_of(three, "u"));
    rendezvous_prefix_init(&a, SLICE("qwen"));
    rendezvous_prefix_init(&b, SLICE("llama"));
    assert_true(a.hash != b.hash);
    rendezvous_prefix_init(&b, SLICE("qwen"));
    rendezvous_prefix_add(&a, slice_make("x\0", 2), true);
    rendezvous_prefix_add(&b, slice_make("x", 1), true);
    assert_true(a.hash != b.hash);
    rendezvous_prefix_init(&a, slice_make(NULL, 0));
    rendezvous_prefix_add(&a, slice_make(NULL, 0), true);
    assert_true(a.closed && a.messages == 1);
}

/* Every byte of the first 4096 counts, none behind them. */
static void test_a_long_message_is_cut(void **state)
{
    enum { N = RENDEZVOUS_MESSAGE_BYTES + 100 };
    char *text = calloc(1, N);
    struct rendezvous_prefix a, b;

    (void)state;
    memset(text, 'x', N);
    rendezvous_prefix_init(&a, SLICE(""));
    rendezvous_prefix_add(&a, slice_make(text, N), true);
    for (size_t i = 0; i < N; i++) {
        text[i] ^= 1;
        rendezvous_prefix_init(&b, SLICE(""));
        rendezvous_prefix_add(&b, slice_make(text, N), true);
        text[i] ^= 1;
        assert_int_equal(a.hash == b.hash, i >= RENDEZVOUS_MESSAGE_BYTES);
    }
    free(text);
}

static uint64_t hash_of_text(const char *text, size_t n)
{
    struct rendezvous_prefix p;

    rendezvous_prefix_init(&p, SLICE("model"));
    rendezvous_prefix_add(&p, slice_make(text, n), true);
    return p.hash;
}

/* A bit of a message turns about half of the hash's, wherever it stands, and order counts. */
static void test_messages_are_mixed_well(void **state)
{
    char text[101];
    int turned = 0, pairs = 0;

    (void)state;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i * 7 % 26);
    uint64_t whole = hash_of_text(text, sizeof text);
    for (size_t i = 0; i < sizeof text; i++)
        for (int bit = 0; bit < 8; bit++, pairs++) {
            text[i] ^= (char)(1 << bit);
            int n = __builtin_popcountll(whole ^ hash_of_text(text, sizeof text));
            text[i] ^= (char)(1 << bit);
            assert_in_range(n, 8, 56);
            turned += n;
        }
    assert_in_range(turned / pairs, 31, 33);
    for (size_t i = 0; i + 32 <= sizeof text; i += 16) {
        char swapped[sizeof text];
        memcpy(swapped, text, sizeof text);
        memcpy(swapped + i, text + i + 16, 16);
        memcpy(swapped + i + 16, text + i, 16);
        assert_true(hash_of_text(swapped, sizeof text) != whole);
    }
}

static void test_endless_conversations_without_a_user(void **state)
{
    struct rendezvous_prefix p;
    uint64_t hash = 0;

    (void)state;
    rendezvous_prefix_init(&p, SLICE(""));
    for (int i = 0; i < 1000; i++) {
        rendezvous_prefix_add(&p, SLICE("\"tool result\""), false);
        if (i + 1 == RENDEZVOUS_MESSAGES)
            hash = p.hash;
    }
    assert_int_equal(p.messages, RENDEZVOUS_MESSAGES);
    assert_true(p.hash == hash);
}

static void fleet(struct rendezvous_endpoint *eps, int n)
{
    for (int i = 0; i < n; i++) {
        char url[64];

        snprintf(url, sizeof url, "http://10.0.0.%d:8000/v1", i + 5);
        eps[i] = (struct rendezvous_endpoint){.hash = rendezvous_endpoint_hash(slice_str(url)),
                                              .usable = true};
    }
}

static void test_spread_is_even(void **state)
{
    struct rendezvous_endpoint eps[7];
    int count[7] = {0};
    double chi2 = 0;

    (void)state;
    fleet(eps, 7);
    for (uint64_t key = 0; key < KEYS;
         key++) { /* consecutive numbers: the hash must do the mixing */
        int i = rendezvous_pick(key, eps, 7);

        assert_in_range(i, 0, 6);
        count[i]++;
    }
    for (int i = 0; i < 7; i++) {
        double expected = KEYS / 7.0;

        chi2 += (count[i] - expected) * (count[i] - expected) / expected;
    }
    assert_true(chi2 < 27.9); /* 6 degrees of freedom, p = 0.0001; the keys are fixed */
}

/* One endpoint less: only its conversations move, and they spread over all others. Order does not
 * matter. */
static void test_little_moves(void **state)
{
    struct rendezvous_endpoint eps[5], turned[5];
    int from_lost = 0, to[5] = {0};

    (void)state;
    fleet(eps, 5);
    for (int i = 0; i < 5; i++)
        turned[i] = eps[4 - i];
    for (uint64_t key = 0; key < KEYS; key++) {
        int before = rendezvous_pick(key, eps, 5);

        assert_int_equal(rendezvous_pick(key, turned, 5), 4 - before);
        eps[2].usable = false;
        int after = rendezvous_pick(key, eps, 5);
        eps[2].usable = true;
        if (before != 2) {
            assert_int_equal(after, before);
        } else {
            from_lost++;
            to[after]++;
        }
    }
    assert_in_range(from_lost, KEYS / 5 - 300, KEYS / 5 + 300);
    assert_int_equal(to[2], 0);
    for (int i = 0; i < 5; i++)
        assert_true(i == 2 || (to[i] > from_lost / 4 - 200 && to[i] < from_lost / 4 + 200));
}

/* All want one conversation's endpoint: no endpoint ever holds more than its bound, nobody is
 * turned away. */
static void test_loads_are_bounded(void **state)
{
    struct rendezvous_endpoint eps[4];
    int favourite;

    (void)state;
    fleet(eps, 4);
    favourite = rendezvous_pick(42, eps, 4);
    for (int64_t all = 0; all < 1000; all++) {
        int i = rendezvous_pick(42, eps, 4);

        assert_in_range(i, 0, 3);
        eps[i].in_flight++;
        assert_true(4 * 4 * eps[i].in_flight < 5 * (all + 1) + 4 * 4); /* < c * average + 1 */
    }
    assert_int_equal(eps[favourite].in_flight, 313); /* ceil(1.25 * 250) */
    eps[favourite].in_flight = 0;                    /* free again: the conversation is back home */
    assert_int_equal(rendezvous_pick(42, eps, 4), favourite);
}

static void test_random_loads(void **state)
{
    struct rendezvous_endpoint eps[9];
    struct rng rng;

    (void)state;
    rng_seed(&rng, 7);
    fleet(eps, 9);
    for (int round = 0; round < 5000; round++) {
        int usable = 0;

        for (int i = 0; i < 9; i++) {
            eps[i].usable = rng_below(&rng, 3) > 0;
            eps[i].in_flight = (int64_t)rng_below(&rng, 1 + rng_below(&rng, 1000));
            usable += eps[i].usable;
        }
        int pick = rendezvous_pick(rng_u64(&rng), eps, 9);

        assert_int_equal(pick >= 0, usable > 0);
        assert_true(pick < 0 || eps[pick].usable);
    }
    assert_int_equal(rendezvous_pick(1, eps, 0), -1);
}

/* The hashes are part of what a fleet agrees about: they must not change by accident. */
static void test_known_values(void **state)
{
    (void)state;
    assert_true(rendezvous_endpoint_hash(SLICE("http://10.0.0.5:8000/v1")) ==
                UINT64_C(0xFAC39B398A7ADE0));
    assert_true(rendezvous_weight(1, 2) == UINT64_C(0x81A5C1377856B73));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns_of_a_conversation_agree),
        cmocka_unit_test(test_message_borders_and_lengths_count),
        cmocka_unit_test(test_a_long_message_is_cut),
        cmocka_unit_test(test_messages_are_mixed_well),
        cmocka_unit_test(test_endless_conversations_without_a_user),
        cmocka_unit_test(test_spread_is_even),
        cmocka_unit_test(test_little_moves),
        cmocka_unit_test(test_loads_are_bounded),
        cmocka_unit_test(test_random_loads),
        cmocka_unit_test(test_known_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
