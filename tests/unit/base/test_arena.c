/* base/arena: alignment, growth, accounting, and that an overrun is seen by ASan. */
#include <cmocka.h>
#include <stdalign.h>
#include "base/arena.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

static void test_allocations_are_aligned_and_disjoint(void **state)
{
    (void)state;
    struct arena a;
    unsigned char *p[400];
    arena_init(&a, 300);
    size_t sum = 0;
    for (size_t i = 0; i < 400; i++) {
        size_t n = i % 7 == 0 ? i * 50 : i % 40;
        p[i] = arena_alloc(&a, n);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % alignof(max_align_t), 0);
        memset(p[i], (int)(i & 0xFF), n);
        sum += n;
    }
    for (size_t i = 0; i < 400; i++) {
        size_t n = i % 7 == 0 ? i * 50 : i % 40;
        for (size_t j = 0; j < n; j++)
            assert_int_equal(p[i][j], i & 0xFF);
    }
    assert_int_equal(a.used_bytes, sum);
    arena_clear(&a);
    assert_int_equal(a.used_bytes, 0);
    assert_null(a.block);
    assert_non_null(arena_alloc(&a, 1)); /* usable again */
    arena_clear(&a);
}

static void test_a_large_allocation_keeps_the_current_block(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 4096);
    char *first = arena_alloc(&a, 16);
    const struct arena_block *block = a.block;
    memset(arena_alloc(&a, 1 << 22), 1, 1 << 22);
    assert_ptr_equal(a.block, block);
    char *second = arena_alloc(&a, 16);
    assert_true(second > first && second - first < 4096);
    arena_clear(&a);
}

static void test_copies(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    assert_string_equal(arena_strdup(&a, SLICE("abc")), "abc");
    assert_string_equal(arena_strdup(&a, slice_make(NULL, 0)), "");
    struct slice d = arena_dup(&a, slice_make("a\0b", 3));
    assert_int_equal(d.n, 3);
    assert_memory_equal(d.p, "a\0b", 3);
    assert_int_equal(arena_dup(&a, slice_make(NULL, 0)).n, 0);
    assert_string_equal(arena_printf(&a, "%s-%d", "x", 42), "x-42");
    char *wide = arena_printf(&a, "%5000d", 7);
    assert_int_equal(strlen(wide), 5000);
    const int *zeros = ARENA_ARRAY(&a, int, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(zeros[i], 0);
    arena_clear(&a);
}

static void test_overruns_are_poisoned(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    struct arena a;
    arena_init(&a, 1024);
    char *p = arena_alloc(&a, 13), *q = arena_alloc(&a, 8);
    assert_false(__asan_address_is_poisoned(p + 12));
    assert_true(__asan_address_is_poisoned(p + 13));
    assert_true(__asan_address_is_poisoned(q - 1));
    assert_false(__asan_address_is_poisoned(q));
    assert_true(__asan_address_is_poisoned(q + 8));
    arena_clear(&a);
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations_are_aligned_and_disjoint),
        cmocka_unit_test(test_a_large_allocation_keeps_the_current_block),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_overruns_are_poisoned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
