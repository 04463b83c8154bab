/* Host names to addresses without blocking a worker's loop: numeric addresses at once, names by
 * getaddrinfo(3) on threads of the resolver's own, with a cache (30 s, failures 1 s) that all
 * workers share.
 *
 * One resolver per process, made by the first resolver_ref and gone with the last reference; its
 * threads start with the first name, so that a fleet of numeric addresses has none. threads:
 * resolver_ref/unref/ask/forget from any thread; lookup_cancel on the asker's. Answers arrive in
 * the asker's mailbox. */
#ifndef BACKENDS_RESOLVER_H
#define BACKENDS_RESOLVER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include "base/mailbox.h"

#define RESOLVER_MAX_ADDRS 8

struct resolver_addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } u;
    socklen_t len;
};

struct resolver_addrs { /* in the order of RFC 6724, as getaddrinfo gives them; count 0: the name
                           has none */
    struct resolver_addr addr[RESOLVER_MAX_ADDRS];
    int count;
};

struct resolver;
struct resolver_lookup; /* a question under way; owned by the resolver */

struct resolver *resolver_ref(void);
void resolver_unref(struct resolver *r);

/* Numeric IPv4 or IPv6 (without brackets). */
bool resolver_numeric(const char *host, uint16_t port, struct resolver_addrs *out);

/* From the cache: true and *out is filled (count 0: known not to resolve). Else false and *lookup
 * is under way: fn is called once by mailbox_drain with the addresses (ports set), unless
 * cancelled. *lookup is NULL when no thread could be started. */
typedef void (*resolver_fn)(void *ctx, const struct resolver_addrs *addrs);
bool resolver_ask(struct resolver *r, const char *host, uint16_t port, struct mailbox *reply_to,
                  resolver_fn fn, void *ctx, struct resolver_addrs *out,
                  struct resolver_lookup **lookup);
void resolver_cancel(struct resolver_lookup *l); /* before its callback; fn is not called */
/* Nothing is posted to this mailbox any more when this has returned. */
void resolver_forget(struct resolver *r, struct mailbox *reply_to);

#endif
