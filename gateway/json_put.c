/* Members of JSON objects. Called by api_admin, diag_json and the commands. */
#include "gateway/json_put.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/utf8.h"

json_t *json_put_slice(struct slice s)
{
    json_t *text = json_stringn(s.n ? s.p : "", s.n);
    if (text)
        return text;
    char *copy = mem_strdup(s);
    for (size_t i = 0, step; i < s.n; i += step) {
        step = utf8_char_bytes(copy + i, s.n - i);
        if (step == 0) {
            copy[i] = '?';
            step = 1;
        }
    }
    text = json_stringn(copy, s.n);
    free(copy);
    return text;
}

json_t *json_put_string(const char *s)
{
    return s ? json_put_slice(slice_str(s)) : json_null();
}

void json_put(json_t *object, const char *key, json_t *value)
{
    json_object_set_new(object, key, value ? value : json_null());
}

void json_put_text(json_t *object, const char *key, const char *s)
{
    json_put(object, key, json_put_string(s));
}

void json_put_int(json_t *object, const char *key, int64_t n)
{
    json_put(object, key, json_integer(n));
}

void json_put_bool(json_t *object, const char *key, bool b)
{
    json_put(object, key, json_boolean(b));
}

void json_put_share(json_t *object, const char *key, double x)
{
    json_put(object, key, x < 0 ? NULL : json_real(x));
}

void json_put_time(json_t *object, const char *key, int64_t wall_us)
{
    char text[32];
    clock_rfc3339(wall_us, text, sizeof text);
    json_put_text(object, key, text);
}
