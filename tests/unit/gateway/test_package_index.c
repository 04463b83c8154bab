/* Pages of package indexes, as several real ones write them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "gateway/package_index.h"

#define FILE_NAME "gt_x-0.1.0-py3-none-any.whl"
#define PAGE      "https://pypi.example/simple/gt-x/"

static void test_found(void **state)
{
    (void)state;
    static const struct {
        const char *page, *type, *from, *url;
    } rows[] = {
        {"{\"files\": [{\"filename\": \"gt_x-0.0.9-py3-none-any.whl\", \"url\": \"https://f/0\"},"
         " {\"filename\": \"" FILE_NAME "\", \"url\": \"https://files.example/a/" FILE_NAME "\","
         " \"hashes\": {\"sha256\": \"00\"}}], \"name\": \"gt-x\"}",
         "application/vnd.pypi.simple.v1+json", PAGE, "https://files.example/a/" FILE_NAME},
        {" {\"files\": [{\"filename\": \"" FILE_NAME "\", \"url\": \"..\\/..\\/f/" FILE_NAME
         "#sha256=ab\"}]}",
         "", PAGE, "https://pypi.example/f/" FILE_NAME},
        {"<!DOCTYPE html><html><body><h1>Links</h1>\n<a "
         "href=\"https://f.example/b/" FILE_NAME "#sha256=cd\" data-requires-python=\"&gt;=3\" "
         ">" FILE_NAME "</a><br/>",
         "text/html", PAGE, "https://f.example/b/" FILE_NAME},
        {"<A\n class=x\tHREF = '../../packages/" FILE_NAME "?a=1&amp;b=2' rel=internal>x</A>",
         "text/html; charset=utf-8", PAGE, "https://pypi.example/packages/" FILE_NAME "?a=1&b=2"},
        {"<abbr href=\"" FILE_NAME "\"><a href=other/" FILE_NAME ">", "", PAGE,
         "https://pypi.example/simple/gt-x/other/" FILE_NAME},
        {"<a href=\"/z/x" FILE_NAME "\"></a><a href=\"/z/" FILE_NAME "\">", "", PAGE,
         "https://pypi.example/z/" FILE_NAME},
        /* Who may read the page may read the file, on this host and no other. */
        {"<a href=\"/z/" FILE_NAME "\">", "", "https://me:secret@pypi.example/simple/gt-x/",
         "https://me:secret@pypi.example/z/" FILE_NAME},
        {"<a href=\"https://pypi.example/z/" FILE_NAME "\">", "",
         "https://me:secret@pypi.example/simple/gt-x/",
         "https://me:secret@pypi.example/z/" FILE_NAME},
        {"<a href=\"https://other.example/z/" FILE_NAME "\">", "",
         "https://me:secret@pypi.example/simple/gt-x/", "https://other.example/z/" FILE_NAME},
        {"<a href=\"http://pypi.example/z/" FILE_NAME "\">", "",
         "https://me:secret@pypi.example/simple/gt-x/", "http://pypi.example/z/" FILE_NAME},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char url[512];
        struct err_text t = {""};
        if (package_index_find(slice_str(rows[i].page), rows[i].type, rows[i].from, FILE_NAME, url,
                               sizeof url, &t) != ERR_OK)
            fail_msg("row %zu: %s", i, t.s);
        assert_string_equal(url, rows[i].url);
    }
}

static void test_not_found(void **state)
{
    (void)state;
    static const struct {
        const char *page, *type;
        enum err e;
    } rows[] = {
        {"", "text/html", ERR_NOT_FOUND},
        {"<a href=\"x.whl\">", "text/html", ERR_NOT_FOUND},
        {"<a href=\"" FILE_NAME, "text/html", ERR_OK}, /* cut behind the name: found */
        {"<a href", "text/html", ERR_NOT_FOUND},
        {"<a ", "text/html", ERR_NOT_FOUND},
        {"<a", "text/html", ERR_NOT_FOUND},
        {"{\"files\": []}", "application/json", ERR_NOT_FOUND},
        {"{\"files\": [1, {}, {\"filename\": 5, \"url\": \"u\"}]}", "", ERR_NOT_FOUND},
        {"{\"files\": {}}", "application/json", ERR_UPSTREAM_PROTOCOL},
        {"{\"files\": [", "application/json", ERR_UPSTREAM_PROTOCOL},
        {"[]", "application/json", ERR_UPSTREAM_PROTOCOL},
        {"", "application/json", ERR_UPSTREAM_PROTOCOL},
        {"{\"files\": [{\"filename\": \"" FILE_NAME "\", \"url\": \"file:///etc/passwd\"}]}", "",
         ERR_UPSTREAM_PROTOCOL},
        {"<a href=\"ftp://x/" FILE_NAME "\">", "", ERR_UPSTREAM_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char url[512];
        struct err_text t = {""};
        enum err e = package_index_find(slice_str(rows[i].page), rows[i].type, PAGE, FILE_NAME, url,
                                        sizeof url, &t);
        if (e != rows[i].e)
            fail_msg("row %zu: %s %s", i, err_name(e), t.s);
        assert_true(e == ERR_OK || t.s[0]);
    }
}

/* Every prefix of a page, in its own block: no read beyond it. */
static void test_every_cut(void **state)
{
    (void)state;
    static const char *const pages[] = {
        "<!DOCTYPE html><a data-x='1' href = \"/a&amp;b/" FILE_NAME "#sha256=1\" z>q</a>",
        "{\"files\": [{\"filename\": \"" FILE_NAME "\", \"url\": \"https://f/" FILE_NAME "\"}]}"};
    for (size_t i = 0; i < 2; i++)
        for (size_t n = 0; n <= strlen(pages[i]); n++) {
            char url[512], *p = malloc(n ? n : 1);
            struct err_text t;
            assert_non_null(p);
            memcpy(p, pages[i], n);
            (void)!package_index_find(slice_make(p, n), "", PAGE, FILE_NAME, url, sizeof url, &t);
            free(p);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_not_found),
        cmocka_unit_test(test_every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
