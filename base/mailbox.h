/* Messages to a thread: a list under a short lock, and an eventfd that wakes the receiver only when
 * the list was empty. A message is handed over whole; after mailbox_post the sender must not touch
 * it. Many senders, one receiver. */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include "base/list.h"

struct message {
    struct list link;
    void (*deliver)(struct message *m,
                    void *receiver_ctx); /* runs on the receiver's thread; owns m */
    void (*discard)(struct message *m);  /* frees m if the mailbox is closed first */
};

struct mailbox {
    pthread_mutex_t lock;
    struct list queue; /* of struct message */
    int fd;            /* eventfd: the receiver's loop polls it for reading */
    bool closed;
};

int mailbox_init(struct mailbox *mb);   /* 0, or -1 with errno */
void mailbox_close(struct mailbox *mb); /* later posts are discarded; pending ones too */
void mailbox_clear(struct mailbox *mb); /* closes the eventfd; after every sender is gone */
/* false (and the message is discarded) when the mailbox is closed. */
bool mailbox_post(struct mailbox *mb, struct message *m);
/* Delivers everything queued at the time of the call, in order. Receiver thread only. Returns how
 * many. */
size_t mailbox_drain(struct mailbox *mb, void *receiver_ctx);

#endif
