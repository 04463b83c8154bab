/* Does a text try to steer the model, or look made by a search rather than written? Nothing is
 * refused for it; but what it teaches is kept from other tenants: in a shared scope such a text is
 * neither answered by meaning nor a neighbour of anybody's question. Two marks:
 *
 *   orders  "ignore previous instructions", "you are now", "always answer with", role markers of
 *           chat templates
 *   junk    what suffix searches leave behind: words grown together, knots of punctuation
 *
 * Rules of thumb for English; what they wrongly hit loses hits in shared scopes and nothing else.
 * Not a defence by itself: an attacker who knows the list writes around it. The gates, the
 * admission by two tenants and the audits stand behind it. Pure; linear; reads SUSPECT_MAX_BYTES.
 */
#ifndef CACHE_SUSPECT_H
#define CACHE_SUSPECT_H

#include <stdbool.h>
#include "base/slice.h"

#define SUSPECT_MAX_BYTES 65536

bool suspect_text(struct slice text);

#endif
