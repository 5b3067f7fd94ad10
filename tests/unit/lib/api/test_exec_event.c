/* Each line of the event log, letter by letter, and read back. */
#include "lib/api/exec_event.h"
#include "lib/base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

static void expect(struct buf *b, const char *want)
{
    assert_string_equal(b->ptr, want);
    buf_clear(b);
}

static void lines_are_those_of_the_contract(void **state)
{
    struct buf b;
    buf_init(&b, KIB(64));
    exec_event_queued(&b, 1, "e", 2);
    expect(&b, "{\"seq\":1,\"type\":\"queued\",\"execution_id\":\"e\",\"position\":2}\n");
    exec_event_started(&b, 2, "e", 7, "k", 1);
    expect(&b, "{\"seq\":2,\"type\":\"started\",\"execution_id\":\"e\",\"execution_count\":7,"
               "\"kernel_id\":\"k\",\"generation\":1}\n");
    exec_event_started(&b, 2, "e", -1, "k", 1);
    expect(&b, "{\"seq\":2,\"type\":\"started\",\"execution_id\":\"e\",\"execution_count\":null,"
               "\"kernel_id\":\"k\",\"generation\":1}\n");
    exec_event_stream(&b, 3, "stdout", slice_str("42\\n"));
    expect(&b, "{\"seq\":3,\"type\":\"output\",\"output\":{\"output_type\":\"stream\",\"name\":"
               "\"stdout\",\"text\":\"42\\n\"}}\n");
    exec_event_update_display(&b, 5, slice_str("\"d\""), slice_str("{\"a\":1}"), slice_str("{}"));
    expect(&b, "{\"seq\":5,\"type\":\"update_display\",\"display_id\":\"d\",\"data\":{\"a\":1},"
               "\"metadata\":{}}\n");
    exec_event_clear_output(&b, 6, false);
    expect(&b, "{\"seq\":6,\"type\":\"clear_output\",\"wait\":false}\n");
    exec_event_input_request(&b, 7, slice_str("\"name? \""), false);
    expect(&b, "{\"seq\":7,\"type\":\"input_request\",\"prompt\":\"name? \",\"password\":false}\n");
    exec_event_truncated(&b, 8, 268435456);
    expect(&b, "{\"seq\":8,\"type\":\"truncated\",\"after_bytes\":268435456}\n");
    struct exec_done done = {
        .status = "ok", .execution_count = 7, .duration_ms = 3.1, .generation = 1};
    exec_event_done(&b, 9, &done);
    expect(&b, "{\"seq\":9,\"type\":\"done\",\"status\":\"ok\",\"execution_count\":7,"
               "\"duration_ms\":3.100,\"generation\":1,\"truncated_bytes\":0,\"error\":null,"
               "\"user_expressions\":{}}\n");
    buf_done(&b);
}

static void check(const char *line, enum exec_event_kind kind, const char *body)
{
    struct slice got;
    assert_int_equal(exec_event_classify(slice_str(line), &got), kind);
    if (body)
        assert_true(slice_eq_str(got, body));
}

static void lines_are_read_back(void **state)
{
    check(
        "{\"seq\":3,\"type\":\"output\",\"output\":{\"output_type\":\"stream\",\"name\":\"stdout\","
        "\"text\":\"42\"}}",
        EXEC_EVENT_STDOUT, "42");
    check(
        "{\"seq\":3,\"type\":\"output\",\"output\":{\"output_type\":\"stream\",\"name\":\"stderr\","
        "\"text\":\"\"}}",
        EXEC_EVENT_STDERR, "");
    check(
        "{\"seq\":18446744073709551615,\"type\":\"output\",\"output\":{\"output_type\":\"error\"}}",
        EXEC_EVENT_OUTPUT, "{\"output_type\":\"error\"}");
    check("{\"seq\":6,\"type\":\"clear_output\",\"wait\":false}", EXEC_EVENT_CLEAR, NULL);
    check("{\"seq\":6,\"type\":\"clear_output\",\"wait\":true}", EXEC_EVENT_CLEAR_WAIT, NULL);
    check("{\"seq\":5,\"type\":\"update_display\",\"display_id\":\"d\"}", EXEC_EVENT_UPDATE, NULL);
    check("{\"seq\":9,\"type\":\"done\",\"status\":\"ok\"}", EXEC_EVENT_DONE, NULL);
    check("{\"seq\":1,\"type\":\"queued\"}", EXEC_EVENT_OTHER, NULL);
    check("", EXEC_EVENT_OTHER, NULL);
    check("x", EXEC_EVENT_OTHER, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_those_of_the_contract),
        cmocka_unit_test(lines_are_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
