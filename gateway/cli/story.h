/* What the ledger knows of a request, as a paragraph for people and as JSON for programs. Pure. */
#ifndef GATEWAY_CLI_STORY_H
#define GATEWAY_CLI_STORY_H

#include <jansson.h>
#include <stdio.h>
#include "router/ledger_read.h"

/* One paragraph with a newline at its end. */
void story_tell(FILE *f, const struct ledger_story *s);
/* All columns under their names; a reference. Candidates of decisions are JSON, not text. */
json_t *story_json(const struct ledger_story *s);

#endif
