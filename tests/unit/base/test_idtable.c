/* base/idtable: dead ids miss, the maximum holds, growth keeps what lives. */
#include <cmocka.h>
#include "base/idtable.h"
#include "base/rng.h"

static void test_dead_ids_are_not_found(void **state)
{
    (void)state;
    struct idtable t;
    int a = 1, b = 2;
    idtable_init(&t, 100);
    assert_null(idtable_get(&t, 0));
    assert_null(idtable_get(&t, 1));
    objid ia = idtable_add(&t, &a);
    assert_int_not_equal(ia, 0);
    assert_ptr_equal(idtable_get(&t, ia), &a);
    idtable_remove(&t, ia);
    assert_null(idtable_get(&t, ia));
    objid ib = idtable_add(&t, &b); /* the same slot, another generation */
    assert_int_equal((uint32_t)ib, (uint32_t)ia);
    assert_int_not_equal(ib, ia);
    assert_null(idtable_get(&t, ia));
    idtable_remove(&t, ia); /* must not remove b */
    assert_ptr_equal(idtable_get(&t, ib), &b);
    assert_int_equal(idtable_count(&t), 1);
    idtable_remove(&t, 0);
    idtable_remove(&t, UINT64_MAX);
    assert_int_equal(idtable_count(&t), 1);
    idtable_clear(&t);
    assert_null(idtable_get(&t, ib));
}

static void test_the_maximum_holds(void **state)
{
    (void)state;
    struct idtable t;
    int object;
    objid ids[37];
    idtable_init(&t, 37);
    for (int i = 0; i < 37; i++)
        assert_int_not_equal(ids[i] = idtable_add(&t, &object), 0);
    assert_int_equal(idtable_add(&t, &object), 0);
    idtable_remove(&t, ids[20]);
    assert_int_not_equal(idtable_add(&t, &object), 0);
    assert_int_equal(idtable_add(&t, &object), 0);
    idtable_clear(&t);
    idtable_init(&t, 0);
    assert_int_equal(idtable_add(&t, &object), 0);
}

struct visit {
    const struct idtable *t;
    size_t n;
};

static void visit(void *object, objid id, void *ctx)
{
    struct visit *v = ctx;
    assert_ptr_equal(idtable_get(v->t, id), object);
    v->n++;
}

static void test_random_walk(void **state)
{
    (void)state;
    enum { N = 1000 };
    static int objects[N];
    static objid ids[N], dead[N];
    struct idtable t;
    struct rng r;
    size_t live = 0;
    rng_seed(&r, 2);
    idtable_init(&t, N);
    for (int step = 0; step < 50000; step++) {
        size_t i = rng_below(&r, N);
        if (ids[i]) {
            assert_ptr_equal(idtable_get(&t, ids[i]), &objects[i]);
            idtable_remove(&t, ids[i]);
            dead[i] = ids[i];
            ids[i] = 0;
            live--;
        } else {
            ids[i] = idtable_add(&t, &objects[i]);
            assert_int_not_equal(ids[i], 0);
            live++;
        }
        assert_null(idtable_get(&t, dead[rng_below(&r, N)]));
    }
    struct visit v = {&t, 0};
    idtable_each(&t, visit, &v);
    assert_int_equal(v.n, live);
    assert_int_equal(idtable_count(&t), live);
    idtable_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dead_ids_are_not_found),
        cmocka_unit_test(test_the_maximum_holds),
        cmocka_unit_test(test_random_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
