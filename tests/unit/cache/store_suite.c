/* Owns nothing. */
#include "tests/unit/cache/store_suite.h"

#include <stdio.h>
#include <cmocka.h>
#include "tests/unit/cache/samples.h"

void store_suite_tags(struct store_harness *h)
{
    uint64_t ids[1000];
    size_t of_tag = 0, of_first = 0;

    for (int i = 0; i < 1000; i++) {
        char scope[16];
        snprintf(scope, sizeof scope, "tenant %d", i % 3);
        struct cache_fields f = sample_fields(scope, i);
        f.tags[0] = SLICE("a/b: \xc3\xa9");
        f.tag_count = i % 2; /* "v1" nobody has */
        ids[i] = store_harness_put(h, &f);
        assert_int_not_equal(ids[i], 0);
        of_tag += f.tag_count;
        of_first += f.tag_count && i % 3 == 0;
    }
    assert_int_equal(store_harness_tagged(h, "tenant 0", "a/b: \xc3\xa9"), of_first);
    assert_int_equal(store_harness_tagged(h, NULL, "a/b: \xc3\xa9"), of_tag);
    assert_true(h->pages > 1);
    for (int i = 1; i < 1000; i += 2) {
        size_t seen = 0;
        for (size_t k = 0; k < h->page_count; k++)
            seen += h->page_ids[k] == ids[i];
        assert_int_equal(seen, 1);
    }
    assert_int_equal(store_harness_tagged(h, NULL, "v1"), 0);
    assert_int_equal(store_harness_tagged(h, "tenant 0", "a/b"), 0);
    assert_int_equal(store_harness_tagged(h, "tenant", "0/a/b: \xc3\xa9"), 0);
    for (int i = 0; i < 1000; i++)
        if (i % 3)
            assert_int_equal(store_harness_del(h, i % 3 == 1 ? "tenant 1" : "tenant 2", ids[i]),
                             ERR_OK);
    assert_int_equal(store_harness_tagged(h, NULL, "a/b: \xc3\xa9"), of_first);
}
