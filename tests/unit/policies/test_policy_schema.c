/* The schema and the reference say what the table says; the table is sound. */
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include "policies/policy_schema.h"
#include "policies/policy_spec.h"
#include "tests/unit/policies/policy_fixture.h"

/* Every key of an object, by what the schema says of it; then the objects below. */
static void check_object(json_t *root, json_t *schema, const struct spec_object *o,
                         const struct buf *reference)
{
    assert_true(json_is_false(json_object_get(schema, "additionalProperties")));
    json_t *properties = json_object_get(schema, "properties");
    for (size_t i = 0; i < o->count; i++) {
        const struct spec_key *k = &o->keys[i];
        json_t *property = json_object_get(properties, k->name);
        assert_non_null(k->help);
        assert_true(k->help[strlen(k->help) - 1] == '.');
        char row[128];
        snprintf(row, sizeof row, "| `%s` |", k->name);
        fixture_has(reference, row);
        assert_non_null(property);
        assert_string_equal(json_string_value(json_object_get(property, "description")), k->help);
        assert_int_equal(json_object_get(property, "default") != NULL, k->deflt != NULL);
        assert_false((k->flags & SPEC_REQUIRED) && k->deflt);
        if (k->object)
            check_object(root, json_object_get(json_object_get(root, "$defs"), k->object->name),
                         k->object, reference);
    }
    assert_int_equal(json_object_size(properties), o->count);
}

/* Every $ref leads to a definition. */
static void check_references(json_t *root, json_t *v)
{
    const char *key;
    size_t i;
    json_t *below, *defs = json_object_get(root, "$defs");
    json_object_foreach(v, key, below)
    {
        if (strcmp(key, "$ref") == 0) {
            const char *to = json_string_value(below);
            assert_true(strncmp(to, "#/$defs/", 8) == 0);
            assert_non_null(json_object_get(defs, to + 8));
            assert_null(strpbrk(to, " \t"));
        }
        check_references(root, below);
    }
    json_array_foreach(v, i, below) check_references(root, below);
}

static void test_schema(void **state)
{
    (void)state;
    struct buf schema, reference;
    buf_init(&schema, 1 << 20);
    buf_init(&reference, 1 << 20);
    assert_int_equal(policy_schema_write(&schema), ERR_OK);
    assert_int_equal(policy_reference_write(&reference), ERR_OK);
    json_error_t error;
    json_t *root =
        json_loadb(buf_slice(&schema).p, buf_len(&schema), JSON_REJECT_DUPLICATES, &error);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "$schema")),
                        "https://json-schema.org/draft/2020-12/schema");
    check_object(root, root, &spec_policy, &reference);
    check_references(root, root);
    json_decref(root);
    buf_clear(&schema);
    buf_clear(&reference);
}

/* policies/REFERENCE.md is the generated text; WEIR_GOLDEN_UPDATE=1 writes it. */
static void test_reference_is_committed(void **state)
{
    (void)state;
    static const char path[] = "policies/REFERENCE.md";
    struct buf want, got;
    char block[4096];
    size_t n;
    buf_init(&want, 1 << 20);
    buf_init(&got, 1 << 20);
    assert_int_equal(policy_reference_write(&want), ERR_OK);
    bool update = getenv("WEIR_GOLDEN_UPDATE") != NULL;
    FILE *f = fopen(path, update ? "wb" : "rb");
    assert_non_null(f);
    if (update)
        assert_int_equal(fwrite(buf_slice(&want).p, 1, buf_len(&want), f), buf_len(&want));
    while (!update && (n = fread(block, 1, sizeof block, f)) > 0)
        assert_int_equal(buf_append(&got, block, n), ERR_OK);
    fclose(f);
    if (!update && !slice_eq(buf_slice(&want), buf_slice(&got)))
        fail_msg("%s is not what the table says; run this test with WEIR_GOLDEN_UPDATE=1", path);
    buf_clear(&want);
    buf_clear(&got);
}

static void test_full_buffer(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 64);
    assert_int_equal(policy_schema_write(&out), ERR_TOO_LARGE);
    buf_reset(&out);
    assert_int_equal(policy_reference_write(&out), ERR_TOO_LARGE);
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schema),
                                       cmocka_unit_test(test_reference_is_committed),
                                       cmocka_unit_test(test_full_buffer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
