#pragma once
#include "lib/jupyter/jp_wire.h"

#include <zmq.h>
struct loop_defer;
struct loop_poll;

/*
 * ZeroMQ sockets on the loop, private to lib/jupyter: what client and server have in common.
 * A set of channels is embedded in its owner, whose memory must stay until `on_gone`.
 */
struct jp_context {
    void *zmq;
    struct loop *loop;
};

/* The frames of the message that is being received. */
struct jp_frames {
    zmq_msg_t msgs[JP_FRAMES_MAX];
    struct slice slices[JP_FRAMES_MAX];
    size_t n;
    bool whole; /* false: there were more than JP_FRAMES_MAX */
};

#define JP_CHANNELS_MAX 5
#define JP_FRAME_BYTES  MIB(512)

struct jp_chan {
    struct jp_channels *set;
    unsigned id;
    void *socket;
    struct loop_poll *poll;
    bool readable;
    bool held;
};

struct jp_channels_cfg {
    /* One message, of channel `id`; its frames are valid for the call. */
    void (*on_frames)(void *ctx, unsigned id, const struct jp_frames *frames);
    /* After each round of reading, when queues may have moved. May be NULL. */
    void (*on_round)(void *ctx);
    /* After jp_channels_close(), once, possibly inside it: the owner's memory may go. */
    void (*on_gone)(void *ctx);
    void *ctx;
};

struct jp_channels {
    struct jp_context *context;
    struct jp_channels_cfg cfg;
    struct jp_chan channels[JP_CHANNELS_MAX];
    unsigned n;
    struct loop_defer *again;
    unsigned first; /* the channel whose turn it is */
    bool paused;    /* this turn's share is used up; `again` is posted */
    bool receiving;
    bool closed;
    struct jp_frames frames;
};

void jp_channels_init(struct jp_channels *s, struct jp_context *context, unsigned n,
                      const struct jp_channels_cfg *cfg);
/* Makes the socket; set its options, bind or connect it, then watch it. */
int jp_channels_open(struct jp_channels *s, unsigned id, int type, struct err *err);
int jp_channels_watch(struct jp_channels *s, unsigned id, struct err *err);
/* Closes the sockets; safe inside callbacks. */
void jp_channels_close(struct jp_channels *s);

/* A held channel is not read; ZeroMQ's own queue and then the peers wait. */
void jp_channels_hold(struct jp_channels *s, unsigned id, bool held);
/* Taken whole (0) or not at all: -1, with errno, EAGAIN when the queue is full. */
int jp_channels_send(struct jp_channels *s, unsigned id, const struct slice *frames, size_t n);
/*
 * The same for a socket that may tell of room in its queue only through its descriptor: a full
 * queue is looked at once more after the news have been taken in, so that none is lost.
 */
int jp_channels_publish(struct jp_channels *s, unsigned id, const struct slice *frames, size_t n);

int jp_zmq_failed(struct err *err, const char *what); /* with zmq_errno() */
struct jp_option {
    int option, value;
};
int jp_set_options(void *socket, const struct jp_option *options, size_t n, struct err *err);
