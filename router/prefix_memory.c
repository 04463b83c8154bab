/* Direct-mapped. Called by cascade.c when costs are compared, and when a request is over. */
#include "router/prefix_memory.h"

#include <stdlib.h>
#include "base/mem.h"

#define SLOTS 4096 /* a power of two */

struct slot {
    uint64_t key; /* 0: free */
    int64_t tokens, read_us;
};

struct prefix_memory {
    struct slot slots[SLOTS];
};

struct prefix_memory *prefix_memory_new(void)
{
    return mem_zalloc(1, sizeof(struct prefix_memory));
}

void prefix_memory_free(struct prefix_memory *m)
{
    free(m);
}

/* splitmix64's finaliser over both (Steele, Lea & Flood 2014); never 0. */
static uint64_t key_of(uint64_t conversation, uint64_t model)
{
    uint64_t x = conversation ^ (model * UINT64_C(0x9e3779b97f4a7c15));

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return x ? x : 1;
}

void prefix_memory_note(struct prefix_memory *m, uint64_t conversation, uint64_t model,
                        int64_t tokens, int64_t now_us)
{
    uint64_t key = key_of(conversation, model);

    m->slots[key & (SLOTS - 1)] = (struct slot){.key = key, .tokens = tokens, .read_us = now_us};
}

int64_t prefix_memory_tokens(const struct prefix_memory *m, uint64_t conversation, uint64_t model,
                             int64_t now_us)
{
    uint64_t key = key_of(conversation, model);
    const struct slot *s = &m->slots[key & (SLOTS - 1)];

    return s->key == key && now_us - s->read_us <= PREFIX_MEMORY_US ? s->tokens : 0;
}
