/* An open encoder with its service: what costs time and memory to make, kept over reloads that do
 * not change it and shared by the snapshots that ask for it.
 *
 * Made and ended by control. Snapshots hold it by count only (embedder_hold, embedder_release: any
 * thread), so that the last of them, which a worker may drop, never waits for threads to end:
 * control frees it once nobody holds it. */
#ifndef ROUTER_EMBEDDER_H
#define ROUTER_EMBEDDER_H

#include <stdbool.h>
#include "policies/policy.h"
#include "router/encoder/encoder_service.h"

struct embedder;

/* Not for a policy without a transformer. ERR_NOT_FOUND, ERR_BAD_WEIGHTS, ERR_INVALID_POLICY (a
 * device or precision that is not to be had here), ERR_INTERNAL; all with t. */
enum err embedder_open(const struct policy_encoder *e, struct embedder **out,
                       struct err_text *t) MUST_CHECK;
void embedder_free(struct embedder *e); /* nobody holds it */
/* Does the policy want just this one? */
bool embedder_suits(const struct embedder *e, const struct policy_encoder *want);

struct embedder *embedder_hold(struct embedder *e);
void embedder_release(struct embedder *e); /* NULL is fine */
bool embedder_held(const struct embedder *e);

const struct encoder *embedder_encoder(const struct embedder *e);
struct encoder_service *embedder_service(struct embedder *e);

/* Options of a policy's encoder: for commands that need no service. folder is kept by opt. */
enum err embedder_options(const struct policy_encoder *e, char *folder, size_t folder_bytes,
                          struct encoder_options *opt, struct err_text *t) MUST_CHECK;

#endif
