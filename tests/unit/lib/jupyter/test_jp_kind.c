/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "lib/jupyter/jp_msg.h"

static void known_types_have_their_kind(void **state)
{
    static const struct {
        const char *type;
        enum jp_kind kind;
    } rows[] = {
        {"status", JP_STATUS},
        {"stream", JP_STREAM},
        {"display_data", JP_DISPLAY_DATA},
        {"update_display_data", JP_UPDATE_DISPLAY_DATA},
        {"execute_result", JP_EXECUTE_RESULT},
        {"error", JP_ERROR},
        {"clear_output", JP_CLEAR_OUTPUT},
        {"execute_input", JP_EXECUTE_INPUT},
        {"execute_reply", JP_EXECUTE_REPLY},
        {"kernel_info_reply", JP_KERNEL_INFO_REPLY},
        {"interrupt_reply", JP_INTERRUPT_REPLY},
        {"shutdown_reply", JP_SHUTDOWN_REPLY},
        {"input_request", JP_INPUT_REQUEST},
        {"iopub_welcome", JP_IOPUB_WELCOME},
        {"comm_open", JP_OTHER},
        {"", JP_OTHER},
        {"statu", JP_OTHER},
        {"status2", JP_OTHER},
        {"Status", JP_OTHER},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(jp_kind_parse(slice_str(rows[i].type)), rows[i].kind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_types_have_their_kind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
