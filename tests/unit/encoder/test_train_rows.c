/* Reading rows: both forms, compressed or not, several files, and each mistake at its line. */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include "router/encoder/train/rows.h"
#include "router/encoder/train/split.h"

static char path[64];

static void write_rows(const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static enum err read_text(struct rows *r, const char *text, const struct rows_options *opt,
                          struct err_text *t)
{
    const struct rows_options none = {.class_key = NULL};
    write_rows(text, strlen(text));
    rows_init(r);
    return rows_read(r, path, opt ? opt : &none, t);
}

static void plain_rows(void **state)
{
    (void)state;
    struct rows r;
    struct err_text t = {""};
    const char *text = "{\"text\":\"caf\\u00e9?\",\"label\":\"a\"}\r\n\n"
                       "{\"prompt\":\"x\",\"class\":\"b\",\"label\":\"ignored\",\"id\":[1,{}]}\n"
                       "{\"text\":\"no class\",\"label\":null}";
    assert_int_equal(read_text(&r, text, NULL, &t), ERR_OK);
    assert_int_equal(r.count, 3);
    assert_true(slice_eq(r.row[0].text, SLICE("caf\xc3\xa9?")));
    assert_int_equal(r.classes, 2);
    assert_int_equal(r.row[0].label, 0);
    assert_true(slice_eq(r.class_name[r.row[1].label], SLICE("b")));
    assert_int_equal(r.row[2].label, ROWS_NO_CLASS);
    assert_true(isnan(rows_score(&r.row[0], 0)));
    rows_clear(&r);
}

static void scores_belong_to_the_models_of_their_header(void **state)
{
    (void)state;
    struct rows r;
    struct err_text t = {""};
    const struct rows_options opt = {.class_key = NULL};
    const char *first = "{\"format\":\"routing-rows/1\",\"models\":[{\"name\":\"m\"},\"n\"]}\n"
                        "{\"prompt\":\"p\",\"s\":[1,null]}\n";
    const char *second = "{\"format\":\"routing-rows/1\",\"models\":[\"o\",\"m\"]}\n"
                         "{\"prompt\":\"q\",\"s\":[0.25,0]}\n";
    assert_int_equal(read_text(&r, first, NULL, &t), ERR_OK);
    write_rows(second, strlen(second));
    assert_int_equal(rows_read(&r, path, &opt, &t), ERR_OK);
    assert_int_equal(r.models, 3); /* m, n, o */
    assert_true(rows_score(&r.row[0], 0) == 1 && isnan(rows_score(&r.row[0], 1)));
    assert_true(isnan(rows_score(&r.row[0], 2)));
    assert_true(rows_score(&r.row[1], 0) == 0 && rows_score(&r.row[1], 2) == 0.25f);
    rows_clear(&r);
}

static void options_name_the_class(void **state)
{
    (void)state;
    struct rows r;
    struct err_text t = {""};
    const struct rows_options opt = {.class_key = "cls", .out_of_scope = "none"};
    const char *text = "{\"text\":\"a\",\"cls\":\"x\",\"class\":\"y\"}\n{\"text\":\"b\",\"cls\":"
                       "\"none\"}\n{\"text\":\"c\",\"label\":\"z\"}\n";
    assert_int_equal(read_text(&r, text, &opt, &t), ERR_OK);
    assert_int_equal(r.classes, 1);
    assert_true(slice_eq(r.class_name[0], SLICE("x")));
    assert_int_equal(r.row[1].label, ROWS_OUT_OF_SCOPE);
    assert_int_equal(r.row[2].label, ROWS_NO_CLASS);
    rows_clear(&r);
}

static void refused(const char *text, const char *why)
{
    struct rows r;
    struct err_text t = {""};
    assert_int_equal(read_text(&r, text, NULL, &t), ERR_BAD_REQUEST);
    if (!strstr(t.s, why) || strncmp(t.s, path, strlen(path)) != 0)
        fail_msg("'%s' does not say '%s' of the file", t.s, why);
    rows_clear(&r);
}

static void mistakes_have_a_line(void **state)
{
    (void)state;
    const char *header = "{\"format\":\"routing-rows/1\",\"models\":[\"m\",\"n\"]}\n";
    char text[512];
    refused("", "no rows");
    refused("\n\n", "no rows");
    refused("{\"format\":\"routing-rows/1\"}\n", "no rows");
    refused("{\"text\":\"a\"}\nnot json\n", ":2: not a JSON object, at byte 1");
    refused("{\"text\":\"a\"}\n[1]\n", ":2: not a JSON object");
    refused("{\"text\":\"\\ud800\xff\"}\n", ":1: not a JSON object, at byte 16");
    refused("{\"label\":\"a\"}\n", ":1: there is neither");
    refused("{\"text\":\"a\",\"prompt\":\"b\"}\n", ":1: both");
    refused("{\"text\":\" \\n\"}\n", ":1: the text is empty");
    refused("{\"text\":7}\n", ":1: 'text' is not a string");
    refused("{\"text\":\"a\",\"class\":3}\n", ":1: 'class' is not a string");
    refused("{\"text\":\"a\",\"label\":\"\"}\n", ":1: 'label' is empty");
    refused("{\"text\":\"a\",\"s\":[1]}\n", ":1: there are scores, but no header");
    refused("{\"format\":\"rows/2\"}\n", ":1: the format is \"rows/2\"");
    refused("{\"format\":\"routing-rows/1\",\"models\":{}}\n", ":1: 'models' is not an array");
    refused("{\"format\":\"routing-rows/1\",\"models\":[{\"id\":1}]}\n", ":1: model 1");
    refused("{\"format\":\"routing-rows/1\",\"models\":[\"m\",\"m\"]}\n", "'m' twice");
    const struct {
        const char *row, *why;
    } rows[] = {
        {"{\"text\":\"a\",\"s\":[1]}", ":2: there are 1 scores for the 2 models"},
        {"{\"text\":\"a\",\"s\":[1,0,1]}", ":2: there are more scores than the 2 models"},
        {"{\"text\":\"a\",\"s\":[1,\"x\"]}", ":2: score 2 is neither"},
        {"{\"text\":\"a\",\"s\":[1,1.5]}", ":2: score 2 is neither"},
        {"{\"text\":\"a\",\"s\":[1e999,0]}", ":2: score 1 is neither"},
        {"{\"text\":\"a\",\"s\":1}", ":2: 's' is not an array"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(text, sizeof text, "%s%s\n", header, rows[i].row);
        refused(text, rows[i].why);
    }
    struct rows r;
    struct err_text t = {""};
    const struct rows_options opt = {.class_key = NULL};
    rows_init(&r);
    assert_int_equal(rows_read(&r, "/no/such/file", &opt, &t), ERR_BAD_REQUEST);
    assert_non_null(strstr(t.s, "/no/such/file: No such file"));
    rows_clear(&r);
}

static void long_lines_are_bounded(void **state)
{
    (void)state;
    size_t n = (size_t)17 << 20;
    char *text = malloc(n + 1);
    memset(text, 'x', n);
    text[n] = '\0';
    memcpy(text, "{\"text\":\"", 9);
    refused(text, ":1: the line is longer than");
    text[(size_t)2 << 20] = '\0';
    memcpy(text + ((size_t)2 << 20) - 2, "\"}", 2);
    refused(text, ":1: the text is longer than");
    free(text);
}

/* The same rows out of a gzip file; the file cut off anywhere is an error, never fewer rows. */
static void compressed_rows(void **state)
{
    (void)state;
    static char text[40000], packed[40000];
    struct err_text t = {""};
    const struct rows_options opt = {.class_key = NULL};
    struct rows r;
    size_t n = 0;
    for (int i = 0; i < 500; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "{\"text\":\"number %d\"}\n", i * 7919);
    gzFile z = gzopen(path, "wb");
    gzwrite(z, text, (unsigned)n);
    gzclose(z);
    rows_init(&r);
    assert_int_equal(rows_read(&r, path, &opt, &t), ERR_OK);
    assert_int_equal(r.count, 500);
    rows_clear(&r);
    FILE *f = fopen(path, "rb");
    n = fread(packed, 1, sizeof packed, f);
    fclose(f);
    for (size_t cut = 2; cut < n; cut += 97) {
        write_rows(packed, cut);
        rows_init(&r);
        assert_int_equal(rows_read(&r, path, &opt, &t), ERR_BAD_REQUEST);
        rows_clear(&r);
    }
}

#define SPLIT_ROWS 1000

/* Shares hold within each label, equal texts stay together, another seed chooses others. */
static void splits_are_stratified_and_do_not_leak(void **state)
{
    (void)state;
    static char texts[SPLIT_ROWS][16];
    static struct split_row rows[SPLIT_ROWS];
    static bool held[SPLIT_ROWS], other[SPLIT_ROWS];
    static int fold[SPLIT_ROWS];
    size_t count[2] = {0, 0}, differ = 0, per_fold[5] = {0};
    for (int i = 0; i < SPLIT_ROWS; i++) {
        snprintf(texts[i], sizeof texts[i], "t%d", i / 2); /* every text twice */
        rows[i] = (struct split_row){slice_str(texts[i]), i / 2 % 10 == 0};
    }
    split_held_out(rows, SPLIT_ROWS, 0.2, 1, held);
    split_held_out(rows, SPLIT_ROWS, 0.2, 2, other);
    split_folds(rows, SPLIT_ROWS, 5, 1, fold);
    for (int i = 0; i < SPLIT_ROWS; i++) {
        count[rows[i].label] += held[i];
        differ += held[i] != other[i];
        per_fold[fold[i]]++;
        if (i % 2)
            assert_true(held[i] == held[i - 1] && fold[i] == fold[i - 1]);
    }
    assert_int_equal(count[0], 180);
    assert_int_equal(count[1], 20);
    assert_true(differ > 100);
    for (int k = 0; k < 5; k++)
        assert_int_equal(per_fold[k], SPLIT_ROWS / 5);
    struct split_row lonely[3] = {{SLICE("a"), 0}, {SLICE("a"), 0}, {SLICE("b"), 1}};
    split_held_out(lonely, 3, 0.9, 1, held);
    assert_false(held[0] || held[1] || held[2]);
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/weir-rows-%d", (int)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_rows),
        cmocka_unit_test(scores_belong_to_the_models_of_their_header),
        cmocka_unit_test(options_name_the_class),
        cmocka_unit_test(mistakes_have_a_line),
        cmocka_unit_test(long_lines_are_bounded),
        cmocka_unit_test(compressed_rows),
        cmocka_unit_test(splits_are_stratified_and_do_not_leak),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
