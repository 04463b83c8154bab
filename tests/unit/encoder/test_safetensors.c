/* The safetensors reader and writer: a round trip, every dtype's numbers, and files that are wrong
 * in one way each, with the message that says so. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/atomic_file.h"
#include "router/encoder/safetensors.h"

static char dir[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_safetensors.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static const char *in_dir(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(in_dir("x.safetensors"));
    return rmdir(dir);
}

/* Length, header, zeroed data: on the heap in its own size, so that a sanitizer sees a read beyond
 * it. */
static char *file_of(uint64_t length, struct slice header, size_t data, size_t *n)
{
    *n = 8 + header.n + data;
    char *p = calloc(1, *n);
    assert_non_null(p);
    for (int i = 0; i < 8; i++)
        p[i] = (char)(length >> (8 * i));
    memcpy(p + 8, header.p, header.n);
    return p;
}

static void expect_refusal(struct slice bytes, const char *message)
{
    struct safetensors *s = NULL;
    struct err_text t = {""};
    assert_int_equal(safetensors_parse(bytes, &s, &t), ERR_BAD_WEIGHTS);
    assert_null(s);
    if (!strstr(t.s, message))
        fail_msg("expected '%s' in '%s'", message, t.s);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const float a[6] = {1, -2, 3.5F, 0, 1e-40F, -1e30F};
    static const uint8_t b[3] = {7, 8, 9};
    const struct tensor out[] = {
        {.name = SLICE("z.weight"),
         .dtype = TENSOR_F32,
         .rank = 2,
         .shape = {2, 3},
         .data = {(const char *)a, sizeof a}},
        {.name = SLICE("a \"quoted\"\xC3\xA9"),
         .dtype = TENSOR_U8,
         .rank = 1,
         .shape = {3},
         .data = {(const char *)b, sizeof b}},
        {.name = SLICE("empty"), .dtype = TENSOR_F32, .rank = 1, .shape = {0}, .data = {NULL, 0}},
        {.name = SLICE("scalar"), .dtype = TENSOR_F32, .rank = 0, .data = {(const char *)a, 4}},
    };
    const struct tensor_pair meta[] = {{SLICE("labels"), SLICE("[\"x\",\"y\"]")},
                                       {SLICE("a"), SLICE("")}};
    struct err_text t;
    struct safetensors *s;
    char *text;
    size_t n;
    const char *path = in_dir("x.safetensors");
    assert_int_equal(safetensors_write(path, out, 4, meta, 2, &t), ERR_OK);
    assert_int_equal(safetensors_open(path, &s, &t), ERR_OK);
    assert_int_equal(safetensors_count(s), 4);
    assert_true(slice_eq(safetensors_at(s, 0)->name, out[0].name));
    const struct tensor *x = safetensors_find(s, SLICE("z.weight"));
    float back[6];
    assert_non_null(x);
    assert_int_equal(x->rank, 2);
    assert_int_equal(x->shape[1], 3);
    assert_int_equal(tensor_read_f32(x, back, &t), ERR_OK);
    assert_memory_equal(back, a, sizeof a);
    assert_true(slice_eq(safetensors_find(s, out[1].name)->data, out[1].data));
    assert_int_equal(safetensors_find(s, SLICE("empty"))->count, 0);
    assert_int_equal(safetensors_find(s, SLICE("scalar"))->count, 1);
    assert_null(safetensors_find(s, SLICE("z.weigh")));
    assert_true(slice_eq(safetensors_metadata(s, SLICE("labels")), meta[0].value));
    assert_int_equal(safetensors_metadata(s, SLICE("a")).n, 0);
    assert_non_null(safetensors_metadata(s, SLICE("a")).p);
    assert_null(safetensors_metadata(s, SLICE("b")).p);
    /* The digest is the file's. */
    assert_int_equal(atomic_file_read(path, 1 << 20, &text, &n, &t), ERR_OK);
    assert_true(digest_eq(safetensors_digest(s), digest_of(slice_make(text, n))));
    assert_int_equal((n - sizeof a - sizeof b - 4) % 8, 0); /* data begins aligned */
    free(text);
    safetensors_free(s);
}

/* ---- numbers ---- */

static struct tensor one_tensor(enum tensor_dtype d, const void *p, size_t count)
{
    return (struct tensor){.name = SLICE("x"),
                           .dtype = d,
                           .rank = 1,
                           .shape = {count},
                           .count = count,
                           .data = {p, count * tensor_dtype_bytes(d)}};
}

