#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/loop/loop.h"
#include "lib/ws/ws.h"

/*
 * A WebSocket connection on one end of a socket pair, and on the other raw bytes or a second
 * connection. run_until() turns the loop until a condition holds or its deadline passes; the
 * condition is asked before each wait, so no test sleeps.
 */
#define MESSAGE_MAX KIB(64)

struct side; /* one connection and what it was told */
typedef void (*side_fn)(struct side *s);

struct side {
    struct ws_conn *conn;
    struct ws_fd *io;
    int fd;
    unsigned messages, pongs, drains, closes;
    enum ws_type type; /* of the last message */
    struct buf last;   /* its bytes */
    struct buf pong;   /* the last pong's */
    size_t bytes;      /* of all messages */
    int code;          /* of on_closed */
    char reason[WS_REASON_MAX + 1];
    side_fn at_message, at_pong, at_drained, at_closed;
};

struct peer {
    int fd;
    struct loop_poll *poll;
    struct buf in, out;
    size_t received;
    bool reading, eof;
};

struct ws_fx {
    struct loop *loop;
    struct loop_hook *hook;
    struct loop_timer *timer;
    bool (*cond)(void *ctx);
    void *cond_ctx;
    bool met, late;
    struct side a, b; /* b only where two connections talk */
    struct peer peer;
};

static struct ws_fx fx;

static inline void fx_hook(void *ctx)
{
    if (fx.cond && fx.cond(fx.cond_ctx)) {
        fx.met = true;
        loop_stop(fx.loop);
    }
}

static inline void fx_late(void *ctx)
{
    fx.late = true;
    loop_stop(fx.loop);
}

static inline bool run_until(int ms, bool (*cond)(void *ctx), void *ctx)
{
    fx.cond = cond;
    fx.cond_ctx = ctx;
    fx.met = fx.late = false;
    loop_timer_start(fx.timer, ms, 0);
    while (!fx.met && !fx.late)
        loop_run(fx.loop);
    loop_timer_stop(fx.timer);
    fx.cond = NULL;
    return fx.met;
}

/* ---- a side ---- */
static inline void side_message(void *ctx, enum ws_type type, struct slice data)
{
    struct side *s = ctx;
    s->messages++;
    s->bytes += data.len;
    s->type = type;
    buf_clear(&s->last);
    assert_int_equal(buf_append_slice(&s->last, data), 0);
    if (s->at_message)
        s->at_message(s);
}

static inline void side_pong(void *ctx, struct slice data)
{
    struct side *s = ctx;
    s->pongs++;
    buf_clear(&s->pong);
    assert_int_equal(buf_append_slice(&s->pong, data), 0);
    if (s->at_pong)
        s->at_pong(s);
}

static inline void side_drained(void *ctx)
{
    struct side *s = ctx;
    s->drains++;
    assert_true(ws_conn_may_send(s->conn));
    if (s->at_drained)
        s->at_drained(s);
}

static inline void side_closed(void *ctx, int code, struct slice reason)
{
    struct side *s = ctx;
    s->closes++;
    s->code = code;
    memcpy(s->reason, reason.ptr, reason.len);
    s->reason[reason.len] = '\0';
    if (s->at_closed)
        s->at_closed(s);
}

static inline void side_open_early(struct side *s, int fd, enum ws_role role, struct slice early)
{
    struct err err;
    *s = (struct side){.fd = fd};
    buf_init(&s->last, MIB(64));
    buf_init(&s->pong, 125);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    assert_int_equal(ws_fd_new(&s->io, fx.loop, fd, &err), 0);
    const struct ws_conn_cfg cfg = {.role = role,
                                    .io = ws_fd_io(s->io),
                                    .early = early,
                                    .max_message = MESSAGE_MAX,
                                    .on_message = side_message,
                                    .on_pong = side_pong,
                                    .on_drained = side_drained,
                                    .on_closed = side_closed,
                                    .ctx = s};
    assert_int_equal(ws_conn_new(&s->conn, fx.loop, &cfg, &err), 0);
    ws_fd_attach(s->io, s->conn);
}

static inline void side_open(struct side *s, int fd, enum ws_role role)
{
    side_open_early(s, fd, role, slice_make(NULL, 0));
}

