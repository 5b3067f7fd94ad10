/*
 * A connection's life. Its owner may free it inside any callback: the memory goes when the
 * outermost call returns, and every path looks at the state after a callback. on_closed comes only
 * from the loop, never inside a call of the owner. The io below must live until ws_conn_free() has
 * returned.
 *
 *   OPEN     → CLOSING  ws_conn_close(), a fault of the peer, its close frame
 *   OPEN     → CLOSED   the connection broke
 *   CLOSING  → CLOSED   both close frames are through, the connection ended, or WS_CLOSE_MS passed
 */
#include "lib/base/mem.h"
#include "lib/base/utf8.h"
#include "lib/ws/ws_internal.h"

#include <assert.h>
#include <stdlib.h>

static void set_want(struct ws_conn *c, int events)
{
    if (c->want == events)
        return;
    c->want = events;
    c->cfg.io.want(c->cfg.io.ctx, events);
}

static enum ws_wait what_to_wait_for(const struct ws_conn *c)
{
    if (c->state == WS_CLOSED)
        return WS_WAIT_NONE;
    if (c->state == WS_CLOSING || c->mute)
        return WS_WAIT_CLOSE;
    return c->in_message && !c->paused ? WS_WAIT_MESSAGE : WS_WAIT_NONE;
}

/* Watches and times what the connection waits for now. */
static void update(struct ws_conn *c)
{
    bool write = c->state != WS_CLOSED && c->blocked && c->out.len;
    set_want(c, (ws_recv_wanted(c) ? LOOP_READ : 0) | (write ? LOOP_WRITE : 0));

    enum ws_wait wait = what_to_wait_for(c);
    if (wait == c->waiting)
        return;
    c->waiting = wait;
    if (wait == WS_WAIT_NONE)
        loop_timer_stop(c->timer);
    else
        loop_timer_start(c->timer, wait == WS_WAIT_CLOSE ? WS_CLOSE_MS : WS_MESSAGE_MS, 0);
}

void ws_conn_message_over(struct ws_conn *c)
{
    if (c->waiting != WS_WAIT_MESSAGE)
        return;
    c->waiting = WS_WAIT_NONE;
    loop_timer_stop(c->timer);
}

static void destroy(struct ws_conn *c)
{
    loop_defer_free(c->defer);
    loop_timer_free(c->timer);
    wslay_frame_context_free(c->frames);
    buf_done(&c->early);
    ws_recv_drop_message(c);
    buf_done(&c->out);
    free(c);
}

static void enter(struct ws_conn *c)
{
    c->depth++;
}

/* Nothing more can come, and nothing more can go. */
static bool is_over(const struct ws_conn *c)
{
    bool unreadable = c->peer_closed || (c->mute && c->paused && c->state == WS_OPEN);
    return c->state != WS_CLOSED && unreadable && c->out.len == 0;
}

static void leave(struct ws_conn *c)
{
    if (is_over(c))
        ws_conn_finish(c);
    if (c->state != WS_OPEN)
        ws_recv_drop_message(c);
    if (!c->freed)
        update(c);
    if (--c->depth == 0 && c->freed)
        destroy(c);
}

/* ---- ends ---- */
static void start_closing(struct ws_conn *c, int code, struct slice reason)
{
    c->state = WS_CLOSING;
    c->code = code;
    c->reason_len = utf8_cut(reason, WS_REASON_MAX);
    memcpy(c->reason, reason.ptr, c->reason_len);
    loop_defer_post(c->defer);
}

void ws_conn_finish(struct ws_conn *c)
{
    c->state = WS_CLOSED;
    set_want(c, 0);
    buf_done(&c->out);
    buf_done(&c->early);
    c->cfg.on_closed(c->cfg.ctx, c->code, slice_make(c->reason, c->reason_len));
}

void ws_conn_broken(struct ws_conn *c)
{
    /* What the peer sent before, its close frame perhaps, may still be there to read. */
    c->mute = true;
    c->again = true;
    buf_done(&c->out);
    loop_defer_post(c->defer);
}

static int sendable(int code)
{
    return code == WS_CLOSE_NONE || ws_recv_is_close_code(code) ? code : WS_CLOSE_INTERNAL;
}

