/* Large blocks. Owns nothing; called by safetensors and bert_model. */
#include "router/encoder/block.h"

#include <stdlib.h>
#include <sys/mman.h>

#define HUGE_BYTES ((size_t)2 << 20)

void *block_new(size_t bytes)
{
    void *p;
    size_t align = bytes >= HUGE_BYTES ? HUGE_BYTES : BLOCK_ALIGN_BYTES;
    if (posix_memalign(&p, align, bytes ? bytes : 1) != 0)
        return NULL;
    /* Whole huge pages only: the allocator may use what follows. A refusal costs speed, no more. */
    if (bytes >= HUGE_BYTES)
        (void)madvise(p, bytes / HUGE_BYTES * HUGE_BYTES, MADV_HUGEPAGE);
    return p;
}
