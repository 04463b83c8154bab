/* One connection: reads requests, plays replies. Created by the listener, frees itself when it
 * ends. Loop thread. */
#ifndef FLEET_CONN_H
#define FLEET_CONN_H

#include "tests/fleet/fleet.h"

void conn_open(struct fleet *f, struct fleet_port *port, int fd); /* takes fd */
void conn_close_all(struct fleet *f);

#endif
