/* LINK: lib_ws lib_loop lib_crypto lib_base */
/*
 * Input: a seed for the cuts, a byte of choices (role, owner that pauses, small socket), then what
 * the peer sends. Property: the messages, pongs and the close code are the same for the bytes in
 * one piece (partly as early bytes), byte by byte, and cut anywhere; messages keep their ceiling;
 * text is UTF-8; what waits to be sent stays bounded; nothing comes after on_closed.
 */
#include "lib/base/mem.h"
#include "lib/base/utf8.h"
#include "lib/ws/ws_internal.h"

#include <errno.h>
#include <stdint.h>

#define MAX_MESSAGE 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

/* The peer and its socket: gives its bytes in pieces, then its end; takes what is sent, or little.
 */
struct run {
    struct ws_conn *conn;
    struct slice in;
    size_t step; /* 0: pieces of 1 to 8 bytes by `seed` */
    uint32_t seed;
    bool dry;  /* the piece was given: not now */
    bool slow; /* takes a few bytes at a time, or none */
    bool pauses;
    int want;
    bool closed;
    struct buf log; /* what the owner was told */
};

static uint32_t next(struct run *r)
{
    r->seed = r->seed * 1664525U + 1013904223U;
    return r->seed >> 16;
}

static ssize_t on_recv(void *ctx, void *out, size_t max)
{
    struct run *r = ctx;
    check(!r->closed);
    if (r->in.len == 0)
        return 0;
    if (r->dry) {
        r->dry = false;
        errno = EAGAIN;
        return -1;
    }
    size_t n = r->step ? r->step : 1 + next(r) % 8;
    n = MIN(MIN(n, r->in.len), max);
    memcpy(out, r->in.ptr, n);
    r->in = slice_make(r->in.ptr + n, r->in.len - n);
    r->dry = true;
    return (ssize_t)n;
}

static ssize_t on_send(void *ctx, const void *bytes, size_t len)
{
    struct run *r = ctx;
    check(!r->closed && len > 0);
    if (!r->slow)
        return (ssize_t)len;
    if (next(r) % 2) {
        errno = EAGAIN;
        return -1;
    }
    size_t n = 1 + next(r) % 16;
    return (ssize_t)MIN(len, n);
}

static void on_want(void *ctx, int events)
{
    ((struct run *)ctx)->want = events;
}

static void put(struct run *r, char what, struct slice data)
{
    check(!r->closed);
    check(buf_append_char(&r->log, what) == 0);
    check(buf_append_slice(&r->log, data) == 0 && buf_append_char(&r->log, '\n') == 0);
}

static void on_message(void *ctx, enum ws_type type, struct slice data)
{
    struct run *r = ctx;
    check(data.len <= MAX_MESSAGE && (type == WS_BINARY || utf8_valid(data)));
    put(r, type == WS_TEXT ? 't' : 'b', data);
    /* an echo, so that there is output, bounded by the input */
    ws_conn_send(r->conn, type, &data, 1);
    if (r->pauses)
        ws_conn_pause(r->conn);
}

static void on_pong(void *ctx, struct slice data)
{
    check(data.len <= WS_CONTROL_MAX);
    put(ctx, 'p', data);
}

static void on_drained(void *ctx)
{
    struct run *r = ctx;
    check(!r->closed && ws_conn_may_send(r->conn));
}

static void on_closed(void *ctx, int code, struct slice reason)
{
    struct run *r = ctx;
    char text[16];
    check(reason.len <= WS_REASON_MAX && utf8_valid(reason));
    put(r, 'c', slice_make(text, (size_t)snprintf(text, sizeof(text), "%d", code)));
    r->closed = true;
}

static void once(struct run *r, struct loop *loop)
{
    struct loop_defer *stop = loop_defer_new(loop, (loop_fn)loop_stop, loop);
    loop_defer_post(stop);
    loop_run(loop);
    loop_defer_free(stop);
    if (!r->closed)
        ws_conn_ready(r->conn, r->want);
    if (!r->closed && r->pauses)
        ws_conn_resume(r->conn);
}

static void run(struct run *r, enum ws_role role, struct slice in, size_t early)
{
    struct loop *loop;
    check(loop_new(&loop, NULL) == 0);
    early = MIN(early, in.len);
    r->in = slice_make(in.ptr + early, in.len - early);
    buf_init(&r->log, 4 * in.len + KIB(1));
    const struct ws_conn_cfg cfg = {.role = role,
                                    .io = {on_recv, on_send, on_want, r},
                                    .early = slice_make(in.ptr, early),
                                    .max_message = MAX_MESSAGE,
                                    .on_message = on_message,
                                    .on_pong = on_pong,
                                    .on_drained = on_drained,
                                    .on_closed = on_closed,
                                    .ctx = r};
    check(ws_conn_new(&r->conn, loop, &cfg, NULL) == 0);
    /* each turn takes a byte at least, or a message; what was not closed then is cut */
    for (size_t i = 0; i < 8 * in.len + 64 && !r->closed; i++) {
        once(r, loop);
        check(r->conn->out.len <= WS_SEND_LOW + 2 * in.len + KIB(1));
        check(r->conn->message.len <= MAX_MESSAGE);
    }
    ws_conn_free(r->conn);
    loop_free(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > KIB(8))
        return 0;
    enum ws_role role = data[0] & 1 ? WS_CLIENT : WS_SERVER;
    struct slice in = slice_make((const char *)data + 2, size - 2);
    struct run whole = {.step = size}, bytes = {.step = 1};
    struct run cut = {.seed = data[1], .slow = data[0] & 2, .pauses = data[0] & 4};
    run(&whole, role, in, data[1]);
    run(&bytes, role, in, 0);
    run(&cut, role, in, data[1] % 16);
    check(slice_eq(buf_slice(&whole.log), buf_slice(&bytes.log)));
    check(slice_eq(buf_slice(&whole.log), buf_slice(&cut.log)));
    buf_done(&whole.log);
    buf_done(&bytes.log);
    buf_done(&cut.log);
    return 0;
}
