#pragma once
#include "lib/base/buf.h"
#include "lib/base/macros.h"
#include "lib/loop/loop.h"
#include "lib/ws/ws.h"

#include <wslay/wslay.h>

/*
 * What the files of this folder share. ws_recv.c takes frames apart, ws_send.c makes them,
 * ws_conn.c owns the connection's life: its states, timers and what is watched.
 */
#define WS_SEND_LOW    KIB(256) /* ws_conn_may_send() below it */
#define WS_HEADER_MAX  14       /* bytes of a frame's header */
#define WS_CONTROL_MAX 125      /* bytes of a control frame's payload */
#define WS_TURN_BYTES  KIB(256) /* read from one connection in a turn of the loop */
#define WS_TURN_COUNT  64       /* messages from one connection in a turn */
#define WS_TURN_SEND   MIB(1)   /* written to one connection in a turn */

enum ws_state {
    WS_OPEN,
    WS_CLOSING, /* our close frame is on its way: data that comes is dropped */
    WS_CLOSED,  /* on_closed came, or the owner freed it */
};

/* What the timer is for. */
enum ws_wait { WS_WAIT_NONE, WS_WAIT_MESSAGE, WS_WAIT_CLOSE };

/* How the last attempt to get bytes ended. */
enum ws_input { WS_INPUT_SOME, WS_INPUT_NOT_NOW, WS_INPUT_END };

struct ws_control {
    uint8_t data[WS_CONTROL_MAX];
    size_t len;
};

struct ws_conn {
    struct loop *loop;
    struct ws_conn_cfg cfg;
    wslay_frame_context_ptr frames;
    struct loop_defer *defer;
    struct loop_timer *timer;
    enum ws_state state;
    enum ws_wait waiting;
    unsigned depth; /* callbacks under way: memory outlives them */
    bool freed;
    bool paused;
    bool again;   /* there may be input that no readiness will tell of */
    bool blocked; /* the last write was told to wait */
    bool mute;    /* writing failed: what is left can only be read */
    bool deaf;    /* the frames lost their sync: input is thrown away */
    bool peer_closed;
    int want;

    /* ---- in ---- */
    struct buf early;
    enum ws_input input;
    size_t turn_bytes, turn_count;
    bool in_frame;
    uint8_t opcode;
    bool fin;
    uint64_t left;             /* of the frame's payload */
    struct ws_control control; /* the control frame that is coming */
    bool in_message;           /* a data message began */
    uint8_t type;              /* its opcode */
    unsigned fragments;
    struct buf message;
    size_t gathered; /* taken from cfg.gather_left */

    /* ---- out ---- */
    struct buf out; /* frames, encoded */
    bool pong_waits;
    struct ws_control pong; /* the newest ping, while `out` is full */

    /* ---- the end ---- */
    int code;
    char reason[WS_REASON_MAX];
    size_t reason_len;
};

/* ws_conn.c: what the peer or the network did. Callers return to the loop soon after. */
void ws_conn_fail(struct ws_conn *c, int code, const char *reason); /* our close frame, with why */
void ws_conn_closed_by_peer(struct ws_conn *c, int code, struct slice reason);
void ws_conn_broken(struct ws_conn *c);       /* writing is no more possible */
void ws_conn_finish(struct ws_conn *c);       /* on_closed with c->code */
void ws_conn_message_over(struct ws_conn *c); /* the deadline of a message ends */

/* ws_recv.c */
int ws_recv_init(struct ws_conn *c);
void ws_recv_drop_message(struct ws_conn *c);
bool ws_recv_is_close_code(int code); /* one that may stand in a close frame */
bool ws_recv_wanted(const struct ws_conn *c);
void ws_recv_turn(struct ws_conn *c); /* reads what is there, at most a turn's share */

/* ws_send.c */
void ws_send_frame(struct ws_conn *c, uint8_t opcode, const struct slice *parts, size_t n_parts);
void ws_send_close(struct ws_conn *c, int code, struct slice reason);
void ws_send_pong(struct ws_conn *c, const struct ws_control *ping);
void ws_send_turn(struct ws_conn *c); /* writes what waits, at most a turn's share */
ssize_t ws_send_bytes(const uint8_t *data, size_t len, int flags, void *conn); /* for wslay */
int ws_send_mask(uint8_t *out, size_t len, void *conn);                        /* for wslay */
