/* base/thread: all signals are blocked in what is started, the starter's mask is as before, names,
 * what is reported when there is no thread. */
#include "base/thread.h"

#include <cmocka.h>
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>

#define NO_MEMORY_BYTES ((size_t)1 << 60) /* no address space has that */

struct seen {
    sigset_t mask;
    char name[16];
    int detached;
    bool ran;
    sem_t done;
};

static void *look(void *ctx)
{
    struct seen *s = ctx;
    pthread_attr_t attr;

    pthread_sigmask(SIG_SETMASK, NULL, &s->mask);
    pthread_getname_np(pthread_self(), s->name, sizeof s->name);
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getdetachstate(&attr, &s->detached);
        pthread_attr_destroy(&attr);
    }
    s->ran = true;
    sem_post(&s->done);
    return s;
}

/* Two signals between 31 and SIGRTMIN are the C library's own. */
static bool is_ours(int signo)
{
    return signo != SIGKILL && signo != SIGSTOP && (signo < 32 || signo >= SIGRTMIN);
}

static void assert_all_blocked(const sigset_t *mask)
{
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        if (is_ours(signo))
            assert_int_equal(sigismember(mask, signo), 1);
}

/* Neither empty nor full, so that neither passes for it. */
static void set_mask(sigset_t *mask)
{
    sigemptyset(mask);
    sigaddset(mask, SIGUSR1);
    sigaddset(mask, SIGRTMAX);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, mask, NULL), 0);
}

static void assert_mask(const sigset_t *mask)
{
    sigset_t now;

    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        if (is_ours(signo))
            assert_int_equal(sigismember(&now, signo), sigismember(mask, signo));
}

static void test_masks(void **state)
{
    (void)state;
    struct seen s = {.ran = false};
    pthread_t thread;
    sigset_t mask;
    void *result;

    sem_init(&s.done, 0, 0);
    set_mask(&mask);
    assert_int_equal(thread_start(&thread, "some", look, &s), 0);
    assert_mask(&mask);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &s);
    assert_all_blocked(&s.mask);
    sem_destroy(&s.done);
}

static void test_detached(void **state)
{
    (void)state;
    static struct seen s; /* the thread may still be leaving sem_post */
    sigset_t mask;

    sem_init(&s.done, 0, 0);
    set_mask(&mask);
    assert_int_equal(thread_start_detached(512 * 1024, look, &s), 0);
    assert_mask(&mask);
    while (sem_wait(&s.done) != 0)
        assert_int_equal(errno, EINTR);
    assert_all_blocked(&s.mask);
    assert_int_equal(s.detached, PTHREAD_CREATE_DETACHED);
}

static void assert_name(const char *given, const char *shown)
{
    struct seen s = {.ran = false};
    pthread_t thread;

    sem_init(&s.done, 0, 0);
    assert_int_equal(thread_start(&thread, given, look, &s), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(s.name, shown);
    assert_int_equal(s.detached, PTHREAD_CREATE_JOINABLE);
    sem_destroy(&s.done);
}

static void test_names(void **state)
{
    (void)state;
    char own[16];

    assert_int_equal(pthread_getname_np(pthread_self(), own, sizeof own), 0);
    assert_name("ledger", "ledger");
    assert_name("fifteen letters", "fifteen letters");
    assert_name("fifteen letters and more", "fifteen letters");
    assert_name("", "");
    assert_name(NULL, own);
    char now[16];
    assert_int_equal(pthread_getname_np(pthread_self(), now, sizeof now), 0);
    assert_string_equal(now, own);
}

static void test_no_thread(void **state)
{
    (void)state;
    struct seen s = {.ran = false};
    pthread_attr_t usual, huge;
    pthread_t thread;
    sigset_t mask;

    set_mask(&mask);
    assert_int_equal(thread_start_detached(1, look, &s), EINVAL);
    assert_int_equal(thread_start_detached(NO_MEMORY_BYTES, look, &s), EAGAIN);
    assert_int_equal(pthread_getattr_default_np(&usual), 0);
    assert_int_equal(pthread_getattr_default_np(&huge), 0);
    assert_int_equal(pthread_attr_setstacksize(&huge, NO_MEMORY_BYTES), 0);
    assert_int_equal(pthread_setattr_default_np(&huge), 0);
    int named = thread_start(&thread, "named", look, &s);
    int unnamed = thread_start(&thread, NULL, look, &s);
    int detached = thread_start_detached(0, look, &s);
    assert_int_equal(pthread_setattr_default_np(&usual), 0);
    assert_int_equal(named, EAGAIN);
    assert_int_equal(unnamed, EAGAIN);
    assert_int_equal(detached, EAGAIN);
    assert_false(s.ran);
    assert_mask(&mask);
    pthread_attr_destroy(&usual);
    pthread_attr_destroy(&huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_detached),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_no_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
