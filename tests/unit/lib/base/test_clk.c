#include "lib/base/clk.h"

#include "lib/base/macros.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

static void times_are_written_as_rfc3339(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {1, "1970-01-01T00:00:00.000001Z"},
        {1700000000123456, "2023-11-14T22:13:20.123456Z"},
        {1709164800000000, "2024-02-29T00:00:00.000000Z"},
        {253402300799999999, "9999-12-31T23:59:59.999999Z"},
        {253402300800000000, "1970-01-01T00:00:00.000000Z"}, /* does not fit */
        {-1, "1970-01-01T00:00:00.000000Z"},
        {INT64_MAX, "1970-01-01T00:00:00.000000Z"},
    };
    char out[CLK_RFC3339_SIZE];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_ptr_equal(clk_rfc3339(rows[i].us, out), out);
        assert_string_equal(out, rows[i].text);
        assert_int_equal(strlen(out), CLK_RFC3339_SIZE - 1);
    }
}

static void the_monotonic_clock_never_goes_back(void **state)
{
    int64_t before = clk_mono_us();
    for (int i = 0; i < 10000; i++) {
        int64_t now = clk_mono_us();
        assert_true(now >= before);
        before = now;
    }
    assert_true(clk_mono_ms() >= before / 1000);
    assert_true(clk_wall_us() > 1700000000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_written_as_rfc3339),
        cmocka_unit_test(the_monotonic_clock_never_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
