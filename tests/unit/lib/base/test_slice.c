#include "lib/base/slice.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void slices_compare_by_their_bytes(void **state)
{
    assert_true(slice_eq(slice_make(NULL, 0), slice_make("x", 0)));
    assert_true(slice_eq(slice_str(NULL), slice_str("")));
    assert_true(slice_eq_str(slice_make("abc", 2), "ab"));
    assert_false(slice_eq_str(slice_make("abc", 3), "ab"));
    assert_false(slice_eq_str(slice_str("ab"), "ac"));
    assert_true(slice_eq(slice_make("a\0b", 3), slice_make("a\0b", 3)));
    assert_false(slice_eq(slice_make("a\0b", 3), slice_make("a\0c", 3)));
}

static void a_prefix_lies_within(void **state)
{
    assert_true(slice_starts(slice_str("bytes=1"), "bytes="));
    assert_true(slice_starts(slice_str("x"), ""));
    assert_false(slice_starts(slice_make("bytes=1", 5), "bytes="));
    assert_false(slice_starts(slice_str("Bytes=1"), "bytes="));
}

static void blanks_are_trimmed_at_both_ends_only(void **state)
{
    assert_true(slice_eq_str(slice_trim(slice_str(" \ta b\t "), " \t"), "a b"));
    assert_true(slice_eq_str(slice_trim(slice_str("\na "), " \t"), "\na"));
    assert_int_equal(slice_trim(slice_str(" \t "), " \t").len, 0);
    assert_int_equal(slice_trim(slice_make(NULL, 0), " ").len, 0);
    assert_true(slice_eq(slice_trim(slice_make("\0a ", 3), " "), slice_make("\0a", 2)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_compare_by_their_bytes),
        cmocka_unit_test(a_prefix_lies_within),
        cmocka_unit_test(blanks_are_trimmed_at_both_ends_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
