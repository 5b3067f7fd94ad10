#include "controller/sandbox/sandbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What the machine must do with every event in every state; "" is: refused. Written by hand. */
static const struct {
    const char *state, *started, *adopted, *nobodys, *claim, *claimed, *refused, *taken, *failed,
        *remove, *removed, *lost;
} expected[] = {
    {"asking", "", "ready", "creating", "", "", "", "", "", "terminating", "", "gone"},
    {"creating", "warm", "", "", "", "", "", "", "failed", "terminating", "", "gone"},
    {"warm", "", "", "", "claiming", "", "", "", "", "terminating", "", "gone"},
    {"claiming", "", "", "", "", "ready", "warm", "asking", "failed", "terminating", "", "gone"},
    {"ready", "", "", "", "", "", "", "", "", "terminating", "", "gone"},
    {"terminating", "", "", "", "", "", "", "", "", "", "gone", "gone"},
    {"failed", "", "", "", "", "", "", "", "", "", "gone", "gone"},
    {"gone", "", "", "", "", "", "", "", "", "", "", ""},
};

static void every_state_and_event(void **state)
{
    for (unsigned s = 0; s < SANDBOX_STATES; s++) {
        const char *const row[] = {expected[s].started, expected[s].adopted, expected[s].nobodys,
                                   expected[s].claim,   expected[s].claimed, expected[s].refused,
                                   expected[s].taken,   expected[s].failed,  expected[s].remove,
                                   expected[s].removed, expected[s].lost};
        assert_string_equal(sandbox_state_name(s), expected[s].state);
        for (unsigned e = 0; e < SANDBOX_EVENTS; e++) {
            enum sandbox_state to = SANDBOX_STATES;
            bool ok = sandbox_next_state(s, e, &to);
            if (strcmp(ok ? sandbox_state_name(to) : "", row[e]) != 0)
                fail_msg("%s on %s: %s instead of \"%s\"", sandbox_state_name(s),
                         sandbox_event_name(e), ok ? sandbox_state_name(to) : "refused", row[e]);
        }
    }
}

static void events_and_statuses_have_names(void **state)
{
    static const char *const events[] = {"started", "adopted", "nobodys", "claim",
                                         "claimed", "refused", "taken",   "failed",
                                         "remove",  "removed", "lost"};
    static const char *const statuses[] = {"creating", "creating",    "creating", "creating",
                                           "ready",    "terminating", "failed",   "failed"};

    for (unsigned e = 0; e < SANDBOX_EVENTS; e++)
        assert_string_equal(sandbox_event_name(e), events[e]);
    for (unsigned s = 0; s < SANDBOX_STATES; s++)
        assert_string_equal(sandbox_status_name(s), statuses[s]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_and_event),
        cmocka_unit_test(events_and_statuses_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
