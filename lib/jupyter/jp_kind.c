#include "lib/jupyter/jp_msg.h"

static const struct {
    const char *name;
    enum jp_kind kind;
} kinds[] = {
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
};

enum jp_kind jp_kind_parse(struct slice msg_type)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (slice_eq_str(msg_type, kinds[i].name))
            return kinds[i].kind;
    return JP_OTHER;
}
