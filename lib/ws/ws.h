#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"
#include "lib/base/macros.h"
#include "lib/base/slice.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
struct loop;

/*
 * One WebSocket connection (RFC 6455) after its handshake, over wslay. Messages come whole; pings
 * are answered and the closing handshake is made here. Nothing is compressed. No callback comes
 * after ws_conn_free(), which is safe from inside every callback.
 *
 * What the peer may do has a ceiling: `max_message` bytes of a message over all its fragments
 * (1009), WS_FRAGMENTS_MAX fragments (1008), WS_MESSAGE_MS from a message's first fragment to its
 * last (1008). Unmasked frames to a server, masked ones to a client, reserved bits and opcodes:
 * 1002; text that is not UTF-8: 1007. A missing pong is never a reason to close.
 */
struct ws_conn;

#define WS_FRAGMENTS_MAX 4096
#define WS_MESSAGE_MS    120000
#define WS_CLOSE_MS      2000     /* from our close frame to the end of the connection */
#define WS_REASON_MAX    123      /* bytes of a close frame's reason */
#define WS_WAITING_MAX   MIB(256) /* sent, not yet with the socket; above, it is cut */

enum ws_role { WS_SERVER, WS_CLIENT };
enum ws_type { WS_TEXT, WS_BINARY };

/* Close codes of RFC 6455 7.4.1 that we send or see. */
enum {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL = 1002,
    WS_CLOSE_NONE = 1005,     /* the peer's close frame had no code; never sent */
    WS_CLOSE_ABNORMAL = 1006, /* the connection broke; never sent */
    WS_CLOSE_INVALID = 1007,
    WS_CLOSE_POLICY = 1008,
    WS_CLOSE_TOO_BIG = 1009,
    WS_CLOSE_INTERNAL = 1011,
    WS_CLOSE_RESTART = 1012,
    WS_CLOSE_TRY_LATER = 1013,
};

/*
 * The bytes below the frames. recv and send are read(2) and write(2) that never block: > 0, 0
 * (recv: the end), or -1 with errno (EAGAIN: not now). want: which of LOOP_READ and LOOP_WRITE the
 * connection waits for; whoever watches tells them by ws_conn_ready(). Must outlive the connection.
 */
struct ws_io {
    ssize_t (*recv)(void *ctx, void *out, size_t max);
    ssize_t (*send)(void *ctx, const void *data, size_t len);
    void (*want)(void *ctx, int events);
    void *ctx;
};

struct ws_conn_cfg {
    enum ws_role role;
    struct ws_io io;
    struct slice early; /* bytes that were read behind the handshake; copied */
    size_t max_message;
    /*
     * What all connections that share this may still hold of messages that are not whole yet; above
     * it a message is refused with 1013. Borrowed; NULL: no such bound.
     */
    size_t *gather_left;
    void (*on_message)(void *ctx, enum ws_type type, struct slice data); /* borrowed */
    void (*on_pong)(void *ctx, struct slice payload);                    /* may be NULL */
    /* All that was sent is with the socket: ws_conn_may_send() is true again. May be NULL. */
    void (*on_drained)(void *ctx);
    /*
     * Once: the connection is over, with the code the peer gave, or ours when we closed first, or
     * WS_CLOSE_ABNORMAL. Nothing is read or written any more; free it, and close what is below.
     */
    void (*on_closed)(void *ctx, int code, struct slice reason);
    void *ctx;
};

/* No callback comes before the next loop turn. */
int ws_conn_new(struct ws_conn **ret, struct loop *loop, const struct ws_conn_cfg *cfg,
                struct err *err);
struct ws_conn *ws_conn_free(struct ws_conn *c); /* cuts it when it is open; NULL ok */
void ws_conn_ready(struct ws_conn *c, int events);

/*
 * One message, the concatenation of the parts, which are copied. What is sent in one loop turn goes
 * out together. Sending is always possible while open; who asks ws_conn_may_send() first and waits
 * for on_drained keeps at most one message (and 256 KiB) in memory.
 */
void ws_conn_send(struct ws_conn *c, enum ws_type type, const struct slice *parts, size_t n_parts);
bool ws_conn_may_send(const struct ws_conn *c);             /* open, and less than 256 KiB wait */
void ws_conn_ping(struct ws_conn *c, struct slice payload); /* at most 125 bytes */
/*
 * Sends a close frame behind what was sent; on_closed comes within WS_CLOSE_MS, messages no more.
 * Twice is once. WS_CLOSE_NONE sends no code; one that may not be sent goes as WS_CLOSE_INTERNAL.
 */
void ws_conn_close(struct ws_conn *c, int code, const char *reason);
/* Stops reading (the peer's TCP then waits; its pings, too) until resumed. */
void ws_conn_pause(struct ws_conn *c);
void ws_conn_resume(struct ws_conn *c);

/* A ws_io over a non-blocking descriptor on the loop. The fd stays the caller's. */
struct ws_fd;
int ws_fd_new(struct ws_fd **ret, struct loop *loop, int fd, struct err *err);
struct ws_io ws_fd_io(struct ws_fd *f);
void ws_fd_attach(struct ws_fd *f, struct ws_conn *c); /* whom its events go to; NULL: nobody */
struct ws_fd *ws_fd_free(struct ws_fd *f);

DEFINE_CLEANUP(struct ws_conn *, ws_conn_free)
DEFINE_CLEANUP(struct ws_fd *, ws_fd_free)
