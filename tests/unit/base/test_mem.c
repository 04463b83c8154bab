/* What mem_trim gives back, and when it lets things be. */
#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"

#define BLOCKS      4096
#define BLOCK_BYTES 4000

static void a_process_that_holds_more_is_left_alone(void **state)
{
    (void)state;
    assert_false(mem_trim(0));
    assert_false(mem_trim(4096));
}

static size_t resident_pages(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    size_t pages = 0;
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*s %zu", &pages), 1);
    fclose(f);
    return pages;
}

/* Pages between what is in use go back; what is in use keeps its bytes. */
static void what_is_in_use_stays(void **state)
{
    static char *blocks[BLOCKS];

    (void)state;
    for (size_t i = 0; i < BLOCKS; i++)
        memset(blocks[i] = mem_alloc(BLOCK_BYTES), (int)(i & 127), BLOCK_BYTES);
    for (size_t i = 0; i < BLOCKS; i++)
        if (i % 8) {
            free(blocks[i]);
            blocks[i] = NULL;
        }
    size_t before = resident_pages();
    assert_true(mem_trim(SIZE_MAX));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* allocators of their own */
    assert_true(resident_pages() < before - BLOCKS / 2);
#endif
    (void)before;
    for (size_t i = 0; i < BLOCKS; i += 8)
        for (size_t k = 0; k < BLOCK_BYTES; k++)
            assert_int_equal(blocks[i][k], (int)(i & 127));
    for (size_t i = 0; i < BLOCKS; i += 8)
        free(blocks[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_that_holds_more_is_left_alone),
        cmocka_unit_test(what_is_in_use_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
