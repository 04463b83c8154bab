/* A launcher_spec with strings of its own: copied once from what the policy says, compared when a
 * new policy comes, freed as one block. Pure. */
#ifndef BACKENDS_LAUNCHER_SPEC_H
#define BACKENDS_LAUNCHER_SPEC_H

#include "backends/launcher.h"

struct launcher_spec *launcher_spec_copy(const struct launcher_spec *s); /* free() it */
bool launcher_spec_equal(const struct launcher_spec *a, const struct launcher_spec *b);

#endif
