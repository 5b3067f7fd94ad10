#pragma once
#include "lib/base/buf.h"
#include "lib/jupyter/jp_msg.h"
#include "lib/jupyter/jp_wire.h"

/*
 * Jupyter messages as WebSocket clients see them (jupyter_server, "WebSocket kernel wire
 * protocols"). Pure functions over borrowed slices; contents are not parsed.
 *
 *   v1      "v1.kernel.websocket.jupyter.org": binary; little-endian u64 N and N offsets, then
 *           channel, header, parent header, metadata, content, buffers
 *   legacy  no subprotocol: JSON text; with buffers binary: big-endian u32 N and N offsets, then
 * the JSON, buffers
 */
#define JP_WS_V1_PROTOCOL "v1.kernel.websocket.jupyter.org"

/* Expected outcome of decoding: well-formed, but of a channel that does not exist. */
enum { JP_WS_UNKNOWN_CHANNEL = 1 };

struct jp_ws_msg {
    enum jp_channel channel;
    struct slice frames[JP_JSON_FRAMES]; /* header, parent, metadata, content */
    struct slice buffers[JP_BUFFERS_MAX];
    size_t n_buffers;
};

const char *jp_channel_name(enum jp_channel c); /* "shell", "control", "stdin", "iopub" */

/* -ERR_INVALID for offsets that do not increase or leave the frame, -ERR_TOO_LARGE: buffers. */
int jp_ws_v1_decode(struct jp_ws_msg *msg, struct slice data, struct err *err);
/* -ERR_TOO_LARGE when `out` is full. */
int jp_ws_v1_encode(struct buf *out, const struct jp_ws_msg *msg);

/*
 * A missing channel is shell; missing parent header, metadata and content are {}. The frames are
 * slices of `data`, which must be well-formed JSON with an object for a header.
 */
int jp_ws_legacy_decode(struct jp_ws_msg *msg, struct slice data, bool binary, struct err *err);
/*
 * -ERR_INVALID when a frame is not JSON that may stand in a text. msg_id and msg_type are repeated
 * at the top, as clients read them there. *ret_binary: there are buffers.
 */
int jp_ws_legacy_encode(struct buf *out, const struct jp_ws_msg *msg, const char *msg_id,
                        const char *msg_type, bool *ret_binary);
