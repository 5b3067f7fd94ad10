/* Every (state, event) pair against a literal table; -1: not allowed. */
#include "kernel-runner/exec/exec_state.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

enum { QU = EXEC_QUEUED, SE, RU, AW, SP, DO };

static const int expected[EXEC_STATE_MAX][EXEC_EV_MAX] = {
    /*                        SEND START ASK ANSWER STOP FINISH */
    [EXEC_QUEUED] = {SE, -1, -1, -1, -1, DO},   [EXEC_SENT] = {-1, RU, -1, -1, SP, DO},
    [EXEC_RUNNING] = {-1, -1, AW, -1, SP, DO},  [EXEC_AWAITING_INPUT] = {-1, -1, AW, RU, SP, DO},
    [EXEC_STOPPING] = {-1, -1, -1, -1, SP, DO}, [EXEC_DONE] = {-1, -1, -1, -1, -1, -1},
};

static void every_pair(void **state)
{
    for (int s = 0; s < EXEC_STATE_MAX; s++)
        for (int ev = 0; ev < EXEC_EV_MAX; ev++)
            assert_int_equal(exec_state_next((enum exec_state)s, (enum exec_event)ev),
                             expected[s][ev]);
}

static void names_of_the_api(void **state)
{
    static const char *const names[EXEC_STATE_MAX] = {"queued",  "running", "running",
                                                      "running", "running", "done"};
    for (int s = 0; s < EXEC_STATE_MAX; s++)
        assert_string_equal(exec_state_name((enum exec_state)s), names[s]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair),
        cmocka_unit_test(names_of_the_api),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
