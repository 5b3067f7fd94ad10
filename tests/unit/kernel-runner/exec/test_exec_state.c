/*
 * Every (state, event) pair against a literal table: the state after it, what becomes of the clock,
 * what the kernel is sent. What is not listed is not allowed.
 */
#include "kernel-runner/exec/exec_state.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static const char *const expected[EXEC_STATE_MAX][EXEC_EV_MAX] = {
    [EXEC_QUEUED] = {[EXEC_EV_SEND] = "sent, grace",
                     [EXEC_EV_SEND_BEHIND] = "behind, stop",
                     [EXEC_EV_FINISH] = "done, keep"},
    [EXEC_BEHIND] = {[EXEC_EV_CLEAR] = "sent, grace",
                     [EXEC_EV_BUSY] = "started, deadline",
                     [EXEC_EV_SEEN] = "running, deadline",
                     [EXEC_EV_CANCEL] = "withdrawn, stop, withdraw",
                     [EXEC_EV_AGAIN] = "sent, grace",
                     [EXEC_EV_AGAIN_BEHIND] = "behind, stop",
                     [EXEC_EV_FINISH] = "done, stop"},
    [EXEC_SENT] = {[EXEC_EV_BUSY] = "started, deadline",
                   [EXEC_EV_SEEN] = "running, deadline",
                   [EXEC_EV_INTERRUPT] = "interrupt_held, deadline",
                   [EXEC_EV_CANCEL] = "end_held, kill",
                   [EXEC_EV_LATE] = "started, deadline",
                   [EXEC_EV_RESTART] = "killing, stop",
                   [EXEC_EV_AGAIN] = "sent, grace",
                   [EXEC_EV_AGAIN_BEHIND] = "behind, stop",
                   [EXEC_EV_FINISH] = "done, stop"},
    [EXEC_STARTED] = {[EXEC_EV_BUSY] = "started, keep",
                      [EXEC_EV_SEEN] = "running, keep",
                      [EXEC_EV_INTERRUPT] = "interrupt_held, keep",
                      [EXEC_EV_CANCEL] = "end_held, kill",
                      [EXEC_EV_LATE] = "end_held, kill",
                      [EXEC_EV_RESTART] = "killing, stop",
                      [EXEC_EV_AGAIN] = "sent, grace",
                      [EXEC_EV_AGAIN_BEHIND] = "behind, stop",
                      [EXEC_EV_FINISH] = "done, stop"},
    [EXEC_RUNNING] = {[EXEC_EV_BUSY] = "running, keep",
                      [EXEC_EV_SEEN] = "running, keep",
                      [EXEC_EV_ASK] = "awaiting_input, keep",
                      [EXEC_EV_INTERRUPT] = "interrupted, keep, interrupt",
                      [EXEC_EV_CANCEL] = "ending, kill, interrupt",
                      [EXEC_EV_LATE] = "ending, kill, interrupt",
                      [EXEC_EV_RESTART] = "killing, stop",
                      [EXEC_EV_AGAIN] = "sent, grace",
                      [EXEC_EV_AGAIN_BEHIND] = "behind, stop",
                      [EXEC_EV_FINISH] = "done, stop"},
    [EXEC_AWAITING_INPUT] = {[EXEC_EV_BUSY] = "awaiting_input, keep",
                             [EXEC_EV_SEEN] = "awaiting_input, keep",
                             [EXEC_EV_ASK] = "awaiting_input, keep",
                             [EXEC_EV_ANSWER] = "running, keep",
                             [EXEC_EV_INTERRUPT] = "interrupted, keep, interrupt",
                             [EXEC_EV_CANCEL] = "ending, kill, interrupt",
                             [EXEC_EV_LATE] = "ending, kill, interrupt",
                             [EXEC_EV_RESTART] = "killing, stop",
                             [EXEC_EV_FINISH] = "done, stop"},
    [EXEC_INTERRUPT_HELD] = {[EXEC_EV_BUSY] = "interrupt_held, keep",
                             [EXEC_EV_SEEN] = "interrupted, keep, interrupt",
                             [EXEC_EV_INTERRUPT] = "interrupt_held, keep",
                             [EXEC_EV_CANCEL] = "end_held, kill",
                             [EXEC_EV_LATE] = "end_held, kill",
                             [EXEC_EV_RESTART] = "killing, stop",
                             [EXEC_EV_FINISH] = "done, stop"},
    [EXEC_INTERRUPTED] = {[EXEC_EV_BUSY] = "interrupted, keep",
                          [EXEC_EV_SEEN] = "interrupted, keep",
                          [EXEC_EV_INTERRUPT] = "interrupted, keep, interrupt",
                          [EXEC_EV_CANCEL] = "ending, kill, interrupt",
                          [EXEC_EV_LATE] = "ending, kill, interrupt",
                          [EXEC_EV_RESTART] = "killing, stop",
                          [EXEC_EV_FINISH] = "done, stop"},
    [EXEC_END_HELD] = {[EXEC_EV_BUSY] = "end_held, keep",
                       [EXEC_EV_SEEN] = "ending, keep, interrupt",
                       [EXEC_EV_INTERRUPT] = "end_held, keep",
                       [EXEC_EV_CANCEL] = "end_held, keep",
                       [EXEC_EV_LATE] = "killing, stop, kill",
                       [EXEC_EV_RESTART] = "killing, stop",
                       [EXEC_EV_FINISH] = "done, stop"},
    [EXEC_ENDING] = {[EXEC_EV_BUSY] = "ending, keep",
                     [EXEC_EV_SEEN] = "ending, keep",
                     [EXEC_EV_INTERRUPT] = "ending, keep, interrupt",
                     [EXEC_EV_CANCEL] = "ending, keep, interrupt",
                     [EXEC_EV_LATE] = "killing, stop, kill",
                     [EXEC_EV_RESTART] = "killing, stop",
                     [EXEC_EV_FINISH] = "done, stop"},
    [EXEC_KILLING] = {[EXEC_EV_BUSY] = "killing, keep",
                      [EXEC_EV_SEEN] = "killing, keep",
                      [EXEC_EV_INTERRUPT] = "killing, keep",
                      [EXEC_EV_CANCEL] = "killing, keep",
                      [EXEC_EV_RESTART] = "killing, keep",
                      [EXEC_EV_FINISH] = "done, stop"},
    [EXEC_WITHDRAWN] = {[EXEC_EV_CLEAR] = "end_held, kill",
                        [EXEC_EV_BUSY] = "end_held, kill",
                        [EXEC_EV_SEEN] = "ending, kill, interrupt",
                        [EXEC_EV_RESTART] = "killing, stop",
                        [EXEC_EV_FINISH] = "done, stop"},
};

