#include "controller/pool/ready_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void oldest_comes_first_and_the_removed_are_skipped(void **state)
{
    struct sandbox a = {.state = SANDBOX_WARM}, b = {.state = SANDBOX_TERMINATING};
    struct sandbox c = {.state = SANDBOX_WARM}, d = {.state = SANDBOX_WARM};
    struct ready_list l = {0};

    assert_null(ready_list_take(&l));
    ready_list_add(&l, &a);
    ready_list_add(&l, &b);
    ready_list_add(&l, &c);
    ready_list_add(&l, &d);
    assert_int_equal(ready_list_count(&l), 4);
    assert_ptr_equal(ready_list_take(&l), &a);
    ready_list_forget(&l, &a);
    ready_list_forget(&l, &d);
    assert_int_equal(ready_list_count(&l), 2);
    assert_ptr_equal(ready_list_take(&l), &c);
    assert_null(ready_list_take(&l));
    assert_int_equal(ready_list_count(&l), 0);
}

static void what_is_left_is_cleared(void **state)
{
    struct sandbox a = {.state = SANDBOX_WARM}, b = {.state = SANDBOX_WARM};
    struct ready_list l = {0};

    ready_list_add(&l, &a);
    ready_list_add(&l, &b);
    ready_list_clear(&l);
    assert_int_equal(ready_list_count(&l), 0);
    ready_list_clear(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oldest_comes_first_and_the_removed_are_skipped),
        cmocka_unit_test(what_is_left_is_cleared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
