/* The control thread (the process's main thread): signals, policy loading and versions, workers,
 * the admin listener, drain. It is the only writer of the policy: SIGHUP, a change of the file
 * (inotify on its directory, so that editors' rename works), and the admin API all end in the one
 * queue of reloads.
 *
 *   - A broken file leaves the old policy serving: POLICY_STALE is 1, the log has an error line,
 *     /readyz has the detail.
 *   - A change of a server key that needs a restart is refused in the same way, naming the key.
 *   - Each policy that served is kept, see policy_store.h.
 *   - Reading a policy and opening its encoder take their time elsewhere (policy_reload.h): signals
 *     and the admin API are answered meanwhile. */
#ifndef GATEWAY_CONTROL_H
#define GATEWAY_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/mailbox.h"
#include "policies/policy_load.h"

struct control_options {
    const char *policy_file;
    /* NULL, or where to write "listen=HOST:PORT\nadmin=HOST:PORT\n" once ready. */
    const char *port_file;
};

/* Runs until SIGTERM or SIGINT (drain; a second one ends at once). Returns the process's exit code
 * (see gateway/cli/exit.h). */
int control_run(const struct control_options *opt);

/* ---- what the admin API may see and do; control thread only ---- */

struct control;
struct launcher;
struct learner;
struct catalog;
struct control_vectors;
struct prober;
struct event_base;
struct policy_store;
struct snapshot;
struct worker;

/* Why the policy file does not serve. */
struct control_fault {
    bool stale;
    int64_t since_wall_us;
    char origin[64];
    char why[512];      /* one sentence */
    struct diags diags; /* of the file; none when it is valid but needs a restart */
};

struct control_status {
    const char *policy_file;
    int64_t policy_serial;             /* in the store; 0: it could not be kept */
    const struct control_fault *fault; /* borrowed until the next load */
    bool draining, ledger_full;
    bool spends_shared, spends_up; /* budgets hold over replicas; the store for that is there */
    int64_t ledger_queued, in_flight, connections;
    size_t workers;
};

/* What became of a text that was to be tried or to serve. Borrowed for the call. */
struct control_verdict {
    enum err err;    /* ERR_OK; ERR_INVALID_POLICY with diags; ERR_CONFLICT: a restart is needed;
                        ERR_PRECONDITION_FAILED; ERR_DRAINING; else of the encoder or the file */
    const char *why; /* a sentence, or NULL: err_text */
    const struct diags *diags;   /* of the text, also when it is fine */
    const struct policy *policy; /* NULL: the text is not valid */
    const struct policy *before; /* served when it was decided */
};
typedef void (*control_decided)(void *ctx, const struct control_verdict *v);

/* Reads the policy file and lets it serve, or says why not (control_status.fault, log, metrics);
 * later: this returns at once. origin: "signal" ... A file that is unchanged is no fault. */
void control_load_policy(struct control *c, const char *origin);
/* Would text be served if the file held it? ERR_OK: decided is called later, once. Else
 * (ERR_OVERLOADED, ERR_DRAINING) never. */
enum err control_try_policy(struct control *c, struct slice text, control_decided decided,
                            void *ctx) MUST_CHECK;
/* The file's changes are loaded first, since a change that is not loaded yet counts. Then, if
 * if_match names what serves: tries text, writes it to the policy file and lets it serve. Returns
 * and calls as control_try_policy. */
enum err control_put_policy(struct control *c, struct slice text, struct slice if_match,
                            const char *origin, control_decided decided, void *ctx) MUST_CHECK;

const struct snapshot *
control_snapshot(const struct control *c); /* serving; borrowed until the next load */
struct launcher *control_launcher(const struct control *c);
const struct prober *control_prober(const struct control *c);
const struct catalog *control_catalog(const struct control *c);
struct learner *control_learner(const struct control *c); /* NULL: no route learns yet */
const struct policy_store *control_store(const struct control *c);
void control_describe(const struct control *c, struct control_status *out);
enum err control_metrics_write(struct control *c, struct buf *out) MUST_CHECK;
struct event_base *control_base(const struct control *c);
struct mailbox *
control_mailbox(struct control *c); /* messages are delivered with the control as receiver_ctx */
/* Running workers; fewer than control_status.workers once the last requests of a drain have ended.
 */
size_t control_workers(const struct control *c);
struct worker *control_worker(const struct control *c, size_t i);
struct control_vectors *control_vectors(struct control *c);
struct api_admin *control_admin(const struct control *c);

#endif