static const char *const clocks[] = {"keep", "stop", "grace", "deadline", "kill"};
static const char *const acts[] = {"", ", interrupt", ", kill", ", withdraw"};

static void every_pair(void **state)
{
    for (int s = 0; s < EXEC_STATE_MAX; s++)
        for (int ev = 0; ev < EXEC_EV_MAX; ev++) {
            char text[80] = "not allowed";
            const struct exec_edge *edge = exec_state_edge((enum exec_state)s, (enum exec_event)ev);
            const char *want = expected[s][ev] ? expected[s][ev] : "not allowed";
            if (edge)
                snprintf(text, sizeof(text), "%s, %s%s", exec_state_detail(edge->to),
                         clocks[edge->clock], acts[edge->act]);
            if (strcmp(text, want) != 0)
                fail_msg("%s in %s: %s; expected: %s", exec_event_name((enum exec_event)ev),
                         exec_state_detail((enum exec_state)s), text, want);
            assert_int_equal(exec_state_next((enum exec_state)s, (enum exec_event)ev),
                             edge ? (int)edge->to : -1);
        }
}

/* Whatever the kernel says, and whenever: user code can forge it. */
static void the_kernels_words_are_allowed_wherever_it_has_the_request(void **state)
{
    for (int s = EXEC_BEHIND; s < EXEC_DONE; s++) {
        assert_int_not_equal(exec_state_next((enum exec_state)s, EXEC_EV_BUSY), -1);
        assert_int_not_equal(exec_state_next((enum exec_state)s, EXEC_EV_SEEN), -1);
        assert_int_not_equal(exec_state_next((enum exec_state)s, EXEC_EV_FINISH), -1);
    }
}

static void names_of_the_api(void **state)
{
    static const char *const names[EXEC_STATE_MAX] = {
        [EXEC_QUEUED] = "queued",
        [EXEC_BEHIND] = "queued",
        [EXEC_SENT] = "running",
        [EXEC_STARTED] = "running",
        [EXEC_RUNNING] = "running",
        [EXEC_AWAITING_INPUT] = "running",
        [EXEC_INTERRUPT_HELD] = "running",
        [EXEC_INTERRUPTED] = "running",
        [EXEC_END_HELD] = "running",
        [EXEC_ENDING] = "running",
        [EXEC_KILLING] = "running",
        [EXEC_WITHDRAWN] = "done",
        [EXEC_DONE] = "done",
    };
    for (int s = 0; s < EXEC_STATE_MAX; s++)
        assert_string_equal(exec_state_name((enum exec_state)s), names[s]);
}

static void reply_and_idle_in_either_order(void **state)
{
    static const struct {
        enum exec_rest from, replied, idle;
    } rows[] = {
        {EXEC_REST_NONE, EXEC_REST_REPLIED, EXEC_REST_IDLE},
        {EXEC_REST_REPLIED, EXEC_REST_REPLIED, EXEC_AT_REST},
        {EXEC_REST_IDLE, EXEC_AT_REST, EXEC_REST_IDLE},
        {EXEC_AT_REST, EXEC_AT_REST, EXEC_AT_REST},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(exec_rest_replied(rows[i].from), rows[i].replied);
        assert_int_equal(exec_rest_idle(rows[i].from), rows[i].idle);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair),
        cmocka_unit_test(the_kernels_words_are_allowed_wherever_it_has_the_request),
        cmocka_unit_test(names_of_the_api),
        cmocka_unit_test(reply_and_idle_in_either_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
