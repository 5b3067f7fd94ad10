#include "controller/exec/runner_ask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What the machine must do with every event in every state; "" is: refused. Written by hand. */
static const struct {
    const char *state, *stream, *answer, *is_long, *end, *broke, *again, *gone, *failed;
} expected[] = {
    {"starting", "streaming", "holding", "", "", "broken", "", "ending", "over"},
    {"holding", "", "", "passing", "over", "broken", "", "ending", "over"},
    {"passing", "", "", "", "over", "", "", "ending", "over"},
    {"streaming", "", "", "", "over", "broken", "", "ending", "over"},
    {"broken", "", "", "", "", "", "attaching", "over", "over"},
    {"attaching", "streaming", "holding", "", "", "broken", "", "ending", "over"},
    {"ending", "ending", "ending", "ending", "over", "", "", "", "over"},
    {"over", "", "", "", "", "", "", "", ""},
};

static void every_state_and_event(void **state)
{
    static const char *const events[] = {"stream", "answer", "long", "end",
                                         "broke",  "again",  "gone", "failed"};
    for (unsigned s = 0; s < RUNNER_ASK_STATES; s++) {
        const char *const row[] = {expected[s].stream, expected[s].answer, expected[s].is_long,
                                   expected[s].end,    expected[s].broke,  expected[s].again,
                                   expected[s].gone,   expected[s].failed};
        assert_string_equal(runner_ask_state_name(s), expected[s].state);
        for (unsigned e = 0; e < RUNNER_ASK_EVENTS; e++) {
            enum runner_ask_state to = RUNNER_ASK_STATES;
            bool ok = runner_ask_next_state(s, e, &to);
            assert_string_equal(runner_ask_event_name(e), events[e]);
            if (strcmp(ok ? runner_ask_state_name(to) : "", row[e]) != 0)
                fail_msg("%s on %s: %s instead of \"%s\"", expected[s].state, events[e],
                         ok ? runner_ask_state_name(to) : "refused", row[e]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_and_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
