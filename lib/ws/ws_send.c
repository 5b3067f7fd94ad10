/*
 * Frames out. Every frame is encoded at once, header and (masked) payload, behind what waits
 * already; so the bytes keep the order of the calls, one write carries all that was sent in a turn,
 * and a close frame never overtakes data. The buffer is given back when it is empty: an idle
 * connection has none.
 */
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"
#include "lib/ws/ws_internal.h"

#include <assert.h>
#include <errno.h>

ssize_t ws_send_bytes(const uint8_t *data, size_t len, int flags, void *conn)
{
    struct ws_conn *c = conn;
    int r = buf_append(&c->out, data, len);
    assert(r == 0); /* room was made for the whole frame */
    return r == 0 ? (ssize_t)len : -1;
}

int ws_send_mask(uint8_t *out, size_t len, void *conn)
{
    crypto_random(out, len);
    return 0;
}

static void put(struct ws_conn *c, struct wslay_frame_iocb *frame, struct slice part)
{
    frame->data = (const uint8_t *)part.ptr;
    frame->data_length = part.len;
    ssize_t n = wslay_frame_send(c->frames, frame);
    assert(n >= 0 && (size_t)n == part.len);
    (void)n;
}

void ws_send_frame(struct ws_conn *c, uint8_t opcode, const struct slice *parts, size_t n_parts)
{
    size_t total = 0;
    for (size_t i = 0; i < n_parts; i++)
        total += parts[i].len;
    if (c->mute)
        return;
    if (buf_reserve(&c->out, total + WS_HEADER_MAX) < 0) {
        ws_conn_broken(c);
        return;
    }
    struct wslay_frame_iocb frame = {
        .fin = 1, .opcode = opcode, .mask = c->cfg.role == WS_CLIENT, .payload_length = total};
    if (total == 0)
        put(c, &frame, slice_make(NULL, 0));
    for (size_t i = 0; i < n_parts; i++)
        if (parts[i].len)
            put(c, &frame, parts[i]);
    loop_defer_post(c->defer);
}

void ws_send_close(struct ws_conn *c, int code, struct slice reason)
{
    const char number[2] = {(char)(code >> 8), (char)(code & 0xFF)};
    const struct slice parts[] = {{number, sizeof(number)}, reason};
    ws_send_frame(c, WSLAY_CONNECTION_CLOSE, parts, code == WS_CLOSE_NONE ? 0 : ARRAY_LEN(parts));
}

/* A peer that reads nothing gets the pong of its last ping only (RFC 6455 5.5.3). */
void ws_send_pong(struct ws_conn *c, const struct ws_control *ping)
{
    c->pong_waits = c->out.len >= WS_SEND_LOW;
    if (c->pong_waits) {
        c->pong = *ping;
        return;
    }
    struct slice payload = slice_make((const char *)ping->data, ping->len);
    ws_send_frame(c, WSLAY_PONG, &payload, 1);
}

static void send_late_pong(struct ws_conn *c)
{
    if (c->pong_waits && c->out.len < WS_SEND_LOW && c->state == WS_OPEN)
        ws_send_pong(c, &c->pong);
}

void ws_send_turn(struct ws_conn *c)
{
    size_t sent = 0;
    bool had = c->out.len > 0;
    while (c->out.len && !c->blocked) {
        ssize_t n = c->cfg.io.send(c->cfg.io.ctx, c->out.ptr, c->out.len);
        if (n < 0 && errno != EAGAIN) {
            ws_conn_broken(c);
            return;
        }
        sent += n > 0 ? (size_t)n : 0;
        c->blocked = n <= 0 || sent >= WS_TURN_SEND;
        if (n > 0)
            buf_consume(&c->out, (size_t)n);
        send_late_pong(c);
    }
    if (c->out.len)
        return;
    buf_done(&c->out);
    c->blocked = false;
    if (had && c->state == WS_OPEN && !c->mute && c->cfg.on_drained)
        c->cfg.on_drained(c->cfg.ctx);
}
