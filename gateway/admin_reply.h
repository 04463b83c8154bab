/* Whole replies of the admin API. Each is the one reply of its exchange. Control thread. */
#ifndef GATEWAY_ADMIN_REPLY_H
#define GATEWAY_ADMIN_REPLY_H

#include <jansson.h>
#include "gateway/http_server.h"

/* etag: without its quotes; NULL: none. */
void admin_reply_text(struct http_exchange *x, int status, const char *content_type,
                      const char *etag, struct slice text);
void admin_reply_json(struct http_exchange *x, int status, const char *etag,
                      json_t *o); /* takes o over */
void admin_reply_error(struct http_exchange *x, enum err e,
                       const char *message); /* NULL: e's own */

/* Does the header name that version? If-Match and If-None-Match (RFC 9110 13.1.1, 13.1.2): a list
 * of tags, or "*". */
bool admin_tag_matches(struct slice list, const char *etag);

#endif
