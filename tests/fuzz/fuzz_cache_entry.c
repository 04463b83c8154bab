/* Stored answers from any bytes: as they are, and with the checksum put right, as a bug or an enemy
 * with a shell would have it. What is taken must be the same bytes again. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cache/cache_entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void check(const char *bytes, size_t n)
{
    struct cache_entry *e, *head;
    enum err err = cache_entry_unpack(slice_make(bytes, n), &e);

    if (cache_entry_unpack_head(slice_make(bytes, n), &head) == ERR_OK)
        require(err != ERR_OK || (head->f.id == e->f.id && head->f.body_bytes == e->f.body.n));
    else
        require(err != ERR_OK && !head);
    cache_entry_unref(head);
    require(err == ERR_OK || (err == ERR_BAD_CACHE_ENTRY && !e));
    if (err != ERR_OK)
        return;
    require(cache_entry_pack_bytes(&e->f) == n);
    char *again = mem_alloc(n);
    cache_entry_pack(&e->f, again);
    require(memcmp(again, bytes, n) == 0);
    free(again);
    cache_entry_unref(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check((const char *)data, size);
    if (size < CACHE_SUM_BYTES + 12)
        return 0;
    char *right = mem_alloc(size);
    memcpy(right, data, size);
    for (int i = 0; i < 4; i++)
        right[8 + i] = (char)(size >> (8 * i)); /* the length, too */
    struct digest d = digest_of(slice_make(right, size - CACHE_SUM_BYTES));
    memcpy(right + size - CACHE_SUM_BYTES, d.bytes, CACHE_SUM_BYTES);
    check(right, size);
    free(right);
    return 0;
}
