/* The table of servers. Constant; called when a policy is loaded and by the writer of requests. */
#include "backends/wire/quirks.h"

#include <assert.h>

/* Server words for: none, minimal, low, medium, high, xhigh, max. */
#define EFFORTS(none, minimal, low, medium, high, xhigh, max)                                      \
    {                                                                                              \
        NULL, none, minimal, low, medium, high, xhigh, max                                         \
    }
#define ANY_ID                                                                                     \
    {                                                                                              \
        .min_bytes = 1, .max_bytes = SIZE_MAX, .any = true                                         \
    }

static const struct quirks table[QUIRK_SERVERS] = {
#define QUIRK(server, ...) [QUIRK_##server] = {__VA_ARGS__},
#include "backends/wire/quirks.def"
#undef QUIRK
};

const struct quirks *quirks_get(enum quirk_server s)
{
    assert((unsigned)s < QUIRK_SERVERS);
    return &table[s];
}

const struct quirks *quirks_find(struct slice name)
{
    for (int i = 0; i < QUIRK_SERVERS; i++)
        if (slice_eq(name, slice_str(table[i].name)))
            return &table[i];
    return NULL;
}
