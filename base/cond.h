/* Conditions whose waits end at a time of clock_mono_us, so that a wall clock that is set does not
 * move them. Any thread. */
#ifndef BASE_COND_H
#define BASE_COND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

void cond_init(pthread_cond_t *c); /* pthread_cond_destroy ends it */
/* With the mutex held, as pthread_cond_timedwait. false: until_us is over. */
bool cond_wait_until(pthread_cond_t *c, pthread_mutex_t *mutex, int64_t until_us);

#endif
