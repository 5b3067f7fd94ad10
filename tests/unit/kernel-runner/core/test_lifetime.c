/* When a sandbox ends, by a clock that nobody can set; what is shown follows the wall clock. */
#include "kernel-runner/core/lifetime.h"
#include "lib/base/macros.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

#define S(n) ((int64_t)(n)*1000000)

static void every_end(void **state)
{
    static const struct {
        int64_t idle_ms, max_ms, begun, active, now;
        bool busy;
        enum lifetime_end end;
        int64_t ends;
    } rows[] = {
        {10000, 0, S(0), S(0), S(0), false, LIFETIME_LASTS, S(10)},
        {10000, 0, S(0), S(0), S(10) - 1, false, LIFETIME_LASTS, S(10)},
        {10000, 0, S(0), S(0), S(10), false, LIFETIME_IDLE, S(10)},
        {10000, 0, S(0), S(7), S(10), false, LIFETIME_LASTS, S(17)},
        {10000, 0, S(0), S(7), S(17), false, LIFETIME_IDLE, S(17)},
        /* in use: its idleness has not begun */
        {10000, 0, S(0), S(0), S(500), true, LIFETIME_LASTS, S(510)},
        {10000, 20000, S(0), S(0), S(19), true, LIFETIME_LASTS, S(20)},
        {10000, 20000, S(0), S(0), S(20), true, LIFETIME_MAX, S(20)},
        {10000, 20000, S(5), S(20), S(24), false, LIFETIME_LASTS, S(25)},
        {10000, 20000, S(5), S(20), S(25), false, LIFETIME_MAX, S(25)},
        /* both are over: the one that no use would have put off is named */
        {10000, 20000, S(0), S(0), S(30), false, LIFETIME_MAX, S(10)},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct lifetime l = {.idle_ms = rows[i].idle_ms,
                             .max_ms = rows[i].max_ms,
                             .begun_us = rows[i].begun,
                             .active_us = rows[i].active};
        assert_int_equal(lifetime_end(&l, rows[i].now, rows[i].busy), rows[i].end);
        assert_int_equal(lifetime_ends_us(&l, rows[i].now, rows[i].busy), rows[i].ends);
    }
}

/* The wall clock is read for what is shown alone: whatever it says, the end stays where it was. */
static void a_wall_clock_that_is_set_moves_what_is_shown_and_not_the_end(void **state)
{
    struct lifetime l = {.idle_ms = 10000};
    int64_t ends = lifetime_ends_us(&l, S(4), false);
    static const int64_t wall[] = {S(1700000000), S(1700000000) - S(7200),
                                   S(1700000000) + S(86400)};
    for (size_t i = 0; i < ARRAY_LEN(wall); i++) {
        assert_int_equal(lifetime_shown(&l, ends, S(4), wall[i]), wall[i] + S(6));
        assert_int_equal(lifetime_end(&l, S(4), false), LIFETIME_LASTS);
        assert_int_equal(lifetime_end(&l, S(10), false), LIFETIME_IDLE);
    }
}

static void what_is_shown_does_not_flicker(void **state)
{
    struct lifetime l = {.idle_ms = 10000};
    int64_t wall = S(1700000000), first = lifetime_shown(&l, S(10), S(1), wall);
    /* read a little apart; then drifted apart, as two clocks do */
    assert_int_equal(lifetime_shown(&l, S(10), S(1) + 5, wall + 9), first);
    assert_int_equal(lifetime_shown(&l, S(10), S(100), wall + S(99) + 900000), first);
    assert_int_equal(lifetime_shown(&l, S(10), S(100), wall + S(99) + 1100000), first + 1100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_end),
        cmocka_unit_test(a_wall_clock_that_is_set_moves_what_is_shown_and_not_the_end),
        cmocka_unit_test(what_is_shown_does_not_flicker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
