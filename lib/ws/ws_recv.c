/*
 * Frames in. wslay's frame reader gives pieces of payload, one a call, so that reading stops
 * exactly where the owner pauses, frees, or had its share of the turn; wslay's event layer can do
 * none of that. The rules between frames are here. A message of one frame that came in one piece is
 * handed on where it lies; others are gathered in `message`, which is given back after each.
 */
#include "lib/base/mem.h"
#include "lib/base/utf8.h"
#include "lib/ws/ws_internal.h"

#include <errno.h>

static ssize_t take_early(struct ws_conn *c, uint8_t *out, size_t max)
{
    size_t n = MIN(max, c->early.len);
    memcpy(out, c->early.ptr, n);
    buf_consume(&c->early, n);
    if (c->early.len == 0)
        buf_done(&c->early);
    return (ssize_t)n;
}

static ssize_t get_bytes(struct ws_conn *c, uint8_t *out, size_t max)
{
    ssize_t n = c->early.len ? take_early(c, out, max) : c->cfg.io.recv(c->cfg.io.ctx, out, max);
    if (n > 0) {
        c->turn_bytes += (size_t)n;
        return n;
    }
    bool not_now = n < 0 && errno == EAGAIN;
    c->input = not_now ? WS_INPUT_NOT_NOW : WS_INPUT_END;
    return -1;
}

static ssize_t recv_bytes(uint8_t *out, size_t max, int flags, void *conn)
{
    return get_bytes(conn, out, max);
}

int ws_recv_init(struct ws_conn *c)
{
    const struct wslay_frame_callbacks callbacks = {ws_send_bytes, recv_bytes, ws_send_mask};
    return wslay_frame_context_init(&c->frames, &callbacks, c);
}

