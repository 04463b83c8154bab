/* Tool-call ids of one API as another will take them. Pure.
 *
 * An id that the rule allows stays as it is; so the transcript a client keeps is the one the
 * upstream sees. Any other becomes, where it fits, "weir_" and the base64url of its bytes; where it
 * does not, letters of a digest. The same id always becomes
 * the same, in every turn of a conversation, so that calls meet their results and prompt caches
 * hit. */
#ifndef BACKENDS_WIRE_TOOL_ID_H
#define BACKENDS_WIRE_TOOL_ID_H

#include "base/arena.h"

struct tool_id_rule {
    size_t min_bytes, max_bytes;
    bool any;        /* every character is allowed */
    bool only_alnum; /* else also '_' and '-' */
};

bool tool_id_allowed(const struct tool_id_rule *rule, struct slice id); /* stays as it is */
/* Does the rule hold for it? For names of tools, which are not mapped. */
bool tool_id_fits(const struct tool_id_rule *rule, struct slice name);
struct slice tool_id_map(const struct tool_id_rule *rule, struct slice id, struct arena *a);

#endif
