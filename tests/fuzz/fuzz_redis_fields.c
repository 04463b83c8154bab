/* Entries from the values of a Redis hash, which anybody with the password may have written: the
 * input's lines, then the rest as the answer; with the right checksum and without. And URLs. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/redis_url.h"
#include "cache/store_redis_fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

/* What was taken says the same when it is written again. */
static void check_again(const struct cache_entry *e)
{
    struct redis_fields again;
    struct cache_entry *second;

    if (redis_fields_from(&again, &e->f)) {
        require(redis_fields_entry(again.value, &second) == ERR_OK);
        uint8_t a[CACHE_SUM_BYTES], b[CACHE_SUM_BYTES];
        cache_entry_sum(&e->f, a);
        cache_entry_sum(&second->f, b);
        require(memcmp(a, b, sizeof a) == 0);
        cache_entry_unref(second);
    }
    redis_fields_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice value[REDIS_FIELD_COUNT] = {{"", 0}}, rest = {(const char *)data, size};
    struct cache_entry *e;
    struct redis_url u;
    struct err_text t;

    for (int i = 0; i < REDIS_FIELD_COUNT; i++) {
        const char *end =
            rest.n ? memchr(rest.p, i == REDIS_FIELD_TAGS ? '\r' : '\n', rest.n) : NULL;
        size_t n = end && i < REDIS_FIELD_COUNT - 1 ? (size_t)(end - rest.p) : rest.n;
        value[i] = slice_make(rest.p, n);
        rest = slice_from(rest, n + (end != NULL));
    }
    if (redis_fields_entry(value, &e) == ERR_OK) {
        check_again(e);
        cache_entry_unref(e);
    }
    if (redis_fields_head(value, &e) == ERR_OK) {
        check_again(e);
        cache_entry_unref(e);
    }
    char *url = mem_strdup(slice_make((const char *)data, size));
    if (redis_url_parse(url, &u, &t) != ERR_OK)
        require(strnlen(t.s, sizeof t.s) < sizeof t.s);
    free(url);
    return 0;
}
