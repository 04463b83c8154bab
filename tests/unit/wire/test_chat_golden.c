/* Requests of every dialect as every server gets them: tests/golden/chat. What is written is also
 * read back by its own dialect's parser, and written again: the same bytes must come out. */
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json_scan.h"
#include "tests/unit/wire/chat_run.h"

#define DIR_PATH  "tests/golden/chat/"
#define MAX_BYTES (1 << 20)

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *text = malloc(MAX_BYTES);

    assert_non_null(text);
    *n = 0;
    if (f) {
        *n = fread(text, 1, MAX_BYTES, f);
        fclose(f);
    }
    return text;
}

/* "name.openai.json" -> OPENAI. */
static bool dialect_of(const char *file, enum chat_dialect *from)
{
    static const char *const ends[] = {".openai.json", ".anthropic.json", ".responses.json"};

    for (int i = 0; i < 3; i++) {
        size_t n = strlen(file), m = strlen(ends[i]);
        if (n > m && strcmp(file + n - m, ends[i]) == 0) {
            *from = (enum chat_dialect)i;
            return true;
        }
    }
    return false;
}

/* ---- one target ---- */

static void put(struct buf *b, struct slice s)
{
    assert_int_equal(buf_append_slice(b, s), ERR_OK);
}

/* What was written is a request of its dialect, and the writer's own words survive it. */
static void check_again(int target, struct slice body)
{
    enum chat_dialect own = target < QUIRK_SERVERS ? CHAT_OPENAI : CHAT_ANTHROPIC;
    struct chat_run again;
    struct buf out;
    const char *param;
    struct err_text t;

    chat_run_parse(&again, own, body);
    if (again.err)
        print_error("%s: %s\n%.*s\n", chat_run_target(target), again.text.s, SLICE_ARG(body));
    assert_int_equal(again.err, ERR_OK);
    buf_init(&out, MAX_BYTES);
    assert_int_equal(chat_run_write(&again, target, &out, &param, &t), ERR_OK);
    if (!slice_eq(buf_slice(&out), body))
        print_error("first  %.*s\nsecond %.*s\n", SLICE_ARG(body), SLICE_ARG(buf_slice(&out)));
    assert_true(slice_eq(buf_slice(&out), body));
    buf_clear(&out);
    chat_run_clear(&again);
}

/* One line: the body, or the refusal. */
static void line_of(struct chat_run *r, int target, struct buf *line)
{
    struct buf out;
    const char *param;
    struct err_text t;
    enum err err;

    buf_init(&out, MAX_BYTES);
    err = chat_run_write(r, target, &out, &param, &t);
    if (err) {
        assert_int_equal(buf_len(&out), 0);
        assert_int_equal(buf_printf(line, "%s, %s: %s", err_name(err), param, t.s), ERR_OK);
        buf_clear(&out);
        return;
    }
    assert_true(json_validate(buf_slice(&out), NULL));
    /* Mapped ids would be mapped again, so that none is taken for another; random_seed and prefix
     * are Mistral's own words. */
    if (r->chat.unknown == NULL && target != QUIRK_MISTRAL &&
        !memmem(out.data + out.head, buf_len(&out), "\"weir_", 6))
        check_again(target, buf_slice(&out));
    put(line, buf_slice(&out));
    buf_clear(&out);
}

/* ---- one file ---- */

static void print_all(struct chat_run *r, struct buf *all)
{
    struct buf first, line;

    buf_init(&first, MAX_BYTES);
    buf_init(&line, MAX_BYTES);
    assert_int_equal(buf_printf(all, "tokens: %lld\n", (long long)chat_estimate_tokens(&r->chat)),
                     ERR_OK);
    for (int target = 0; target < CHAT_RUN_TARGETS; target++) {
        struct buf *to = target == 0 ? &first : &line;
        buf_reset(to);
        line_of(r, target, to);
        assert_int_equal(buf_printf(all, "%s: ", chat_run_target(target)), ERR_OK);
        put(all, target && slice_eq(buf_slice(&line), buf_slice(&first)) ? SLICE("the same")
                                                                         : buf_slice(to));
        put(all, SLICE("\n"));
    }
    buf_clear(&first);
    buf_clear(&line);
}

/* With WEIR_GOLDEN_WRITE set the files are written instead, to be read by whoever changed them. */
static void compare(const char *path, struct slice got)
{
    size_t n;
    char *want = read_file(path, &n);
    bool same = slice_eq(slice_make(want, n), got);

    free(want);
    if (!same && getenv("WEIR_GOLDEN_WRITE")) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(got.p, 1, got.n, f), got.n);
        fclose(f);
        return;
    }
    if (!same)
        print_error("%s differs; got:\n%.*s\n", path, SLICE_ARG(got));
    assert_true(same);
}

static void check_file(const char *file, enum chat_dialect from)
{
    char path[512];
    size_t n;
    char *body;
    struct chat_run r;
    struct buf all;

    snprintf(path, sizeof(path), DIR_PATH "%s", file);
    body = read_file(path, &n);
    chat_run_parse(&r, from, slice_make(body, n));
    buf_init(&all, MAX_BYTES);
    if (r.err)
        assert_int_equal(
            buf_printf(&all, "%s, %s: %s\n", err_name(r.err), r.param ? r.param : "-", r.text.s),
            ERR_OK);
    else
        print_all(&r, &all);
    snprintf(path, sizeof(path), DIR_PATH "%.*s.out", (int)strlen(file) - 5, file);
    compare(path, buf_slice(&all));
    buf_clear(&all);
    chat_run_clear(&r);
    free(body);
}

static void test_files(void **state)
{
    DIR *dir = opendir(DIR_PATH);
    struct dirent *e;
    enum chat_dialect from;
    int files[3] = {0};

    (void)state;
    assert_non_null(dir);
    while ((e = readdir(dir)))
        if (dialect_of(e->d_name, &from)) {
            check_file(e->d_name, from);
            files[from]++;
        }
    closedir(dir);
    assert_true(files[CHAT_OPENAI] >= 10 && files[CHAT_ANTHROPIC] >= 10 &&
                files[CHAT_RESPONSES] >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_files)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
