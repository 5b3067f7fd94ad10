/* Notebooks' cells on a kernel that does what the test says: what is recorded, and how it ends. */
#include "tests/unit/kernel-runner/exec/exec_fixture.h"

#include "lib/crypto/crypto.h"

static int setup(void **state)
{
    *state = exec_fixture_new();
    return 0;
}

static int teardown(void **state)
{
    exec_fixture_free(*state);
    return 0;
}

/* How cell A comes into a state, and what an event makes of it. "": no record of it has ended. */
static const char *const reach[] = {
    "ask-A",                 /* passed on, not heard of */
    "ask-A A-reply",         /* its reply overtook its execute_input */
    "ask-A A-input",         /* runs */
    "ask-A A-input A-reply", /* replied, not at rest */
    "ask-A A-input A-idle",  /* at rest but for its reply */
    "ask-A A-input A-idle A-reply",
};
static const char *const events[] = {"A-input", "A-reply",   "A-fail",   "A-aborted", "A-idle",
                                     "A-over",  "interrupt", "cancel:A", "restart",   "exit",
                                     "down",    "died",      "dead",     "close"};

/* clang-format off */
static const char *const expected[ARRAY_LEN(reach)][ARRAY_LEN(events)] = {
    /* input  reply   fail       aborted      idle     over  interrupt         cancel    restart exit    down             died             dead             close */
    {"",      "",     "",        "",          "",      "",   "",               NULL,     "KILL", "EXIT", "",              "",              "",              ""},
    {"",      "",     "",        "",          "",      "",   "",               NULL,     "KILL", "EXIT", "",              "",              "",              ""},
    {"",      "",     "",        "",          "",      "",   "SIGINT",         "SIGINT", "KILL", "EXIT", "A=interrupted", "A=kernel_died", "A=kernel_died", "A=cancelled"},
    {"",      "",     "",        "",          "A=ok",  "",   "",               "",       "KILL", "EXIT", "A=interrupted", "A=kernel_died", "A=kernel_died", "A=cancelled"},
    {"",      "A=ok", "A=error", "A=aborted", "",      "A=ok", "SIGINT",       "",       "KILL", "EXIT", "A=interrupted", "A=kernel_died", "A=kernel_died", "A=cancelled"},
    {"",      "",     "",        "",          "",      "",   "SIGINT",         "",       "KILL", "EXIT", "",              "",              "",              ""},
};
/* clang-format on */

static void every_state_and_event(void **state)
{
    for (size_t s = 0; s < ARRAY_LEN(reach); s++)
        for (size_t ev = 0; ev < ARRAY_LEN(events); ev++) {
            if (!expected[s][ev])
                continue; /* there is nothing to be cancelled by its id */
            struct exec_fixture *f = exec_fixture_new();
            play(f, reach[s]);
            f->trace[0] = '\0';
            play(f, events[ev]);
            if (strcmp(f->trace, expected[s][ev]) != 0)
                fail_msg("%s after \"%s\": \"%s\"; expected: \"%s\"", events[ev], reach[s],
                         f->trace, expected[s][ev]);
            exec_fixture_free(f);
        }
}

static const struct {
    const char *what, *script, *trace;
} stories[] = {
    {"a reply that overtook its announcement counts", "ask-A A-fail A-input A-idle", "A=error"},
    {"one that announces nothing leaves no record", "ask-A A-idle A-reply A-over died", ""},
    {"code's own requests are nobody's", "input:X idle:X ok:X died", ""},
    {"two at a time (a subshell's)", "ask-A ask-B A-input B-input B-idle B-reply A-reply A-idle",
     "B=ok A=ok"},
    {"an interrupt is the verdict, also when it was caught",
     "ask-A A-input interrupt A-reply A-idle", "SIGINT A=interrupted"},
    {"one that has answered was not interrupted", "ask-A A-input A-reply interrupt A-idle", "A=ok"},
    {"and the next is not", "ask-A ask-B A-input A-reply interrupt A-idle B-input held", "A=ok"},
    {"a restart, too", "ask-A A-input restart down", "KILL A=interrupted"},
    {"a shutdown_request, too", "ask-A A-input exit A-reply A-idle down", "EXIT A=interrupted"},
    {"a death is not the restart's", "ask-A A-input restart died", "KILL A=kernel_died"},
    {"all answers are known to have come: its reply was dropped", "ask-A A-input A-idle A-over",
     "A=ok"},
};

static void every_story(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(stories); i++) {
        struct exec_fixture *f = exec_fixture_new();
        play(f, stories[i].script);
        if (strcmp(f->trace, stories[i].trace) != 0)
            fail_msg("%s: %s: \"%s\"; expected: \"%s\"", stories[i].what, stories[i].script,
                     f->trace, stories[i].trace);
        exec_fixture_free(f);
    }
}

static void assert_code(const struct exec *e, const char *code)
{
    char got[40] = "";
    assert_int_equal(exec_read_code(e, 0, got, sizeof(got) - 1), strlen(code));
    assert_string_equal(got, code);
}

static void a_record_has_the_code_and_the_count(void **state)
{
    struct exec_fixture *f = *state;
    play(f, "ask-A A-input");
    const struct exec *e = find(f, "A");
    assert_true(e->notebook);
    assert_code(e, "1");
    assert_int_equal(e->execution_count, 7);
    assert_int_equal(e->state, EXEC_RUNNING);
    assert_int_equal(exec_queue_outstanding(f->queue), 1);
    play(f, "A-idle A-reply");
    assert_string_equal(find(f, "A")->status, "ok");
}

/* One that died before it could say that it runs is on record all the same, once. */
static void what_a_process_died_of_is_recorded(void **state)
{
    struct exec_fixture *f = *state;
    const struct kernel_death death = {.signal = 11, .generation = 1};
    struct slice code = slice_str("{\"code\":\"crash()\"}");
    play(f, "ask-A died");
    exec_queue_foreign_lost(f->queue, "A", code, &death);
    assert_string_equal(f->trace, "A=kernel_died");
    assert_code(find(f, "A"), "crash()");
    exec_queue_foreign_lost(f->queue, "A", code, &death);
    exec_queue_foreign_lost(f->queue, "S", slice_str("{\"code\":\"x\",\"silent\":true}"), &death);
    exec_queue_foreign_lost(f->queue, "M", slice_str("{\"code\":"), &death);
    assert_string_equal(f->trace, "A=kernel_died");
}

static void more_than_64_at_a_time_are_not_recorded(void **state)
{
    struct exec_fixture *f = *state;
    char id[8];
    for (int i = 0; i < EXEC_NOTEBOOK_RUNNING_MAX + 4; i++) {
        snprintf(id, sizeof(id), "c%d", i);
        f->n_foreign = 0;
        foreign_come(f, id);
        say_word(f, "input", id);
    }
    assert_int_equal(exec_queue_outstanding(f->queue), EXEC_NOTEBOOK_RUNNING_MAX);
    play(f, "died");
    f->n_foreign = 0;
    assert_int_equal(exec_queue_outstanding(f->queue), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_and_event),
        cmocka_unit_test(every_story),
        cmocka_unit_test_setup_teardown(a_record_has_the_code_and_the_count, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_process_died_of_is_recorded, setup, teardown),
        cmocka_unit_test_setup_teardown(more_than_64_at_a_time_are_not_recorded, setup, teardown),
    };
    if (crypto_init(NULL) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
