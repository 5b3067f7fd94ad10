#include "controller/relay/relay_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What the machine must do with every event in every state; "" is: refused. Written by hand. */
static const struct {
    const char *state, *head, *flows, *whole, *problem, *left;
} expected[] = {
    {"none", "known", "", "", "given", "left"}, {"known", "", "flowing", "given", "given", "left"},
    {"flowing", "", "", "", "", "left"},        {"given", "", "", "", "", "left"},
    {"left", "", "", "", "", "left"},
};

static void every_state_and_event(void **state)
{
    static const char *const events[] = {"head", "flows", "whole", "problem", "left"};
    for (unsigned s = 0; s < RELAY_ANSWER_STATES; s++) {
        const char *const row[] = {expected[s].head, expected[s].flows, expected[s].whole,
                                   expected[s].problem, expected[s].left};
        assert_string_equal(relay_answer_state_name(s), expected[s].state);
        for (unsigned e = 0; e < RELAY_ANSWER_EVENTS; e++) {
            enum relay_answer_state to = RELAY_ANSWER_STATES;
            bool ok = relay_answer_next_state(s, e, &to);
            assert_string_equal(relay_answer_event_name(e), events[e]);
            if (strcmp(ok ? relay_answer_state_name(to) : "", row[e]) != 0)
                fail_msg("%s on %s: %s instead of \"%s\"", expected[s].state, events[e],
                         ok ? relay_answer_state_name(to) : "refused", row[e]);
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
