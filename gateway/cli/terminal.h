/* A terminal that a command draws on: keys as they are pressed, its size, the alternate screen, and
 * all of it put back on every way out. One at a time; main thread. */
#ifndef GATEWAY_CLI_TERMINAL_H
#define GATEWAY_CLI_TERMINAL_H

#include <stdbool.h>

/* false: standard input and output are no terminal. */
bool terminal_begin(void);
void terminal_end(void); /* twice is fine */
void terminal_size(int *rows, int *columns);

#define TERMINAL_NOTHING (-1) /* the time is over, or the size has changed */
#define TERMINAL_LEAVE   (-2) /* interrupt, hang-up, termination, or no more input */
/* The next key, after at most timeout_ms. Stops and goes on as job control says. */
int terminal_key(int timeout_ms);

#endif
