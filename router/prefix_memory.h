/* Which models have lately read the beginning of a conversation: they have it in their prompt
 * cache, so that going on with them costs less than with another. A guess for comparing costs,
 * never for booking them: providers tell what they did cache. One per worker: another worker's
 * turns of the same conversation are not known.
 *
 * A table of a fixed size; a newer conversation takes an older one's place. Pure but for its
 * memory. */
#ifndef ROUTER_PREFIX_MEMORY_H
#define ROUTER_PREFIX_MEMORY_H

#include <stdint.h>

struct prefix_memory;

/* Providers keep a prompt for about five minutes after its last use (Anthropic: "Prompt caching";
 * OpenAI: "Prompt caching", 5 to 10 minutes). */
#define PREFIX_MEMORY_US (INT64_C(300) * 1000000)

struct prefix_memory *prefix_memory_new(void);
void prefix_memory_free(struct prefix_memory *m); /* NULL is fine */

/* The model has read so many tokens of the conversation. */
void prefix_memory_note(struct prefix_memory *m, uint64_t conversation, uint64_t model,
                        int64_t tokens, int64_t now_us);
/* How many of them it most likely still has; 0: none. */
int64_t prefix_memory_tokens(const struct prefix_memory *m, uint64_t conversation, uint64_t model,
                             int64_t now_us);

#endif
