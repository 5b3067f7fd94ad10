/*
 * ZeroMQ on the loop. The descriptor of a ZeroMQ socket is edge-triggered and belongs to the
 * socket's mailbox, which any call on the socket may empty, a send too. So a socket counts as
 * `readable` from its descriptor's event until a receive says EAGAIN, which re-arms the
 * descriptor; and after a send its ZMQ_EVENTS are read at once, which also re-arms it or tells
 * that there is something to read. Sockets that are not `readable` are not touched: an attempt
 * costs a system call.
 *
 * Reading is fair: one message of each channel in turn, a share of them, then the loop goes round.
 * A set may be closed in its own callbacks: its sockets close at once, on_gone comes when the
 * receive has unwound. Everything runs on the loop's thread; libzmq has one I/O thread of its own.
 */
#include "lib/jupyter/jp_channel.h"

#include "lib/base/mem.h"
#include "lib/jupyter/jp_client.h"
#include "lib/loop/loop.h"

#include <errno.h>

enum {
    TURN_MESSAGES = 256,
    SOCKETS_MAX = 1024, /* of a context: 200 kernels, counting those whose sockets still close */
};
#define TURN_BYTES MIB(4)

int jp_zmq_failed(struct err *err, const char *what)
{
    return err_set(err, ERR_INTERNAL, "%s: %s", what, zmq_strerror(zmq_errno()));
}

/* Receiving */

static int receive_frame(zmq_msg_t *frame, void *socket)
{
    int r;
    do
        r = zmq_msg_recv(frame, socket, ZMQ_DONTWAIT);
    while (r < 0 && zmq_errno() == EINTR);
    return r;
}

/* All frames of one message; what is over the ceiling is dropped. n is 0 when nothing is there. */
static void receive_frames(struct jp_frames *f, void *socket, size_t *bytes)
{
    f->n = 0;
    f->whole = true;
    for (bool more = true; more;) {
        zmq_msg_t extra;
        zmq_msg_t *frame = f->n < JP_FRAMES_MAX ? &f->msgs[f->n] : &extra;
        zmq_msg_init(frame);
        if (receive_frame(frame, socket) < 0) {
            /* libzmq hands over whole messages: in the middle this does not happen */
            zmq_msg_close(frame);
            f->whole = false;
            return;
        }
        more = zmq_msg_more(frame);
        *bytes += zmq_msg_size(frame);
        if (frame == &extra) {
            zmq_msg_close(frame);
            f->whole = false;
            continue;
        }
        f->slices[f->n++] = slice_make(zmq_msg_data(frame), zmq_msg_size(frame));
    }
}

/* False when nothing was there. */
static bool receive_one(struct jp_chan *ch, size_t *bytes)
{
    struct jp_channels *s = ch->set;
    struct jp_frames *f = &s->frames;
    receive_frames(f, ch->socket, bytes);
    if (f->n == 0)
        return false;
    s->cfg.on_frames(s->cfg.ctx, ch->id, f);
    for (size_t i = 0; i < f->n; i++)
        zmq_msg_close(&f->msgs[i]);
    return true;
}

/* One message of each readable channel in turn, until nothing is left or the share is used up. */
static void receive_share(struct jp_channels *s)
{
    size_t bytes = 0;
    unsigned messages = 0;
    for (unsigned idle = 0; idle < s->n && !s->closed;) {
        struct jp_chan *ch = &s->channels[s->first];
        s->first = (s->first + 1) % s->n;
        if (!ch->readable || ch->held) {
            idle++;
            continue;
        }
        if (messages == TURN_MESSAGES || bytes >= TURN_BYTES) {
            s->paused = true;
            loop_defer_post(s->again);
            return;
        }
        if (receive_one(ch, &bytes)) {
            messages++;
            idle = 0;
        } else if (!s->closed) {
            ch->readable = false;
        }
    }
}

static void receive(struct jp_channels *s)
{
    if (s->receiving || s->paused)
        return;
    s->receiving = true;
    receive_share(s);
    if (!s->closed && s->cfg.on_round)
        s->cfg.on_round(s->cfg.ctx);
    s->receiving = false;
    if (s->closed)
        s->cfg.on_gone(s->cfg.ctx);
}

static void on_readable(void *ctx, int events)
{
    struct jp_chan *ch = ctx;
    ch->readable = true;
    receive(ch->set);
}

static void on_again(void *ctx)
{
    struct jp_channels *s = ctx;
    s->paused = false;
    receive(s);
}

void jp_channels_hold(struct jp_channels *s, unsigned id, bool held)
{
    struct jp_chan *ch = &s->channels[id];
    if (ch->held == held)
        return;
    ch->held = held;
    if (!held)
        loop_defer_post(s->again);
}

/* Making and freeing */

