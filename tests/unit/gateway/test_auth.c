/* gateway/auth: keys in the headers that clients use, and everything that is not a key. */
#include <cmocka.h>
#include <openssl/sha.h>
#include <stdio.h>
#include "gateway/auth.h"

static struct policy_key keys[3];
static struct policy_tenant tenants[] = {
    {.name = "acme", .keys = &keys[0], .key_count = 2},
    {.name = "ops", .keys = &keys[2], .key_count = 1, .admin = true},
    {.name = "nobody"},
};
static const struct policy with_keys = {.tenants = tenants, .tenant_count = 3};
static const struct policy without_keys = {0};

static int hash_keys(void **state)
{
    static const char *const plain[3] = {"sk-one", "sk-two", "sk-ops"};
    (void)state;
    for (int i = 0; i < 3; i++)
        SHA256((const unsigned char *)plain[i], strlen(plain[i]), keys[i].sha256);
    return 0;
}

typedef enum err (*check_fn)(const struct policy *, const struct http1_head *,
                             const struct policy_tenant **, const char **);

static enum err check(check_fn fn, const struct policy *p, const char *header_lines,
                      const char **tenant, const char **message)
{
    char text[1024];
    struct http1_head head;
    size_t scanned = 0;
    enum err err;
    const char *why;
    const struct policy_tenant *found;
    snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", header_lines);
    assert_int_equal(http1_parse_request(slice_str(text), &scanned, &head, &err, &why), HTTP1_DONE);
    enum err e = fn(p, &head, &found, message);
    *tenant = found ? found->name : NULL;
    return e;
}

static void keys_of_every_kind(void **state)
{
    static const struct {
        const char *headers, *tenant; /* NULL: refused */
    } cases[] = {
        {"Authorization: Bearer sk-one\r\n", "acme"},
        {"Authorization: Bearer sk-two\r\n", "acme"},
        {"authorization: bearer sk-ops\r\n", "ops"},
        {"Authorization: BEARER   sk-one \r\n", "acme"},
        {"x-api-key: sk-two\r\n", "acme"},
        {"X-Api-Key: sk-ops\r\n", "ops"},
        {"api-key: sk-one\r\n", "acme"},
        {"Authorization: Bearer sk-one\r\nx-api-key: sk-one\r\n", "acme"},
        {"Authorization: Bearer sk-one\r\nAuthorization: Bearer sk-one\r\n", "acme"},
        {"Authorization: Basic abc\r\nx-api-key: sk-one\r\n", "acme"},
        {"Authorization: Bearer\r\nx-api-key: sk-one\r\n", "acme"},
        /* differing keys: whose money would it be? */
        {"Authorization: Bearer sk-one\r\nx-api-key: sk-ops\r\n", NULL},
        {"Authorization: Bearer sk-one\r\nAuthorization: Bearer sk-two\r\n", NULL},
        {"x-api-key: sk-one\r\napi-key: sk-one2\r\n", NULL},
        {"x-api-key: sk-ops\r\napi-key: sk-one\r\nAuthorization: Bearer sk-ops\r\n", NULL},
        /* no key, or not one */
        {"", NULL},
        {"Authorization:\r\n", NULL},
        {"Authorization: Bearer\r\n", NULL},
        {"Authorization: Bearer   \r\n", NULL},
        {"Authorization: sk-one\r\n", NULL},
        {"Authorization: Basic sk-one\r\n", NULL},
        {"Authorization: Bearersk-one\r\n", NULL},
        {"x-api-key:\r\n", NULL},
        {"Authorization: Bearer sk-on\r\n", NULL},
        {"Authorization: Bearer sk-onee\r\n", NULL},
        {"Authorization: Bearer SK-ONE\r\n", NULL},
        {"Authorization: Bearer sk-one sk-one\r\n", NULL},
        {"Authorization: Bearer Bearer sk-one\r\n", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *tenant, *message;
        enum err e = check(auth_check, &with_keys, cases[i].headers, &tenant, &message);
        if (e != (cases[i].tenant ? ERR_OK : ERR_UNAUTHORIZED))
            fail_msg("%s: %s", cases[i].headers, err_name(e));
        if (cases[i].tenant) {
            assert_string_equal(tenant, cases[i].tenant);
        } else {
            assert_null(tenant);
            assert_non_null(message);
            assert_null(strstr(message, "sk-"));
        }
    }
}

static void without_tenants_everyone_is_welcome(void **state)
{
    const char *tenant, *message;
    (void)state;
    assert_int_equal(check(auth_check, &without_keys, "", &tenant, &message), ERR_OK);
    assert_null(tenant);
    assert_int_equal(
        check(auth_check, &without_keys, "Authorization: Bearer any\r\n", &tenant, &message),
        ERR_OK);
    assert_int_equal(check(auth_check_admin, &without_keys, "", &tenant, &message), ERR_OK);
}

static void admin(void **state)
{
    const char *tenant, *message;
    (void)state;
    assert_int_equal(
        check(auth_check_admin, &with_keys, "Authorization: Bearer sk-ops\r\n", &tenant, &message),
        ERR_OK);
    assert_string_equal(tenant, "ops");
    assert_int_equal(
        check(auth_check_admin, &with_keys, "Authorization: Bearer sk-one\r\n", &tenant, &message),
        ERR_FORBIDDEN);
    assert_non_null(message);
    assert_int_equal(
        check(auth_check_admin, &with_keys, "Authorization: Bearer sk-no\r\n", &tenant, &message),
        ERR_UNAUTHORIZED);
    assert_int_equal(check(auth_check_admin, &with_keys, "", &tenant, &message), ERR_UNAUTHORIZED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_every_kind),
        cmocka_unit_test(without_tenants_everyone_is_welcome),
        cmocka_unit_test(admin),
    };
    return cmocka_run_group_tests(tests, hash_keys, NULL);
}
