/* Messages between threads. Owns queued messages between post and delivery; the lock is held for a
 * few pointer moves only, never while a message's own function runs. The eventfd is written only
 * when the queue was empty: a busy receiver costs its senders no system call. Post: any thread.
 * Drain: the receiver. */
#include "base/mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *mb)
{
    mb->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (mb->fd < 0)
        return -1;
    pthread_mutex_init(&mb->lock, NULL);
    list_init(&mb->queue);
    mb->closed = false;
    return 0;
}

/* Moves everything queued to the empty list `to`. */
static void take_all(struct mailbox *mb, struct list *to, bool close)
{
    list_init(to);
    pthread_mutex_lock(&mb->lock);
    mb->closed = mb->closed || close;
    if (!list_empty(&mb->queue)) {
        *to = mb->queue;
        to->next->prev = to;
        to->prev->next = to;
        list_init(&mb->queue);
    }
    pthread_mutex_unlock(&mb->lock);
}

static struct message *pop(struct list *l)
{
    if (list_empty(l))
        return NULL;
    struct message *m = CONTAINER_OF(l->next, struct message, link);
    list_remove(&m->link);
    return m;
}

void mailbox_close(struct mailbox *mb)
{
    struct list pending;
    take_all(mb, &pending, true);
    struct message *m;
    while ((m = pop(&pending)))
        m->discard(m);
}

void mailbox_clear(struct mailbox *mb)
{
    mailbox_close(mb);
    pthread_mutex_destroy(&mb->lock);
    close(mb->fd);
    mb->fd = -1;
}

bool mailbox_post(struct mailbox *mb, struct message *m)
{
    pthread_mutex_lock(&mb->lock);
    bool closed = mb->closed, was_empty = list_empty(&mb->queue);
    if (!closed)
        list_push_back(&mb->queue, &m->link);
    pthread_mutex_unlock(&mb->lock);
    if (closed) {
        m->discard(m);
        return false;
    }
    if (was_empty) {
        uint64_t one = 1;
        /* EAGAIN would mean a counter near 2^64: the receiver is awake anyway. */
        while (write(mb->fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
    return true;
}

size_t mailbox_drain(struct mailbox *mb, void *receiver_ctx)
{
    /* Reset before taking: a post between the two wakes the loop once too often, never once too
     * few. */
    uint64_t count;
    while (read(mb->fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    struct list batch;
    take_all(mb, &batch, false);
    size_t n = 0;
    struct message *m;
    while ((m = pop(&batch))) {
        m->deliver(m, receiver_ctx);
        n++;
    }
    return n;
}