/* ---- control frames ---- */
bool ws_recv_is_close_code(int code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static void on_close_frame(struct ws_conn *c)
{
    const struct ws_control *f = &c->control;
    if (f->len == 0) {
        ws_conn_closed_by_peer(c, WS_CLOSE_NONE, slice_make("", 0));
        return;
    }
    /* A frame with a fault says all the same that no more will come. */
    int code = f->len < 2 ? 0 : f->data[0] << 8 | f->data[1];
    if (!ws_recv_is_close_code(code)) {
        ws_conn_fail(c, WS_CLOSE_PROTOCOL, "the close frame has no valid code");
        c->peer_closed = true;
        return;
    }
    struct slice reason = slice_make((const char *)f->data + 2, f->len - 2);
    if (!utf8_valid(reason))
        ws_conn_fail(c, WS_CLOSE_INVALID, "the close frame's reason is not UTF-8");
    ws_conn_closed_by_peer(c, code, reason);
}

static void on_control(struct ws_conn *c)
{
    const struct ws_control *f = &c->control;
    if (c->opcode == WSLAY_CONNECTION_CLOSE)
        on_close_frame(c);
    else if (c->state != WS_OPEN)
        return;
    else if (c->opcode == WSLAY_PING)
        ws_send_pong(c, f);
    else if (c->cfg.on_pong)
        c->cfg.on_pong(c->cfg.ctx, slice_make((const char *)f->data, f->len));
}

/* ---- data frames ---- */
void ws_recv_drop_message(struct ws_conn *c)
{
    buf_done(&c->message);
    if (c->cfg.gather_left)
        *c->cfg.gather_left += c->gathered;
    c->gathered = 0;
}

static bool may_gather(struct ws_conn *c, size_t len)
{
    if (!c->cfg.gather_left)
        return true;
    if (*c->cfg.gather_left < len)
        return false;
    *c->cfg.gather_left -= len;
    c->gathered += len;
    return true;
}

static void deliver(struct ws_conn *c, struct slice data)
{
    bool text = c->type == WSLAY_TEXT_FRAME;
    c->in_message = false;
    ws_conn_message_over(c);
    if (text && !utf8_valid(data)) {
        ws_conn_fail(c, WS_CLOSE_INVALID, "the text is not UTF-8");
    } else {
        c->turn_count++;
        c->cfg.on_message(c->cfg.ctx, text ? WS_TEXT : WS_BINARY, data);
    }
    ws_recv_drop_message(c);
}

/* Returns whether the frames that follow can be understood. */
static bool begin_data(struct ws_conn *c, const struct wslay_frame_iocb *f)
{
    if (c->in_message != (f->opcode == WSLAY_CONTINUATION_FRAME)) {
        ws_conn_fail(c, WS_CLOSE_PROTOCOL, "fragments out of order");
        return false;
    }
    if (!c->in_message) {
        c->type = f->opcode;
        c->fragments = 0;
        c->in_message = true;
    }
    if (c->state != WS_OPEN)
        return true;
    /* What is too much keeps its frames: they are skipped up to the peer's close frame. */
    if (c->message.len + f->payload_length > c->cfg.max_message)
        ws_conn_fail(c, WS_CLOSE_TOO_BIG, "the message is too large");
    else if (++c->fragments > WS_FRAGMENTS_MAX)
        ws_conn_fail(c, WS_CLOSE_POLICY, "the message has too many fragments");
    return true;
}

static bool begin_frame(struct ws_conn *c, const struct wslay_frame_iocb *f)
{
    const char *fault = NULL;
    if (f->rsv)
        fault = "a reserved bit is set";
    else if ((c->cfg.role == WS_SERVER) != (f->mask != 0))
        fault = c->cfg.role == WS_SERVER ? "a frame is not masked" : "a frame is masked";
    else if ((f->opcode > WSLAY_BINARY_FRAME && f->opcode < WSLAY_CONNECTION_CLOSE) ||
             f->opcode > WSLAY_PONG)
        fault = "an opcode is reserved";
    if (fault) {
        ws_conn_fail(c, WS_CLOSE_PROTOCOL, fault);
        return false;
    }
    if (!wslay_is_ctrl_frame(f->opcode) && !begin_data(c, f))
        return false;
    c->in_frame = true;
    c->opcode = f->opcode;
    c->fin = f->fin;
    c->left = f->payload_length;
    c->control.len = 0;
    return true;
}

static void end_frame(struct ws_conn *c)
{
    c->in_frame = false;
    if (wslay_is_ctrl_frame(c->opcode))
        on_control(c);
    else if (c->fin && c->state == WS_OPEN)
        deliver(c, c->message.len ? buf_slice(&c->message) : slice_make("", 0));
    else if (c->fin)
        c->in_message = false;
}

static void keep(struct ws_conn *c, const struct wslay_frame_iocb *f)
{
    if (wslay_is_ctrl_frame(c->opcode)) {
        /* wslay refuses control frames of more than WS_CONTROL_MAX bytes */
        memcpy(c->control.data + c->control.len, f->data, f->data_length);
        c->control.len += f->data_length;
    } else if (c->state == WS_OPEN && may_gather(c, f->data_length)) {
        /* begin_data() has counted it */
        buf_append(&c->message, f->data, f->data_length);
    } else if (c->state == WS_OPEN) {
        ws_conn_fail(c, WS_CLOSE_TRY_LATER, "too many large messages are coming in at once");
    }
}

static void on_piece(struct ws_conn *c, const struct wslay_frame_iocb *f)
{
    bool first = !c->in_frame;
    if (first && !begin_frame(c, f))
        return;
    bool whole = first && f->fin && c->fragments == 1 && f->data_length == f->payload_length;
    if (whole && c->state == WS_OPEN && !wslay_is_ctrl_frame(c->opcode)) {
        c->in_frame = false;
        deliver(c, slice_make((const char *)f->data, f->data_length));
        return;
    }
    if (f->data_length)
        keep(c, f);
    c->left -= f->data_length;
    if (c->left == 0)
        end_frame(c);
}

/* ---- a turn ---- */
static void next_piece(struct ws_conn *c)
{
    struct wslay_frame_iocb frame = {0};
    ssize_t r = wslay_frame_recv(c->frames, &frame);
    if (r >= 0)
        on_piece(c, &frame);
    else if (r != WSLAY_ERR_WANT_READ)
        ws_conn_fail(c, WS_CLOSE_PROTOCOL, "a frame's header is malformed");
}

static void throw_away(struct ws_conn *c)
{
    static uint8_t nowhere[KIB(16)];
    (void)get_bytes(c, nowhere, sizeof(nowhere));
}

bool ws_recv_wanted(const struct ws_conn *c)
{
    return c->state != WS_CLOSED && !c->peer_closed && (c->state == WS_CLOSING || !c->paused);
}

void ws_recv_turn(struct ws_conn *c)
{
    c->again = false;
    c->input = WS_INPUT_SOME;
    c->turn_bytes = c->turn_count = 0;
    while (ws_recv_wanted(c) && c->input == WS_INPUT_SOME) {
        if (c->turn_bytes >= WS_TURN_BYTES || c->turn_count >= WS_TURN_COUNT) {
            c->again = true;
            loop_defer_post(c->defer);
            return;
        }
        if (c->deaf)
            throw_away(c);
        else
            next_piece(c);
    }
    if (ws_recv_wanted(c) && c->input == WS_INPUT_END)
        ws_conn_finish(c);
}
