/* The handlers of /admin/cache, for the table in api_cache.c. Nobody else includes it. */
#ifndef GATEWAY_API_CACHE_INT_H
#define GATEWAY_API_CACHE_INT_H

#include "gateway/api_admin.h"
#include "gateway/cache_task.h"

/* As struct admin_route has them. */
#define API_CACHE_HANDLER(name)                                                                    \
    void name(struct api_admin *admin, struct http_exchange *x, struct slice rest)

API_CACHE_HANDLER(api_cache_get_entries);
API_CACHE_HANDLER(api_cache_get_entry);
API_CACHE_HANDLER(api_cache_delete_entry);
API_CACHE_HANDLER(api_cache_post_mark);
API_CACHE_HANDLER(api_cache_post_remove);
API_CACHE_HANDLER(api_cache_post_flush);
API_CACHE_HANDLER(api_cache_get_usage);
API_CACHE_HANDLER(api_cache_get_export);
API_CACHE_HANDLER(api_cache_post_import);
API_CACHE_HANDLER(api_cache_post_warm);
API_CACHE_HANDLER(api_cache_get_doctor);
API_CACHE_HANDLER(api_cache_get_events);
API_CACHE_HANDLER(api_cache_get_prospects);
API_CACHE_HANDLER(api_cache_post_explain);
API_CACHE_HANDLER(api_cache_post_label);

#endif
