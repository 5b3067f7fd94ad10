/* Every (state, event) pair against a literal table; -1: not expected. */
#include "kernel-runner/kernel/kernel_state.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

enum { ST = KERNEL_STARTING, ID, BU, SP, RE, DE };

static const int expected[KERNEL_STATE_MAX][KERNEL_EV_MAX] = {
    /*                      READY BUSY IDLE STOP EXIT GIVE_UP REVIVE */
    [KERNEL_STARTING] = {ID, -1, -1, SP, RE, DE, -1},
    [KERNEL_IDLE] = {-1, BU, ID, SP, RE, DE, -1},
    [KERNEL_BUSY] = {-1, BU, ID, SP, RE, DE, -1},
    [KERNEL_STOPPING] = {-1, -1, -1, -1, RE, DE, -1},
    [KERNEL_RESTARTING] = {ID, -1, -1, SP, RE, DE, -1},
    [KERNEL_DEAD] = {-1, -1, -1, -1, -1, -1, RE},
};

static void every_pair(void **state)
{
    for (int s = 0; s < KERNEL_STATE_MAX; s++)
        for (int ev = 0; ev < KERNEL_EV_MAX; ev++)
            assert_int_equal(kernel_state_next((enum kernel_state)s, (enum kernel_event)ev),
                             expected[s][ev]);
}

static void names_of_the_api(void **state)
{
    static const char *const names[KERNEL_STATE_MAX] = {"starting",   "idle",       "busy",
                                                        "restarting", "restarting", "dead"};
    for (int s = 0; s < KERNEL_STATE_MAX; s++)
        assert_string_equal(kernel_state_name((enum kernel_state)s), names[s]);
}

static void only_idle_and_busy_are_live(void **state)
{
    static const int live[KERNEL_STATE_MAX] = {0, 1, 1, 0, 0, 0};
    for (int s = 0; s < KERNEL_STATE_MAX; s++)
        assert_int_equal(kernel_state_live((enum kernel_state)s), live[s]);
}

static void introspection_is_no_work(void **state)
{
    assert_true(kernel_state_follows("execute_request"));
    assert_true(kernel_state_follows("comm_msg"));
    assert_false(kernel_state_follows("kernel_info_request"));
    assert_false(kernel_state_follows("comm_info_request"));
    assert_false(kernel_state_follows("interrupt_request"));
    assert_false(kernel_state_follows(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair),
        cmocka_unit_test(names_of_the_api),
        cmocka_unit_test(introspection_is_no_work),
        cmocka_unit_test(only_idle_and_busy_are_live),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
