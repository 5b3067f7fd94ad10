#pragma once
#include "lib/base/err.h"
#include "lib/base/slice.h"

#include <stdbool.h>

/* The Jupyter messaging protocol 5.x (jupyter_client docs/messaging.rst), client side. */

enum jp_channel { JP_SHELL, JP_CONTROL, JP_STDIN, JP_IOPUB };

/* Message types the programs act on; anything else is JP_OTHER and is passed through. */
enum jp_kind {
    JP_OTHER,
    JP_STATUS,
    JP_STREAM,
    JP_DISPLAY_DATA,
    JP_UPDATE_DISPLAY_DATA,
    JP_EXECUTE_RESULT,
    JP_ERROR,
    JP_CLEAR_OUTPUT,
    JP_EXECUTE_INPUT,
    JP_EXECUTE_REPLY,
    JP_KERNEL_INFO_REPLY,
    JP_INTERRUPT_REPLY,
    JP_SHUTDOWN_REPLY,
    JP_INPUT_REQUEST,
    JP_IOPUB_WELCOME,
};
enum jp_kind jp_kind_parse(struct slice msg_type);

/*
 * A received message. The slices borrow from the receive buffers and are valid for the callback;
 * the four JSON frames are not parsed beyond what stands here. Ids longer than 127 bytes, and
 * header frames over 64 KiB, make the message malformed.
 */
#define JP_ID_SIZE     128
#define JP_BUFFERS_MAX 256
struct jp_msg {
    enum jp_channel channel;
    enum jp_kind kind;
    char msg_type[64];
    char msg_id[JP_ID_SIZE];
    char session[JP_ID_SIZE];
    char parent_id[JP_ID_SIZE]; /* "" when there is no parent */
    char parent_type[64];
    struct slice ident; /* the identity frame before the delimiter, or empty */
    struct slice header, parent, metadata, content;
    struct slice buffers[JP_BUFFERS_MAX];
    size_t n_buffers;
};
