/* base/base64: the examples of RFC 4648 section 10, every length there and back, and what is none.
 */
#include <cmocka.h>
#include "base/base64.h"

static void examples(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[16];
        base64_encode(cases[i][0], strlen(cases[i][0]), text);
        assert_string_equal(text, cases[i][1]);
    }
}

static void there_and_back(void **state)
{
    unsigned char bytes[256], back[258];
    char text[BASE64_BYTES(256)];
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 167 + 3);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        base64_encode(bytes, len, text);
        assert_int_equal(strlen(text), BASE64_BYTES(len) - 1);
        assert_true(base64_decode(slice_str(text), back, &n));
        assert_int_equal(n, len);
        assert_memory_equal(back, bytes, len);
    }
}

static void what_is_none(void **state)
{
    static const char *const cases[] = {
        "Z",    "Zg",   "Zg=",   "=",    "====", "Z===",  "Zg==Zg==", "Zh==",
        "Zm9=", "Zm 8", "Zm\n8", "Zm-8", "Zm_8", "Zm9v=", "Zm=v",     "\xc3\xa4\xc3\xa4"};
    unsigned char out[16];
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (base64_decode(slice_str(cases[i]), out, &n))
            fail_msg("'%s' was taken", cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(examples), cmocka_unit_test(there_and_back),
                                       cmocka_unit_test(what_is_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
