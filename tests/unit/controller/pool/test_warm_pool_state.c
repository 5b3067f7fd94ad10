#include "controller/pool/warm_pool_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What the machine must do with every event in every state; "" is: refused. Written by hand. */
static const struct {
    const char *state, *claim, *retry, *describe, *key_free, *join, *end;
} expected[] = {
    {"waiting", "claiming", "", "describing", "", "joined", "over"},
    {"claiming", "", "waiting", "", "", "", "over"},
    {"describing", "", "", "", "waiting", "", "over"},
    {"joined", "", "", "", "", "", "over"},
    {"over", "", "", "", "", "", ""},
};

static void every_state_and_event(void **state)
{
    assert_int_equal(sizeof(expected) / sizeof(expected[0]), CREATE_STATES);
    for (unsigned s = 0; s < CREATE_STATES; s++) {
        const char *const row[] = {expected[s].claim,    expected[s].retry, expected[s].describe,
                                   expected[s].key_free, expected[s].join,  expected[s].end};
        assert_int_equal(sizeof(row) / sizeof(row[0]), CREATE_EVENTS);
        assert_string_equal(create_state_name(s), expected[s].state);
        for (unsigned e = 0; e < CREATE_EVENTS; e++) {
            enum create_state to = CREATE_STATES;
            bool ok = create_next_state(s, e, &to);
            if (strcmp(ok ? create_state_name(to) : "", row[e]) != 0)
                fail_msg("%s on %s: %s instead of \"%s\"", create_state_name(s),
                         create_event_name(e), ok ? create_state_name(to) : "refused", row[e]);
            if (!ok)
                assert_int_equal(to, CREATE_STATES);
        }
    }
}

static void events_have_names(void **state)
{
    static const char *const events[] = {"claim", "retry", "describe", "key_free", "join", "end"};

    for (unsigned e = 0; e < CREATE_EVENTS; e++)
        assert_string_equal(create_event_name(e), events[e]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_and_event),
        cmocka_unit_test(events_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
