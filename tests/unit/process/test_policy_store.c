/* Files written whole, and the versions of a policy kept with them. Real files in a temporary
 * directory. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/atomic_file.h"
#include "gateway/policy_store.h"

static char dir[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_policy_store.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

/* The entries of a directory; each is handed to each() when that is not NULL. */
static size_t list(const char *path, void (*each)(const char *path))
{
    size_t n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.' && (!e->d_name[1] || e->d_name[1] == '.'))
            continue;
        char full[600];
        snprintf(full, sizeof full, "%s/%s", path, e->d_name);
        n++;
        if (each)
            each(full);
    }
    closedir(d);
    return n;
}

static void remove_tree(const char *path)
{
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        list(path, remove_tree);
        rmdir(path);
    } else {
        unlink(path);
    }
}

static int tear_down(void **state)
{
    (void)state;
    remove_tree(dir);
    return 0;
}

static const char *in_dir(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void assert_file(const char *path, const char *text)
{
    char *got;
    size_t n;
    struct err_text t;
    assert_int_equal(atomic_file_read(path, 1 << 20, &got, &n, &t), ERR_OK);
    assert_int_equal(n, strlen(text));
    assert_string_equal(got, text);
    free(got);
}

/* ---- atomic_file ---- */

static void test_write_and_read(void **state)
{
    (void)state;
    const char *path = in_dir("f");
    struct err_text t;
    struct stat st;
    assert_int_equal(atomic_file_write(path, 0600, SLICE("one"), &t), ERR_OK);
    assert_file(path, "one");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(atomic_file_write(path, 0600, SLICE(""), &t), ERR_OK);
    assert_file(path, "");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640); /* kept */
    assert_int_equal(list(dir, NULL), 1);       /* no temporary file */
}

static void test_a_failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    const char *path = in_dir("f");
    struct err_text t = {""};
    assert_int_equal(atomic_file_write(path, 0600, SLICE("old"), &t), ERR_OK);
    static char big[65536];
    struct rlimit was, small = {1024, RLIM_INFINITY};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small.rlim_max = was.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum err e = atomic_file_write(path, 0600, slice_make(big, sizeof big), &t);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(e, ERR_INTERNAL);
    assert_non_null(strstr(t.s, path));
    assert_file(path, "old");
    assert_int_equal(list(dir, NULL), 1);
}

