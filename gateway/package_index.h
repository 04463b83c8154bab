/* Where a Python package index keeps a file: one project's page of the simple repository API, as
 * JSON (PEP 691) or as HTML (PEP 503), whichever the index sends. Pure; any thread. */
#ifndef GATEWAY_PACKAGE_INDEX_H
#define GATEWAY_PACKAGE_INDEX_H

#include "base/err.h"
#include "base/slice.h"

/* The Accept header's value when a page is asked for. */
#define PACKAGE_INDEX_ACCEPT                                                                       \
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "             \
    "text/html;q=0.1"

/* page_url: where the page came from; references in it are relative to that, and a user name in it
 * goes along to files on the same host. file: the file's exact name. ERR_NOT_FOUND: the page does
 * not list it; ERR_UPSTREAM_PROTOCOL: this is no such page. Both with t. */
enum err package_index_find(struct slice page, const char *content_type, const char *page_url,
                            const char *file, char *url, size_t url_bytes,
                            struct err_text *t) MUST_CHECK;

#endif
