#include "controller/relay/relay_body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What the machine must do with every event in every state; "" is: refused. Written by hand. */
static const struct {
    const char *state, *is_long, *filled, *drained, *end, *answered, *left;
} expected[] = {
    {"keeping", "flowing", "", "", "whole", "discarding", "cut"},
    {"flowing", "", "stopped", "", "whole", "discarding", "cut"},
    {"stopped", "", "", "flowing", "", "discarding", "cut"},
    {"whole", "", "", "", "", "whole", ""},
    {"discarding", "", "", "", "discarded", "discarding", "cut"},
    {"discarded", "", "", "", "", "discarded", ""},
    {"cut", "", "", "", "", "cut", ""},
};

static void every_state_and_event(void **state)
{
    static const char *const events[] = {"long", "filled", "drained", "end", "answered", "left"};
    for (unsigned s = 0; s < RELAY_BODY_STATES; s++) {
        const char *const row[] = {expected[s].is_long, expected[s].filled,   expected[s].drained,
                                   expected[s].end,     expected[s].answered, expected[s].left};
        assert_string_equal(relay_body_state_name(s), expected[s].state);
        for (unsigned e = 0; e < RELAY_BODY_EVENTS; e++) {
            enum relay_body_state to = RELAY_BODY_STATES;
            bool ok = relay_body_next_state(s, e, &to);
            assert_string_equal(relay_body_event_name(e), events[e]);
            if (strcmp(ok ? relay_body_state_name(to) : "", row[e]) != 0)
                fail_msg("%s on %s: %s instead of \"%s\"", expected[s].state, events[e],
                         ok ? relay_body_state_name(to) : "refused", row[e]);
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