void ws_conn_close(struct ws_conn *c, int code, const char *reason)
{
    if (c->state != WS_OPEN)
        return;
    start_closing(c, sendable(code), slice_str(reason ? reason : ""));
    ws_send_close(c, c->code, slice_make(c->reason, c->reason_len));
}

void ws_conn_fail(struct ws_conn *c, int code, const char *reason)
{
    c->deaf |= code == WS_CLOSE_PROTOCOL;
    ws_conn_close(c, code, reason);
}

void ws_conn_closed_by_peer(struct ws_conn *c, int code, struct slice reason)
{
    c->peer_closed = true;
    if (c->state != WS_OPEN)
        return;
    start_closing(c, code, reason);
    ws_send_close(c, code, slice_make("", 0));
}

static void on_turn(void *ctx)
{
    struct ws_conn *c = ctx;
    enter(c);
    if (c->again && c->state != WS_CLOSED)
        ws_recv_turn(c);
    if (c->state != WS_CLOSED)
        ws_send_turn(c);
    leave(c);
}

static void on_timer(void *ctx)
{
    struct ws_conn *c = ctx;
    bool message = c->waiting == WS_WAIT_MESSAGE;
    c->waiting = WS_WAIT_NONE;
    enter(c);
    if (message)
        ws_conn_fail(c, WS_CLOSE_POLICY, "the message did not end in time");
    else
        ws_conn_finish(c);
    leave(c);
}

int ws_conn_new(struct ws_conn **ret, struct loop *loop, const struct ws_conn_cfg *cfg,
                struct err *err)
{
    struct ws_conn *c = MEM_NEW(struct ws_conn);
    c->loop = loop;
    c->cfg = *cfg;
    c->cfg.early = slice_make(NULL, 0);
    c->code = WS_CLOSE_ABNORMAL;
    buf_init(&c->early, cfg->early.len);
    buf_init(&c->message, cfg->max_message);
    buf_init(&c->out, WS_WAITING_MAX);
    if (cfg->early.len)
        buf_append_slice(&c->early, cfg->early);
    if (ws_recv_init(c) != 0)
        abort(); /* out of memory, as everywhere */
    c->defer = loop_defer_new(loop, on_turn, c);
    c->timer = loop_timer_new(loop, on_timer, c);
    c->again = true;
    loop_defer_post(c->defer);
    update(c);
    *ret = c;
    return 0;
}

struct ws_conn *ws_conn_free(struct ws_conn *c)
{
    if (!c || c->freed)
        return NULL;
    if (c->state != WS_CLOSED)
        set_want(c, 0);
    c->state = WS_CLOSED;
    c->freed = true;
    if (c->depth == 0)
        destroy(c);
    return NULL;
}

void ws_conn_ready(struct ws_conn *c, int events)
{
    if (c->state == WS_CLOSED)
        return;
    /* The loop watches a descriptor with an error no longer, until it is asked again. */
    if (events & LOOP_HANGUP)
        c->want = -1;
    enter(c);
    if (events & (LOOP_READ | LOOP_HANGUP))
        ws_recv_turn(c);
    if (events & (LOOP_WRITE | LOOP_HANGUP))
        c->blocked = false;
    if (c->state != WS_CLOSED)
        ws_send_turn(c);
    leave(c);
}

/* ---- what the owner asks for; nothing here calls back ---- */
void ws_conn_send(struct ws_conn *c, enum ws_type type, const struct slice *parts, size_t n_parts)
{
    if (c->state == WS_OPEN)
        ws_send_frame(c, type == WS_TEXT ? WSLAY_TEXT_FRAME : WSLAY_BINARY_FRAME, parts, n_parts);
}

bool ws_conn_may_send(const struct ws_conn *c)
{
    return c->state == WS_OPEN && !c->mute && c->out.len < WS_SEND_LOW;
}

void ws_conn_ping(struct ws_conn *c, struct slice payload)
{
    assert(payload.len <= WS_CONTROL_MAX);
    if (c->state == WS_OPEN)
        ws_send_frame(c, WSLAY_PING, &payload, 1);
}

void ws_conn_pause(struct ws_conn *c)
{
    c->paused = true;
    if (c->depth == 0 && c->state != WS_CLOSED)
        update(c);
}

void ws_conn_resume(struct ws_conn *c)
{
    if (!c->paused || c->state == WS_CLOSED)
        return;
    c->paused = false;
    c->again = true;
    loop_defer_post(c->defer);
}
