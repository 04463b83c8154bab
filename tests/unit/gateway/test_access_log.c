/* gateway/access_log: whole lines, in time, whatever happens to the file. */
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "gateway/access_log.h"

static char dir[64], path[96], moved[96];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/weir_access_log_XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/access.log", dir);
    snprintf(moved, sizeof moved, "%s/access.log.1", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    unlink(moved);
    return rmdir(dir);
}

static struct buf contents(const char *file)
{
    struct buf b;
    char *room;
    size_t room_bytes;
    buf_init(&b, 64 << 20);
    int fd = open(file, O_RDONLY);
    for (ssize_t n = 1; fd >= 0 && n > 0;) {
        assert_int_equal(buf_reserve(&b, 65536, &room, &room_bytes), ERR_OK);
        n = read(fd, room, room_bytes);
        buf_commit(&b, n > 0 ? (size_t)n : 0);
    }
    if (fd >= 0)
        close(fd);
    return b;
}

static void expect_contents(const char *file, const char *expected)
{
    struct buf b = contents(file);
    if (!slice_eq(buf_slice(&b), slice_str(expected)))
        fail_msg("'%.*s' instead of '%s'", SLICE_ARG(buf_slice(&b)), expected);
    buf_clear(&b);
}

static void lines_wait_for_100_ms_or_16_kb(void **state)
{
    struct err_text t;
    struct access_log *a = access_log_open(path, &t);
    struct access_log_writer w;
    struct stat st;
    char line[1000];
    (void)state;
    assert_non_null(a);
    access_log_writer_init(&w, a);
    access_log_line(&w, SLICE("one"), 1000000);
    access_log_line(&w, SLICE("two"), 1099999);
    expect_contents(path, "");
    access_log_line(&w, SLICE("three"), 1100000);
    expect_contents(path, "one\ntwo\nthree\n");
    access_log_line(&w, SLICE("four"), 1100000);
    access_log_flush(&w);
    access_log_flush(&w);
    expect_contents(path, "one\ntwo\nthree\nfour\n");
    memset(line, 'x', sizeof line);
    for (int i = 0; i < 16; i++)
        access_log_line(&w, slice_make(line, sizeof line), 1200000);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 19);
    access_log_line(&w, slice_make(line, sizeof line), 1200000);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 19 + 17 * 1001);
    access_log_line(&w, SLICE("last"), 1200000);
    access_log_writer_clear(&w); /* flushes */
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 19 + 17 * 1001 + 5);
    access_log_close(a);
    unlink(path);
}

static void a_huge_line_is_cut_and_nothing_else_is(void **state)
{
    struct err_text t;
    struct access_log *a = access_log_open(path, &t);
    struct access_log_writer w;
    char *huge = malloc(1 << 20);
    (void)state;
    memset(huge, 'h', 1 << 20);
    access_log_writer_init(&w, a);
    access_log_line(&w, SLICE("before"), 0);
    access_log_line(&w, slice_make(huge, 1 << 20), 0);
    access_log_line(&w, SLICE("after"), 0);
    access_log_writer_clear(&w);
    struct buf b = contents(path);
    struct slice s = buf_slice(&b);
    assert_true(slice_starts(s, SLICE("before\nhhhh")));
    assert_memory_equal(s.p + s.n - 8, "h\nafter\n", 8);
    assert_true(s.n < 70000);
    buf_clear(&b);
    free(huge);
    access_log_close(a);
    unlink(path);
}

static void reopening_follows_the_name(void **state)
{
    struct err_text t;
    struct access_log *a = access_log_open(path, &t);
    struct access_log_writer w;
    (void)state;
    access_log_writer_init(&w, a);
    access_log_line(&w, SLICE("old"), 0);
    access_log_flush(&w);
    assert_int_equal(rename(path, moved), 0);
    access_log_line(&w, SLICE("still old"), 0);
    access_log_flush(&w);
    access_log_line(&w, SLICE("new"), 0);
    access_log_reopen(a);
    access_log_writer_clear(&w);
    expect_contents(moved, "old\nstill old\n");
    expect_contents(path, "new\n");
    access_log_close(a);
    unlink(path);
    unlink(moved);
}

static void a_name_that_cannot_be_opened(void **state)
{
    struct err_text t;
    (void)state;
    assert_null(access_log_open("/no/such/dir/access.log", &t));
    assert_non_null(strstr(t.s, "/no/such/dir/access.log"));
    assert_null(access_log_open(dir, &t));

    struct access_log *a = access_log_open("stderr", &t);
    assert_non_null(a);
    access_log_reopen(a);
    access_log_close(a);
    assert_true(fcntl(STDERR_FILENO, F_GETFD) >= 0); /* not ours to close */
}

static void without_a_log_every_call_is_a_no_op(void **state)
{
    struct access_log_writer w;
    (void)state;
    access_log_writer_init(&w, NULL);
    access_log_line(&w, SLICE("x"), 0);
    access_log_flush(&w);
    access_log_writer_clear(&w);
}

/* A full disk: the writer goes on, and later lines arrive once there is room. */
static void a_full_disk(void **state)
{
    struct err_text t;
    struct access_log *a = access_log_open(path, &t);
    struct access_log_writer w;
    struct rlimit before, tight;
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    access_log_writer_init(&w, a);
    access_log_line(&w, SLICE("fits"), 0);
    access_log_flush(&w);
    tight = (struct rlimit){.rlim_cur = 5, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tight);
    access_log_line(&w, SLICE("lost"), 0);
    access_log_flush(&w);
    setrlimit(RLIMIT_FSIZE, &before);
    access_log_line(&w, SLICE("fits again"), 0);
    access_log_writer_clear(&w);
    expect_contents(path, "fits\nfits again\n");
    access_log_close(a);
    unlink(path);
}

enum { WRITERS = 4, LINES = 5000 };

static void *write_lines(void *arg)
{
    struct access_log *a = arg;
    struct access_log_writer w;
    char line[64];
    access_log_writer_init(&w, a);
    for (int i = 0; i < LINES; i++) {
        int n = snprintf(line, sizeof line, "begin %0*d end", i % 40, i);
        access_log_line(&w, slice_make(line, (size_t)n), i);
    }
    access_log_writer_clear(&w);
    return NULL;
}

static void writers_do_not_tear_each_others_lines(void **state)
{
    struct err_text t;
    struct access_log *a = access_log_open(path, &t);
    pthread_t threads[WRITERS];
    (void)state;
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, a), 0);
    for (int i = 0; i < 20; i++)
        access_log_reopen(a);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    struct buf b = contents(path);
    struct slice s = buf_slice(&b);
    size_t lines = 0;
    while (s.n) {
        const char *lf = memchr(s.p, '\n', s.n);
        assert_non_null(lf);
        struct slice line = slice_make(s.p, (size_t)(lf - s.p));
        assert_true(slice_starts(line, SLICE("begin ")) && memcmp(lf - 4, " end", 4) == 0);
        s = slice_from(s, line.n + 1);
        lines++;
    }
    assert_int_equal(lines, WRITERS * LINES);
    buf_clear(&b);
    access_log_close(a);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_wait_for_100_ms_or_16_kb),
        cmocka_unit_test(a_huge_line_is_cut_and_nothing_else_is),
        cmocka_unit_test(reopening_follows_the_name),
        cmocka_unit_test(a_name_that_cannot_be_opened),
        cmocka_unit_test(without_a_log_every_call_is_a_no_op),
        cmocka_unit_test(a_full_disk),
        cmocka_unit_test(writers_do_not_tear_each_others_lines),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
