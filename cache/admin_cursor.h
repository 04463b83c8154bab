/* A place in a listing as a word that an operator can hold: "0" begins and ends, as with Redis'
 * SCAN; else the kind of the store and where its scan had come to. It stays good while entries come
 * and go, and over a restart: what is there all the time is seen at least once. Pure. */
#ifndef CACHE_ADMIN_CURSOR_H
#define CACHE_ADMIN_CURSOR_H

#include "base/buf.h"

#define ADMIN_CURSOR_BYTES 48

/* kind: struct store_stat's; by_tag: of store_tagged, else of store_scan; place: what a
 * store_page_fn was given. */
void admin_cursor_write(const char *kind, bool by_tag, struct slice place,
                        char out[static ADMIN_CURSOR_BYTES]);
/* place: for such a call, in room; "" begins. false: no cursor of one of such a store. */
bool admin_cursor_read(const char *kind, bool by_tag, struct slice word,
                       char room[static ADMIN_CURSOR_BYTES], struct slice *place);

#endif
