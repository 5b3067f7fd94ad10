#include "controller/sandbox/sandbox_op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What an operation must do with every event in every state; "" is: refused. Written by hand. */
static const struct {
    const char *state, *made, *answered, *broken, *failed, *time, *ended;
} expected[] = {
    {"making", "waiting", "", "", "over", "", "over"},
    {"waiting", "", "over", "listening", "over", "", "over"},
    {"listening", "", "", "", "", "over", "over"},
    {"claiming", "", "over", "repeating", "over", "", "over"},
    {"repeating", "", "over", "over", "over", "", "over"},
    {"asking", "", "over", "pausing", "pausing", "", "over"},
    {"pausing", "", "", "", "", "asking", "over"},
    {"over", "", "", "", "", "", ""},
};

static void every_state_and_event(void **state)
{
    for (unsigned s = 0; s < SANDBOX_OP_STATES; s++) {
        const char *const row[] = {expected[s].made,   expected[s].answered, expected[s].broken,
                                   expected[s].failed, expected[s].time,     expected[s].ended};
        assert_string_equal(sandbox_op_state_name(s), expected[s].state);
        for (unsigned e = 0; e < SANDBOX_OP_EVENTS; e++) {
            enum sandbox_op_state to = SANDBOX_OP_STATES;
            bool ok = sandbox_op_next(s, e, &to);
            if (strcmp(ok ? sandbox_op_state_name(to) : "", row[e]) != 0)
                fail_msg("%s on %s: %s instead of \"%s\"", sandbox_op_state_name(s),
                         sandbox_op_event_name(e), ok ? sandbox_op_state_name(to) : "refused",
                         row[e]);
        }
    }
}

static void events_have_names(void **state)
{
    static const char *const events[] = {"made", "answered", "broken", "failed", "time", "ended"};

    for (unsigned e = 0; e < SANDBOX_OP_EVENTS; e++)
        assert_string_equal(sandbox_op_event_name(e), events[e]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_and_event),
        cmocka_unit_test(events_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
