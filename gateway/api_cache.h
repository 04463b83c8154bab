/* The cache of answers, in the admin API. JSON; an entry's id is 16 hex digits; conditions are
 * those of cache_where.h.
 *
 *   GET    /admin/cache                   what it holds, does and has learned
 *   GET    /admin/cache/entries           ?CONDITIONS&cursor=&limit=: a page, without the answers.
 *                                         Cursors are like Redis' SCAN: "0" begins and ends, limit
 *                                         is a hint, a page may be empty or longer; what is there
 *                                         all the time comes at least once, whatever is written
 *                                         meanwhile
 *   GET    /admin/cache/entries/{id}      one with its answer; ETag, If-None-Match
 *   DELETE /admin/cache/entries/{id}      gone; If-Match is honoured
 *   POST   /admin/cache/mark              {"id", "pinned": bool, "quarantined": bool}, one of the
 *                                         two or both; If-Match is honoured. Pinned: not evicted;
 *                                         quarantined: not served, until a fresh answer replaces it
 *   POST   /admin/cache/remove            {"where": {...}, "cursor", "dry_run": true}: one step of
 * a removal by conditions, to be repeated with the cursor that it answers until that is "0".
 * Without dry_run it wants "confirm": "remove", or "remove everything" when where is
 *                                         {}: 428 without, 409 when it is another phrase
 *   POST   /admin/cache/flush             {"scope", "confirm": "flush"}: nothing of the scope is
 *                                         served from now on, at once and whatever its size; what
 *                                         it took is swept by remove {"where": {"dead": true}}
 *   GET    /admin/cache/usage             ?cursor=: entries and bytes by scope, of one step; to be
 *                                         added up like pages
 *   GET    /admin/cache/export            ?CONDITIONS: entries as lines (cache_line.h), streamed as
 *                                         fast as they are read; broken off if the store fails
 *   POST   /admin/cache/import            such lines, Content-Type: application/x-ndjson, at most 4
 *                                         MiB: all are read before any is stored; 400 names the
 *                                         line. What is there already and as new stays
 *   GET    /admin/cache/doctor            {"checks": [{"name", "state", "said"}]}: state is ok,
 * warning or problem; 200 whatever they say GET    /admin/cache/events            ?after=N&limit=:
 * the newest look-ups after number N (at most 512 are kept), for those who watch; what workers
 * answer from their hot sets is not among them GET    /admin/cache/changes           ?limit=: who
 * changed what and when, out of STATE/cache_changes.jsonl
 *
 * POST wants Content-Type: application/json, which a browser does not send across origins without
 * asking first. Every change is recorded before it is answered; when it cannot be, it is not made.
 * 404 where the policy has no cache. threads: control; the work is the cache thread's. */
#ifndef GATEWAY_API_CACHE_H
#define GATEWAY_API_CACHE_H

#include "gateway/admin_route.h"

struct control;
struct api_cache;

struct api_cache *api_cache_new(struct control *c);
void api_cache_free(struct api_cache *a); /* NULL is fine */
extern const struct admin_route api_cache_routes[];

#endif