static void test_every_half(void **state)
{
    (void)state;
    struct err_text t;
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t bits = (uint16_t)h;
        struct tensor x = one_tensor(TENSOR_F16, &bits, 1);
        int exponent = h >> 10 & 31;
        double fraction = h & 1023;
        float got;
        if (exponent == 31) {
            assert_int_equal(tensor_read_f32(&x, &got, &t), ERR_BAD_WEIGHTS);
            continue;
        }
        double want = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        assert_int_equal(tensor_read_f32(&x, &got, &t), ERR_OK);
        assert_true(got == (float)(h & 0x8000 ? -want : want));
        assert_int_equal(signbit(got) != 0, (h & 0x8000) != 0);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    struct err_text t;
    float got[2000];
    const uint16_t bf16[] = {0x3F80, 0xC049, 0x0001};
    struct tensor x = one_tensor(TENSOR_BF16, bf16, 3);
    assert_int_equal(tensor_read_f32(&x, got, &t), ERR_OK);
    assert_true(got[0] == 1 && got[1] == -3.140625F && got[2] > 0);
    const double wide[] = {0.1, -1e38};
    x = one_tensor(TENSOR_F64, wide, 2);
    assert_int_equal(tensor_read_f32(&x, got, &t), ERR_OK);
    assert_true(got[0] == 0.1F && got[1] == -1e38F);
    const double beyond[] = {1, 1e300};
    x = one_tensor(TENSOR_F64, beyond, 2);
    assert_int_equal(tensor_read_f32(&x, got, &t), ERR_BAD_WEIGHTS);
    assert_non_null(strstr(t.s, "value 1"));
    const int64_t whole[] = {1};
    x = one_tensor(TENSOR_I64, whole, 1);
    assert_int_equal(tensor_read_f32(&x, got, &t), ERR_BAD_WEIGHTS);
    assert_non_null(strstr(t.s, "I64"));
    /* A bad value is found at any place, also behind whole blocks; the data need not be aligned. */
    char raw[1 + 2000 * sizeof(float)] = {0};
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t at = 0; at < 2000; at += 37) {
        memcpy(raw + 1 + at * sizeof(float), &bad[at % 3], sizeof(float));
        x = one_tensor(TENSOR_F32, raw + 1, 2000);
        char want[32];
        snprintf(want, sizeof want, "value %zu ", at);
        assert_int_equal(tensor_read_f32(&x, got, &t), ERR_BAD_WEIGHTS);
        assert_non_null(strstr(t.s, want));
        memset(raw + 1 + at * sizeof(float), 0, sizeof(float));
    }
}

/* ---- what is refused ---- */

#define X4 "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"

static void test_broken_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *message;
    } rows[] = {
        {" {}", 0, "does not begin with '{'"},
        {"[]", 0, "does not begin with '{'"},
        {"{}x", 0, "header byte 2: not a JSON object"},
        {"{\"x\":{" X4 "}", 4, "not a JSON object"},
        {"{\"\xFF\":{" X4 "}}", 4, "header byte 2: not a JSON object"},
        {"{\"x\":{" X4 "},\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
         "the name 'x' stands twice"},
        {"{\"x\":{" X4 "},\"\\u0078\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
         "the name 'x' stands twice"},
        {"{\"x\":3}", 0, "'x': is not described by an object"},
        {"{\"x\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "lacks dtype"},
        {"{\"x\":{" X4 ",\"extra\":1}}", 4, "'extra': is no key of a tensor"},
        {"{\"x\":{" X4 ",\"dtype\":\"F32\"}}", 4, "'dtype': stands twice"},
        {"{\"x\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "F8_E4M3"},
        {"{\"x\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype is not a string"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "not an array"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[[1]],\"data_offsets\":[0,4]}}", 4,
         "non-negative integers"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4,
         "non-negative integers"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4,
         "non-negative integers"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1e309],\"data_offsets\":[0,4]}}", 4,
         "non-negative integers"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[18446744073709551617],\"data_offsets\":[0,4]}}", 4,
         "non-negative integers"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}", 4,
         "does not fit 64 bits"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}", 4,
         "another number"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
         "more than 8 dimensions"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "span 4 bytes"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "not two"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "not two"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":{}}}", 4, "not two"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "not two"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "end before"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 4, "beyond the end"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "after a hole"},
        {"{\"x\":{" X4 "},\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}", 12,
         "after a hole"},
        {"{\"x\":{" X4 "},\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}", 6,
         "inside a tensor"},
        {"{\"x\":{" X4 "},\"y\":{" X4 "}}", 4, "inside a tensor"},
        {"{\"x\":{" X4 "}}", 5, "end at byte 4 of the data, the file has 5"},
        {"{}", 1, "end at byte 0 of the data, the file has 1"},
        {"{\"\":{" X4 "}}", 4, "the name is empty"},
        {"{\"a\\nb\":{" X4 "}}", 4, "control characters"},
        {"{\"__metadata__\":[],\"x\":{" X4 "}}", 4, "'__metadata__': is not an object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "'a': a value of __metadata__ is not a string"},
        {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "a key stands twice"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ stands twice"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n;
        struct slice header = slice_str(rows[i].header);
        char *p = file_of(header.n, header, rows[i].data, &n);
        expect_refusal(slice_make(p, n), rows[i].message);
        free(p);
    }
}