/* Cuts it: connection, then what is below. */
static inline void side_free(struct side *s)
{
    s->conn = ws_conn_free(s->conn);
    s->io = ws_fd_free(s->io);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

static inline void side_done(struct side *s)
{
    side_free(s);
    buf_done(&s->last);
    buf_done(&s->pong);
}

static inline void side_send(struct side *s, enum ws_type type, const char *text)
{
    struct slice part = slice_str(text);
    ws_conn_send(s->conn, type, &part, 1);
}

/* ---- the raw peer ---- */
static inline void peer_interest(struct peer *p)
{
    int events = (p->reading && !p->eof ? LOOP_READ : 0) | (p->out.len ? LOOP_WRITE : 0);
    loop_poll_set(p->poll, events);
}

static inline void peer_event(void *ctx, int events)
{
    struct peer *p = ctx;
    static char block[KIB(64)];
    if ((events & LOOP_WRITE) && p->out.len) {
        ssize_t n = send(p->fd, p->out.ptr, p->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            buf_consume(&p->out, (size_t)n);
        if (n < 0 && errno != EAGAIN)
            buf_clear(&p->out);
    }
    if ((events & LOOP_READ) && p->reading) {
        ssize_t n = recv(p->fd, block, sizeof(block), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            p->eof = true;
        if (n > 0) {
            p->received += (size_t)n;
            assert_int_equal(buf_append(&p->in, block, (size_t)n), 0);
        }
    }
    peer_interest(p);
}

static inline void peer_open(int fd)
{
    struct err err;
    fx.peer = (struct peer){.fd = fd, .reading = true};
    buf_init(&fx.peer.in, MIB(512));
    buf_init(&fx.peer.out, MIB(512));
    assert_int_equal(loop_poll_new(&fx.peer.poll, fx.loop, fd, peer_event, &fx.peer, &err), 0);
    peer_interest(&fx.peer);
}

static inline void peer_close(void)
{
    struct peer *p = &fx.peer;
    if (!p->poll)
        return;
    p->poll = loop_poll_free(p->poll);
    close(p->fd);
    buf_done(&p->in);
    buf_done(&p->out);
}

static inline void peer_read(bool on)
{
    fx.peer.reading = on;
    peer_interest(&fx.peer);
}

static inline void peer_bytes(const void *data, size_t len)
{
    assert_int_equal(buf_append(&fx.peer.out, data, len), 0);
    peer_interest(&fx.peer);
}

enum { FIN = 0x80, CONT = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

/* The header alone: of a frame that announces `len` bytes. */
static inline void put_header(struct buf *out, int first, bool masked, uint64_t len)
{
    unsigned char h[14] = {(unsigned char)first};
    size_t n = 2;
    if (len < 126) {
        h[1] = (unsigned char)len;
    } else if (len < 65536) {
        h[1] = 126;
        h[n++] = (unsigned char)(len >> 8);
        h[n++] = (unsigned char)len;
    } else {
        h[1] = 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            h[n++] = (unsigned char)(len >> shift);
    }
    if (masked) {
        h[1] |= 0x80;
        memcpy(h + n, "\x11\x22\x33\x44", 4);
        n += 4;
    }
    assert_int_equal(buf_append(out, h, n), 0);
}

static inline void put_frame(struct buf *out, int first, bool masked, const void *data, size_t len)
{
    static const char key[] = "\x11\x22\x33\x44";
    put_header(out, first, masked, len);
    for (size_t i = 0; i < len; i++) {
        char byte = ((const char *)data)[i];
        buf_append_char(out, masked ? (char)(byte ^ key[i % 4]) : byte);
    }
}

/* A frame as a well-behaved client sends it; `first` is its first byte. */
static inline void peer_frame_n(int first, const void *data, size_t len)
{
    put_frame(&fx.peer.out, first, true, data, len);
    peer_interest(&fx.peer);
}

static inline void peer_frame(int first, const char *text)
{
    peer_frame_n(first, text, strlen(text));
}

static inline void peer_close_frame(int code, const char *reason)
{
    char data[125] = {(char)(code >> 8), (char)(code & 0xFF)};
    memcpy(data + 2, reason, strlen(reason));
    peer_frame_n(FIN | CLOSE, data, 2 + strlen(reason));
}

struct frame {
    int first;
    bool masked;
    struct buf data;
};

/* Takes a frame off the peer's bytes; false: none is whole. */
static inline bool take_frame(struct frame *f)
{
    struct buf *in = &fx.peer.in;
    const unsigned char *p = (const unsigned char *)in->ptr;
    if (in->len < 2)
        return false;
    uint64_t len = p[1] & 0x7F;
    size_t n = 2, wide = len == 126 ? 2 : len == 127 ? 8 : 0;
    f->first = p[0];
    f->masked = p[1] & 0x80;
    if (in->len < n + wide)
        return false;
    if (wide)
        len = 0;
    for (size_t i = 0; i < wide; i++)
        len = len << 8 | p[n++];
    const unsigned char *key = p + n;
    n += f->masked ? 4 : 0;
    if (in->len < n + len)
        return false;
    buf_init(&f->data, MIB(64));
    assert_int_equal(buf_append(&f->data, p + n, len), 0);
    for (size_t i = 0; f->masked && i < len; i++)
        f->data.ptr[i] = (char)(f->data.ptr[i] ^ (char)key[i % 4]);
    buf_consume(in, n + len);
    return true;
}

static inline bool got_frame(void *ctx)
{
    return take_frame(ctx);
}

static inline void expect_frame_n(int first, const void *data, size_t len)
{
    struct frame f;
    assert_true(run_until(5000, got_frame, &f));
    assert_int_equal(f.first, first);
    assert_int_equal(f.data.len, len);
    if (len)
        assert_memory_equal(f.data.ptr, data, len);
    buf_done(&f.data);
}

static inline void expect_frame(int first, const char *text)
{
    expect_frame_n(first, text, strlen(text));
}

/* A close frame with that code; 0: without a code. */
static inline void expect_close(int code)
{
    struct frame f;
    assert_true(run_until(5000, got_frame, &f));
    assert_int_equal(f.first, FIN | CLOSE);
    if (code == 0)
        assert_int_equal(f.data.len, 0);
    else {
        assert_true(f.data.len >= 2);
        int got = (unsigned char)f.data.ptr[0] << 8 | (unsigned char)f.data.ptr[1];
        assert_int_equal(got, code);
    }
    buf_done(&f.data);
}

/* ---- conditions ---- */
static inline bool never(void *ctx)
{
    return false;
}

static inline bool is_closed(void *ctx)
{
    return ((struct side *)ctx)->closes > 0;
}

static inline bool has_message(void *ctx)
{
    return ((struct side *)ctx)->messages > 0;
}

static inline bool is_peer_sent(void *ctx)
{
    return fx.peer.out.len == 0;
}

static inline bool is_peer_eof(void *ctx)
{
    return fx.peer.eof;
}

struct count_is {
    const unsigned *count;
    unsigned want;
};

static inline bool count_reached(void *ctx)
{
    const struct count_is *c = ctx;
    return *c->count >= c->want;
}

static inline bool run_to_count(const unsigned *count, unsigned want)
{
    struct count_is c = {count, want};
    return run_until(10000, count_reached, &c);
}

static inline void expect_message(struct side *s, enum ws_type type, const void *data, size_t len)
{
    unsigned seen = s->messages;
    assert_true(run_to_count(&s->messages, seen ? seen : 1));
    assert_int_equal(s->type, type);
    assert_int_equal(s->last.len, len);
    if (len)
        assert_memory_equal(s->last.ptr, data, len);
}

/* ---- setup ---- */
static inline void fx_pair(int fds[2])
{
    /* What a socket takes is the same on every machine. */
    static const int size = KIB(64);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    for (int i = 0; i < 2; i++)
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static inline void fx_loop(void)
{
    struct err err;
    fx = (struct ws_fx){.a.fd = -1, .b.fd = -1};
    assert_int_equal(loop_new(&fx.loop, &err), 0);
    fx.hook = loop_hook_new(fx.loop, fx_hook, NULL);
    fx.timer = loop_timer_new(fx.loop, fx_late, NULL);
}

static inline int setup_role(enum ws_role role)
{
    int fds[2];
    fx_loop();
    fx_pair(fds);
    side_open(&fx.a, fds[0], role);
    peer_open(fds[1]);
    return 0;
}

static inline int setup_server(void **state)
{
    return setup_role(WS_SERVER);
}

static inline int setup_client(void **state)
{
    return setup_role(WS_CLIENT);
}

/* Two connections that talk: a is the server, b the client. */
static inline int setup_both(void **state)
{
    int fds[2];
    fx_loop();
    fx_pair(fds);
    side_open(&fx.a, fds[0], WS_SERVER);
    side_open(&fx.b, fds[1], WS_CLIENT);
    return 0;
}

static inline int teardown(void **state)
{
    side_done(&fx.a);
    side_done(&fx.b);
    peer_close();
    loop_hook_free(fx.hook);
    loop_timer_free(fx.timer);
    loop_free(fx.loop);
    return 0;
}