static void test_a_link_stays_and_its_target_is_replaced(void **state)
{
    (void)state;
    struct err_text t = {""};
    struct stat st;
    assert_int_equal(mkdir(in_dir("far"), 0700), 0);
    assert_int_equal(atomic_file_write(in_dir("far/f"), 0640, SLICE("old"), &t), ERR_OK);
    assert_int_equal(symlink("far/f", in_dir("link")), 0);
    assert_int_equal(atomic_file_write(in_dir("link"), 0600, SLICE("new"), &t), ERR_OK);
    assert_int_equal(lstat(in_dir("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_file(in_dir("far/f"), "new");
    assert_int_equal(stat(in_dir("far/f"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640); /* of the target, kept */
    assert_int_equal(list(in_dir("far"), NULL), 1);
}

/* `--html /dev/stdout` by root must not put a file where the device was. */
static void test_what_is_no_file_is_not_replaced(void **state)
{
    (void)state;
    struct err_text t = {""};
    struct stat st;
    assert_int_equal(mkfifo(in_dir("pipe"), 0600), 0);
    assert_int_equal(symlink("pipe", in_dir("to-pipe")), 0);
    static const char *const names[] = {"pipe", "to-pipe"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(atomic_file_write(in_dir(names[i]), 0600, SLICE("x"), &t), ERR_INTERNAL);
        assert_non_null(strstr(t.s, "not a regular file"));
    }
    assert_int_equal(lstat(in_dir("pipe"), &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    assert_int_equal(lstat(in_dir("to-pipe"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(list(dir, NULL), 2);
}

static void test_what_a_killed_writer_left_is_swept(void **state)
{
    (void)state;
    static const char *const stay[] = {"f",        "f.mark",   "f.abcdefg",
                                       "f.abc-ef", "g.abcdef", "fabcdef"};
    struct err_text t;
    for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
        assert_int_equal(atomic_file_write(in_dir(stay[i]), 0600, SLICE("x"), &t), ERR_OK);
    assert_int_equal(atomic_file_write(in_dir("f.aB3dEf"), 0600, SLICE("half"), &t), ERR_OK);
    atomic_file_sweep(in_dir("f"));
    assert_int_equal(list(dir, NULL), sizeof stay / sizeof *stay);
    assert_int_equal(access(in_dir("f.aB3dEf"), F_OK), -1);
    atomic_file_sweep(in_dir("none/f")); /* no such folder: nothing to do */
}

static void test_what_cannot_be_read(void **state)
{
    (void)state;
    char *text;
    size_t n;
    struct err_text t;
    assert_int_equal(atomic_file_read(in_dir("none"), 10, &text, &n, &t), ERR_NOT_FOUND);
    assert_int_equal(atomic_file_read(dir, 10, &text, &n, &t), ERR_NOT_FOUND);
    assert_int_equal(mkfifo(in_dir("pipe"), 0600), 0); /* must not wait for a writer */
    assert_int_equal(atomic_file_read(in_dir("pipe"), 10, &text, &n, &t), ERR_NOT_FOUND);
    assert_int_equal(atomic_file_write(in_dir("f"), 0600, SLICE("12345678901"), &t), ERR_OK);
    assert_int_equal(atomic_file_read(in_dir("f"), 10, &text, &n, &t), ERR_TOO_LARGE);
    assert_int_equal(atomic_file_write(in_dir("no/f"), 0600, SLICE("x"), &t), ERR_INTERNAL);
    assert_int_equal(mkdir(in_dir("taken"), 0700), 0);
    assert_int_equal(atomic_file_write(in_dir("taken"), 0600, SLICE("x"), &t), ERR_INTERNAL);
}

/* ---- policy_store ---- */

static struct policy_store *open_store(void)
{
    struct err_text t = {""};
    struct policy_store *s = policy_store_open(in_dir("policies"), &t);
    if (!s)
        fail_msg("%s", t.s);
    return s;
}

static int64_t add(struct policy_store *s, const char *version, const char *text)
{
    int64_t serial;
    struct err_text t;
    assert_int_equal(policy_store_add(s, version, "test", slice_str(text), &serial, &t), ERR_OK);
    return serial;
}

static void assert_text(struct policy_store *s, int64_t serial, const char *expected)
{
    char *text;
    size_t n;
    struct err_text t;
    const struct policy_store_entry *e = policy_store_find(s, serial);
    assert_non_null(e);
    assert_int_equal(policy_store_text(s, e, &text, &n, &t), ERR_OK);
    assert_string_equal(text, expected);
    free(text);
}

static void test_versions_are_kept(void **state)
{
    (void)state;
    struct policy_store *s = open_store();
    assert_int_equal(add(s, "aaaaaaaaaaaa", "a: 1\n"), 1);
    assert_int_equal(add(s, "aaaaaaaaaaaa", "a: 1\n"), 1); /* the newest again */
    assert_int_equal(add(s, "bbbbbbbbbbbb", "b: 1\n"), 2);
    assert_int_equal(add(s, "aaaaaaaaaaaa", "a: 1\n"),
                     3); /* back to an older one is a step of its own */
    policy_store_close(s);
    s = open_store();
    assert_int_equal(policy_store_count(s), 3);
    assert_string_equal(policy_store_at(s, 1)->version, "bbbbbbbbbbbb");
    assert_string_equal(policy_store_at(s, 1)->origin, "test");
    assert_true(policy_store_at(s, 0)->wall_us <= policy_store_at(s, 2)->wall_us);
    assert_text(s, 2, "b: 1\n");
    assert_null(policy_store_find(s, 0));
    assert_null(policy_store_find(s, 4));
    assert_int_equal(add(s, "cccccccccccc", ""), 4);
    policy_store_close(s);
}

static void test_a_hostile_index_names_no_other_files(void **state)
{
    (void)state;
    struct err_text t;
    policy_store_close(open_store());
    static const char index[] =
        "{\"serial\":1,\"version\":\"../../../etc/passwd\",\"loaded_wall_us\":1,\"origin\":\"x\"}\n"
        "{\"serial\":2,\"version\":\"\",\"loaded_wall_us\":1,\"origin\":\"x\"}\n"
        "{\"serial\":-3,\"version\":\"aa\",\"loaded_wall_us\":1,\"origin\":\"x\"}\n"
        "{\"serial\":5,\"version\":\"aa\",\"loaded_wall_us\":1,\"origin\":\"x\"}\n"
        "{\"serial\":5,\"version\":\"bb\",\"loaded_wall_us\":1,\"origin\":\"x\"}\n"
        "{\"serial\":4,\"version\":\"bb\",\"loaded_wall_us\":1,\"origin\":\"x\"}\n"
        "{\"serial\":\"6\",\"version\":\"bb\",\"loaded_wall_us\":1,\"origin\":\"x\"}\n"
        "\n[]\nnull\n\xff\xfe\n{\"serial\":7";
    assert_int_equal(atomic_file_write(in_dir("policies/index.jsonl"), 0600,
                                       slice_make(index, sizeof index - 1), &t),
                     ERR_OK);
    struct policy_store *s = open_store();
    assert_int_equal(policy_store_count(s), 1);
    char *text;
    size_t n;
    assert_int_equal(policy_store_text(s, policy_store_find(s, 5), &text, &n, &t),
                     ERR_NOT_FOUND); /* its file is gone */
    assert_int_equal(add(s, "cc", "c"), 6);
    policy_store_close(s);
}

static void test_the_index_cut_at_every_byte_still_opens(void **state)
{
    (void)state;
    struct err_text t;
    struct policy_store *s = open_store();
    add(s, "aa", "a");
    add(s, "bb", "b");
    policy_store_close(s);
    char *whole;
    size_t n;
    assert_int_equal(atomic_file_read(in_dir("policies/index.jsonl"), 1 << 20, &whole, &n, &t),
                     ERR_OK);
    for (size_t cut = 0; cut <= n; cut++) {
        assert_int_equal(
            atomic_file_write(in_dir("policies/index.jsonl"), 0600, slice_make(whole, cut), &t),
            ERR_OK);
        s = open_store();
        size_t lines = 0;
        for (size_t i = 0; i < cut; i++)
            lines += whole[i] == '\n';
        assert_int_equal(policy_store_count(s), lines);
        policy_store_close(s);
    }
    free(whole);
}

static void test_a_failed_add_changes_nothing(void **state)
{
    (void)state;
    struct policy_store *s = open_store();
    struct err_text t = {""};
    int64_t serial;
    add(s, "aa", "a");
    remove_tree(in_dir("policies"));
    assert_int_equal(policy_store_add(s, "bb", "test", SLICE("b"), &serial, &t), ERR_INTERNAL);
    assert_string_not_equal(t.s, "");
    assert_int_equal(policy_store_count(s), 1);
    assert_int_equal(mkdir(in_dir("policies"), 0700), 0);
    assert_int_equal(add(s, "bb", "b"), 2);
    policy_store_close(s);
}

static void test_only_the_newest_are_kept(void **state)
{
    (void)state;
    struct policy_store *s = open_store();
    char version[16];
    for (int i = 1; i <= POLICY_STORE_KEEP + 3; i++) {
        snprintf(version, sizeof version, "%06x", (unsigned)i);
        assert_int_equal(add(s, version, version), i);
    }
    for (int round = 0; round < 2; round++) {
        assert_int_equal(policy_store_count(s), POLICY_STORE_KEEP);
        assert_int_equal(policy_store_at(s, 0)->serial, 4);
        assert_null(policy_store_find(s, 3));
        assert_text(s, 4, "000004");
        assert_int_equal(list(in_dir("policies"), NULL), POLICY_STORE_KEEP + 1);
        policy_store_close(s);
        s = open_store();
    }
    policy_store_close(s);
}

static void test_a_store_that_cannot_be(void **state)
{
    (void)state;
    struct err_text t = {""};
    assert_null(policy_store_open(in_dir("no/such"), &t));
    assert_string_not_equal(t.s, "");
    assert_int_equal(atomic_file_write(in_dir("file"), 0600, SLICE("x"), &t), ERR_OK);
    assert_null(policy_store_open(in_dir("file"), &t));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_write_and_read),
        TEST(test_a_failed_write_leaves_the_old_file),
        TEST(test_a_link_stays_and_its_target_is_replaced),
        TEST(test_what_is_no_file_is_not_replaced),
        TEST(test_what_a_killed_writer_left_is_swept),
        TEST(test_what_cannot_be_read),
        TEST(test_versions_are_kept),
        TEST(test_a_hostile_index_names_no_other_files),
        TEST(test_the_index_cut_at_every_byte_still_opens),
        TEST(test_a_failed_add_changes_nothing),
        TEST(test_only_the_newest_are_kept),
        TEST(test_a_store_that_cannot_be),
    };
    return cmocka_run_group_tests_name("policy_store", tests, NULL, NULL);
}
