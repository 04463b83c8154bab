/* What every store must do, on one that is new and empty. */
#ifndef TESTS_UNIT_CACHE_STORE_SUITE_H
#define TESTS_UNIT_CACHE_STORE_SUITE_H

#include "tests/unit/cache/store_harness.h"

/* Every entry with a tag is found, of one scope or of all, on pages, and no others are looked at.
 */
void store_suite_tags(struct store_harness *h);

#endif
