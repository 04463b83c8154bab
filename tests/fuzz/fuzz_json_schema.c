/* Any JSON as a schema of any JSON: the text is split at its first zero byte. What must hold: the
 * result is one of three, a reason is given where there is something to say, `not` turns it around,
 * and two schemas under allOf are no laxer than either. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/json_schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static bool read_value(struct slice text, struct json_value *out)
{
    enum json_type type = JSON_NUMBER;

    while (text.n && memchr(" \t\r\n", text.p[0], 4))
        text = slice_from(text, 1);
    while (text.n && memchr(" \t\r\n", text.p[text.n - 1], 4))
        text.n--;
    if (!text.n || !json_validate(text, NULL))
        return false;
    switch (text.p[0]) {
    case 'n':
        type = JSON_NULL;
        break;
    case 't':
        type = JSON_TRUE;
        break;
    case 'f':
        type = JSON_FALSE;
        break;
    case '"':
        type = JSON_STRING;
        break;
    case '[':
        type = JSON_ARRAY;
        break;
    case '{':
        type = JSON_OBJECT;
        break;
    }
    *out = (struct json_value){type, text};
    return true;
}

static enum json_schema_result wrapped(const char *before, struct slice schema, const char *behind,
                                       struct json_value value)
{
    size_t room = schema.n + 64;
    char *text = malloc(room);
    struct json_value v;
    enum json_schema_result result;
    int n;

    must(text != NULL);
    n = snprintf(text, room, "%s%.*s%s", before, SLICE_ARG(schema), behind);
    must(read_value(slice_make(text, (size_t)n), &v));
    result = json_schema_check(v, value, NULL);
    free(text);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make((const char *)data, size);
    const char *zero = size ? memchr(in.p, 0, in.n) : NULL;
    struct json_value schema, value;
    enum json_schema_result plain, turned, both;
    struct err_text why;

    if (!zero || size > 4096 || !read_value(slice_make(in.p, (size_t)(zero - in.p)), &schema) ||
        !read_value(slice_from(in, (size_t)(zero - in.p) + 1), &value))
        return 0;
    plain = json_schema_check(schema, value, &why);
    must(plain == JSON_SCHEMA_PASS || plain == JSON_SCHEMA_FAIL || plain == JSON_SCHEMA_UNKNOWN);
    must(plain == JSON_SCHEMA_PASS || why.s[0] != '\0');
    if (memmem(schema.text.p, schema.text.n, "$ref", 4))
        return 0; /* the root would be another */
    turned = wrapped("{\"not\":", schema.text, "}", value);
    both = wrapped("{\"allOf\":[", schema.text, ",true]}", value);
    must(turned == JSON_SCHEMA_UNKNOWN || plain == JSON_SCHEMA_UNKNOWN || turned != plain);
    must(both == JSON_SCHEMA_UNKNOWN || plain == JSON_SCHEMA_UNKNOWN || both == plain);
    return 0;
}
