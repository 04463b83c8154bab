/* Where a Redis is and who we are to it, out of a URL. Pure. */
#ifndef BASE_REDIS_URL_H
#define BASE_REDIS_URL_H

#include "base/err.h"
#include "base/slice.h"

struct redis_url {
    char host[256], port[8]; /* of TCP */
    char path[108];          /* of a Unix socket; "" : TCP */
    char user[128], password[256];
    int db;
};

/* ERR_BAD_REQUEST with t, which says what is wrong and never shows the password. */
enum err redis_url_parse(const char *url, struct redis_url *out, struct err_text *t) MUST_CHECK;

#endif