static void test_lengths(void **state)
{
    (void)state;
    size_t n;
    static const struct {
        uint64_t length;
        const char *message;
    } rows[] = {
        {0, "not within"},
        {1, "not within"},
        {UINT64_MAX, "18446744073709551615 is not within"},
        {UINT64_MAX - 7, "not within"},
        {(uint64_t)1 << 63, "not within"},
        {(4 << 20) + 1, "not within"},
        {3, "beyond the file's 10 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *p = file_of(rows[i].length, SLICE("{}"), 0, &n);
        expect_refusal(slice_make(p, n), rows[i].message);
        free(p);
    }
    expect_refusal(SLICE(""), "0 bytes are too few");
    expect_refusal(SLICE("\x02\0\0\0\0\0\0"), "7 bytes are too few");
}

static void test_too_many(void **state)
{
    (void)state;
    size_t room = 5000 * 80, n = 1, bytes;
    char *header = malloc(room);
    assert_non_null(header);
    header[0] = '{';
    for (int i = 0; i < 4097; i++)
        n += (size_t)snprintf(header + n, room - n,
                              "%s\"%d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}",
                              i ? "," : "", i);
    header[n++] = '}';
    char *p = file_of(n, slice_make(header, n), 0, &bytes);
    expect_refusal(slice_make(p, bytes), "more than 4096 tensors");
    free(p);
    char name[400];
    int m = snprintf(name, sizeof name, "{\"%0257d\":{" X4 "}}", 0);
    p = file_of((uint64_t)m, slice_make(name, (size_t)m), 4, &bytes);
    expect_refusal(slice_make(p, bytes), "longer than 256 bytes");
    free(p);
    free(header);
}

static const char good[] =
    "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"F16\",\"shape\":[1,2],"
    "\"data_offsets\":[4,8]},\"a\":{" X4 "},\"c\":{\"dtype\":\"BF16\",\"shape\":[],"
    "\"data_offsets\":[8,10]}}   ";

/* Cut anywhere, a file is refused; with any byte changed it is refused or still in bounds. */
static void test_every_cut_and_change(void **state)
{
    (void)state;
    size_t n;
    char *p = file_of(sizeof good - 1, slice_make(good, sizeof good - 1), 10, &n);
    struct safetensors *s;
    struct err_text t;
    assert_int_equal(safetensors_parse(slice_make(p, n), &s, &t), ERR_OK);
    assert_true(slice_eq(safetensors_at(s, 0)->name, SLICE("a"))); /* by offset */
    safetensors_free(s);
    for (size_t cut = 0; cut < n; cut++) {
        char *part = malloc(cut ? cut : 1);
        assert_non_null(part);
        memcpy(part, p, cut);
        assert_int_equal(safetensors_parse(slice_make(part, cut), &s, &t), ERR_BAD_WEIGHTS);
        free(part);
    }
    for (size_t at = 0; at < n; at++)
        for (int to = 0; to < 256; to++) {
            char was = p[at];
            p[at] = (char)to;
            if (safetensors_parse(slice_make(p, n), &s, &t) == ERR_OK) {
                for (size_t i = 0; i < safetensors_count(s); i++) {
                    struct slice d = safetensors_at(s, i)->data;
                    assert_true(d.p >= p && d.p + d.n <= p + n);
                }
                safetensors_free(s);
            }
            p[at] = was;
        }
    free(p);
}

static void test_files(void **state)
{
    (void)state;
    struct safetensors *s;
    struct err_text t;
    assert_int_equal(safetensors_open("/nowhere/x", &s, &t), ERR_BAD_WEIGHTS);
    assert_string_equal(t.s, "/nowhere/x: No such file or directory");
    assert_int_equal(safetensors_open(dir, &s, &t), ERR_BAD_WEIGHTS);
    assert_non_null(strstr(t.s, "not a regular file"));
    assert_int_equal(atomic_file_write(in_dir("x.safetensors"), 0600, SLICE("x"), &t), ERR_OK);
    assert_int_equal(safetensors_open(in_dir("x.safetensors"), &s, &t), ERR_BAD_WEIGHTS);
    assert_non_null(strstr(t.s, "x.safetensors: 1 bytes are too few"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_half),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_broken_headers),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_every_cut_and_change),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