int jp_context_new(struct jp_context **ret, struct loop *loop, struct err *err)
{
    void *zmq = zmq_ctx_new();
    if (!zmq)
        return jp_zmq_failed(err, "ZeroMQ");
    zmq_ctx_set(zmq, ZMQ_IO_THREADS, 1);
    /* Not ZMQ_SOCKET_LIMIT: libzmq makes and fills tables for all of them, 12 bytes each. */
    zmq_ctx_set(zmq, ZMQ_MAX_SOCKETS, SOCKETS_MAX);
    struct jp_context *c = MEM_NEW(struct jp_context);
    c->zmq = zmq;
    c->loop = loop;
    *ret = c;
    return 0;
}

struct jp_context *jp_context_free(struct jp_context *c)
{
    if (!c)
        return NULL;
    while (zmq_ctx_term(c->zmq) < 0 && zmq_errno() == EINTR)
        ;
    free(c);
    return NULL;
}

void jp_channels_init(struct jp_channels *s, struct jp_context *context, unsigned n,
                      const struct jp_channels_cfg *cfg)
{
    s->context = context;
    s->cfg = *cfg;
    s->n = n;
    s->again = loop_defer_new(context->loop, on_again, s);
    for (unsigned i = 0; i < n; i++)
        s->channels[i] = (struct jp_chan){.set = s, .id = i};
}

int jp_channels_open(struct jp_channels *s, unsigned id, int type, struct err *err)
{
    struct jp_chan *ch = &s->channels[id];
    ch->socket = zmq_socket(s->context->zmq, type);
    if (!ch->socket)
        return jp_zmq_failed(err, "ZeroMQ socket");
    int64_t max = (int64_t)JP_FRAME_BYTES;
    if (zmq_setsockopt(ch->socket, ZMQ_MAXMSGSIZE, &max, sizeof(max)) < 0)
        return jp_zmq_failed(err, "ZeroMQ option");
    return 0;
}

int jp_channels_watch(struct jp_channels *s, unsigned id, struct err *err)
{
    struct jp_chan *ch = &s->channels[id];
    int fd;
    size_t size = sizeof(fd);
    if (zmq_getsockopt(ch->socket, ZMQ_FD, &fd, &size) < 0)
        return jp_zmq_failed(err, "ZeroMQ descriptor");
    int r = loop_poll_new(&ch->poll, s->context->loop, fd, on_readable, ch, err);
    if (r < 0)
        return r;
    loop_poll_set(ch->poll, LOOP_READ);
    ch->readable = true; /* what came before the watch gives no event */
    loop_defer_post(s->again);
    return 0;
}

void jp_channels_close(struct jp_channels *s)
{
    s->closed = true;
    loop_defer_free(s->again);
    for (unsigned i = 0; i < s->n; i++) {
        /* the watch first: the descriptor is gone with the socket */
        loop_poll_free(s->channels[i].poll);
        if (s->channels[i].socket)
            zmq_close(s->channels[i].socket);
    }
    if (!s->receiving)
        s->cfg.on_gone(s->cfg.ctx);
}

int jp_set_options(void *socket, const struct jp_option *options, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (zmq_setsockopt(socket, options[i].option, &options[i].value, sizeof(int)) < 0)
            return jp_zmq_failed(err, "ZeroMQ option");
    return 0;
}

/* Sending */

static int send_frame(void *socket, struct slice frame, int flags)
{
    int r;
    do
        r = zmq_send(socket, frame.ptr, frame.len, ZMQ_DONTWAIT | flags);
    while (r < 0 && zmq_errno() == EINTR);
    return r;
}

/* Only the first frame can find the queue full: a message is taken whole or not at all. */
static int send_frames(void *socket, const struct slice *frames, size_t n)
{
    int r = 0;
    for (size_t i = 0; i < n && r >= 0; i++)
        r = send_frame(socket, frames[i], i + 1 < n ? ZMQ_SNDMORE : 0);
    return r < 0 ? -1 : 0;
}

/* Takes in what the mailbox has to tell. */
static void look(struct jp_chan *ch)
{
    int events = ZMQ_POLLIN;
    size_t size = sizeof(events);
    if (zmq_getsockopt(ch->socket, ZMQ_EVENTS, &events, &size) == 0 && !(events & ZMQ_POLLIN))
        return;
    ch->readable = true;
    loop_defer_post(ch->set->again);
}

int jp_channels_send(struct jp_channels *s, unsigned id, const struct slice *frames, size_t n)
{
    struct jp_chan *ch = &s->channels[id];
    int r = send_frames(ch->socket, frames, n);
    int e = r < 0 ? zmq_errno() : 0;
    look(ch);
    errno = e;
    return r;
}

int jp_channels_publish(struct jp_channels *s, unsigned id, const struct slice *frames, size_t n)
{
    int r = jp_channels_send(s, id, frames, n);
    if (r == 0 || errno != EAGAIN)
        return r;
    /* No look behind this attempt: it would take the news of room that came since. */
    r = send_frames(s->channels[id].socket, frames, n);
    if (r == 0)
        look(&s->channels[id]);
    return r;
}
