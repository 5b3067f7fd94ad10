/*
 * ZeroMQ on the loop. The descriptor of a ZeroMQ socket is edge-triggered and belongs to the
 * socket's mailbox, which any call on the socket may empty, a send too. So a socket counts as
 * `readable` from its descriptor's event until a receive says EAGAIN, which re-arms the
 * descriptor; and after a send its ZMQ_EVENTS are read at once, which also re-arms it or tells
 * that there is something to read. Sockets that are not `readable` are not touched: an attempt
 * costs a system call.
 *
 * A client may be freed in its own on_msg: its sockets close at once, its memory goes when the
 * receive has unwound. Everything runs on the loop's thread; libzmq has one I/O thread of its own.
 */
#include "lib/jupyter/jp_client.h"

#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/jupyter/jp_conn_file.h"
#include "lib/jupyter/jp_wire.h"
#include "lib/loop/loop.h"

#include <errno.h>
#include <zmq.h>

enum {
    TURN_MESSAGES = 256,
    SEND_QUEUE_MAX = 10000,
    IOPUB_QUEUE_MAX = 128, /* then the kernel waits; the launcher sees to it that nothing is lost */
    RECONNECT_MS = 3,      /* libzmq adds up to as much again, at random */
    CHANNELS = JP_IOPUB + 1,
    SOCKETS_MAX = 1024, /* of a context: 200 kernels, counting those whose sockets still close */
};
#define TURN_BYTES   MIB(4)
#define FRAME_MAX    ((int64_t)MIB(512))
#define HEADER_BYTES (KIB(4))

struct jp_context {
    void *zmq;
    struct loop *loop;
};

struct channel {
    struct jp_client *client;
    enum jp_channel id;
    void *socket;
    struct loop_poll *poll;
    bool readable;
};

struct jp_client {
    struct jp_context *context;
    struct channel channels[CHANNELS];
    struct loop_defer *again;
    struct crypto_hmac key;
    struct jp_client_cfg cfg;
    char session[ID_UUID_SIZE];
    unsigned long dropped;
    unsigned long msg_count;
    unsigned first; /* the channel whose turn it is */
    bool paused;    /* this turn's share is used up; `again` is posted */
    bool receiving;
    bool freed;
    struct jp_msg msg;
    zmq_msg_t frames[JP_FRAMES_MAX];
    struct slice slices[JP_FRAMES_MAX];
};

static int zmq_failed(struct err *err, const char *what)
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

/*
 * All frames of one message; what is over the ceiling is dropped. Returns the frames kept, 0 when
 * nothing is there; *whole tells whether they are a message.
 */
static size_t receive_frames(struct channel *ch, size_t *bytes, bool *whole)
{
    struct jp_client *c = ch->client;
    size_t n = 0;
    *whole = true;
    for (bool more = true; more;) {
        zmq_msg_t extra;
        zmq_msg_t *frame = n < JP_FRAMES_MAX ? &c->frames[n] : &extra;
        zmq_msg_init(frame);
        if (receive_frame(frame, ch->socket) < 0) {
            /* libzmq hands over whole messages: in the middle this does not happen */
            zmq_msg_close(frame);
            *whole = false;
            return n;
        }
        more = zmq_msg_more(frame);
        *bytes += zmq_msg_size(frame);
        if (frame == &extra) {
            zmq_msg_close(frame);
            *whole = false;
        } else {
            n++;
        }
    }
    return n;
}

/* False when nothing was there. */
static bool receive_one(struct channel *ch, size_t *bytes)
{
    struct jp_client *c = ch->client;
    bool whole;
    size_t n = receive_frames(ch, bytes, &whole);
    if (n == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        c->slices[i] = slice_make(zmq_msg_data(&c->frames[i]), zmq_msg_size(&c->frames[i]));
    c->msg.channel = ch->id;
    if (whole && jp_wire_decode(&c->msg, c->slices, n, c->cfg.trusted ? NULL : &c->key) == 0)
        c->cfg.on_msg(c->cfg.ctx, &c->msg);
    else
        c->dropped++;
    for (size_t i = 0; i < n; i++)
        zmq_msg_close(&c->frames[i]);
    return true;
}

static void destroy(struct jp_client *c)
{
    crypto_hmac_done(&c->key);
    free(c);
}

/* One message of each readable channel in turn, until nothing is left or the share is used up. */
static void receive_share(struct jp_client *c)
{
    size_t bytes = 0;
    unsigned messages = 0;
    for (unsigned idle = 0; idle < CHANNELS && !c->freed;) {
        struct channel *ch = &c->channels[c->first];
        c->first = (c->first + 1) % CHANNELS;
        if (!ch->readable) {
            idle++;
            continue;
        }
        if (messages == TURN_MESSAGES || bytes >= TURN_BYTES) {
            c->paused = true;
            loop_defer_post(c->again);
            return;
        }
        if (receive_one(ch, &bytes)) {
            messages++;
            idle = 0;
        } else if (!c->freed) {
            ch->readable = false;
        }
    }
}

static void receive(struct jp_client *c)
{
    if (c->receiving || c->paused)
        return;
    c->receiving = true;
    receive_share(c);
    c->receiving = false;
    if (c->freed)
        destroy(c);
}

static void on_readable(void *ctx, int events)
{
    struct channel *ch = ctx;
    ch->readable = true;
    receive(ch->client);
}

static void on_again(void *ctx)
{
    struct jp_client *c = ctx;
    c->paused = false;
    receive(c);
}

/* Making and freeing */

int jp_context_new(struct jp_context **ret, struct loop *loop, struct err *err)
{
    void *zmq = zmq_ctx_new();
    if (!zmq)
        return zmq_failed(err, "ZeroMQ");
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

static int set_int(void *socket, int option, int value, struct err *err)
{
    if (zmq_setsockopt(socket, option, &value, sizeof(value)) < 0)
        return zmq_failed(err, "ZeroMQ option");
    return 0;
}

static int set_options(struct channel *ch, struct err *err)
{
    const struct {
        int option, value;
    } options[] = {
        {ZMQ_RCVHWM, ch->id == JP_IOPUB ? IOPUB_QUEUE_MAX : 0},
        {ZMQ_SNDHWM, SEND_QUEUE_MAX},
        {ZMQ_LINGER, 0},
        {ZMQ_RECONNECT_IVL, RECONNECT_MS},
        {ZMQ_RECONNECT_IVL_MAX, RECONNECT_MS},
    };
    int r = 0;
    for (size_t i = 0; i < ARRAY_LEN(options) && r == 0; i++)
        r = set_int(ch->socket, options[i].option, options[i].value, err);
    if (r < 0)
        return r;
    int64_t max = FRAME_MAX;
    const char *session = ch->client->session;
    int z = zmq_setsockopt(ch->socket, ZMQ_MAXMSGSIZE, &max, sizeof(max));
    if (z == 0 && ch->id == JP_IOPUB)
        z = zmq_setsockopt(ch->socket, ZMQ_SUBSCRIBE, "", 0);
    else if (z == 0)
        z = zmq_setsockopt(ch->socket, ZMQ_ROUTING_ID, session, strlen(session));
    return z < 0 ? zmq_failed(err, "ZeroMQ option") : 0;
}

static int open_channel(struct channel *ch, const char *ipc_prefix, struct err *err)
{
    static const int ports[CHANNELS] = {
        [JP_SHELL] = JP_PORT_SHELL,
        [JP_CONTROL] = JP_PORT_CONTROL,
        [JP_STDIN] = JP_PORT_STDIN,
        [JP_IOPUB] = JP_PORT_IOPUB,
    };
    struct jp_context *context = ch->client->context;
    ch->socket = zmq_socket(context->zmq, ch->id == JP_IOPUB ? ZMQ_SUB : ZMQ_DEALER);
    if (!ch->socket)
        return zmq_failed(err, "ZeroMQ socket");
    int r = set_options(ch, err);
    if (r < 0)
        return r;
    _cleanup_(freep) char *url = mem_printf("ipc://%s-%d", ipc_prefix, ports[ch->id]);
    if (zmq_connect(ch->socket, url) < 0)
        return zmq_failed(err, url);
    int fd;
    size_t size = sizeof(fd);
    if (zmq_getsockopt(ch->socket, ZMQ_FD, &fd, &size) < 0)
        return zmq_failed(err, "ZeroMQ descriptor");
    r = loop_poll_new(&ch->poll, context->loop, fd, on_readable, ch, err);
    if (r < 0)
        return r;
    loop_poll_set(ch->poll, LOOP_READ);
    ch->readable = true; /* what came before the watch gives no event */
    return 0;
}

int jp_client_new(struct jp_client **ret, struct jp_context *context,
                  const struct jp_client_cfg *cfg, struct err *err)
{
    int r = jp_conn_check_prefix(cfg->ipc_prefix, err);
    if (r < 0)
        return r;
    if (!cfg->key || !*cfg->key)
        return err_set(err, ERR_INVALID, "a kernel connection needs a key");
    struct jp_client *c = MEM_NEW(struct jp_client);
    c->context = context;
    c->cfg =
        (struct jp_client_cfg){.trusted = cfg->trusted, .on_msg = cfg->on_msg, .ctx = cfg->ctx};
    crypto_hmac_init(&c->key, cfg->key, strlen(cfg->key));
    crypto_new_uuid(c->session);
    c->again = loop_defer_new(context->loop, on_again, c);
    for (unsigned i = 0; i < CHANNELS; i++) {
        c->channels[i].client = c;
        c->channels[i].id = (enum jp_channel)i;
        r = open_channel(&c->channels[i], cfg->ipc_prefix, err);
        if (r < 0) {
            jp_client_free(c);
            return r;
        }
    }
    loop_defer_post(c->again);
    *ret = c;
    return 0;
}

struct jp_client *jp_client_free(struct jp_client *c)
{
    if (!c || c->freed)
        return NULL;
    c->freed = true;
    loop_defer_free(c->again);
    for (unsigned i = 0; i < CHANNELS; i++) {
        /* the watch first: the descriptor is gone with the socket */
        loop_poll_free(c->channels[i].poll);
        if (c->channels[i].socket)
            zmq_close(c->channels[i].socket);
    }
    if (!c->receiving)
        destroy(c);
    return NULL;
}

const char *jp_client_session(const struct jp_client *c)
{
    return c->session;
}

unsigned long jp_client_dropped(const struct jp_client *c)
{
    return c->dropped;
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

static void look_after_send(struct channel *ch)
{
    int events = ZMQ_POLLIN;
    size_t size = sizeof(events);
    if (zmq_getsockopt(ch->socket, ZMQ_EVENTS, &events, &size) == 0 && !(events & ZMQ_POLLIN))
        return;
    ch->readable = true;
    loop_defer_post(ch->client->again);
}

/* Only the first frame can find the queue full: a message is taken whole or not at all. */
static int send_frames(struct jp_client *c, enum jp_channel id, const struct slice *frames,
                       size_t n, struct err *err)
{
    struct channel *ch = &c->channels[id];
    int r = 0, e = 0;
    for (size_t i = 0; i < n && r >= 0; i++) {
        r = send_frame(ch->socket, frames[i], i + 1 < n ? ZMQ_SNDMORE : 0);
        e = r < 0 ? zmq_errno() : 0;
    }
    look_after_send(ch);
    if (r >= 0)
        return 0;
    if (e == EAGAIN)
        return err_set(err, ERR_UNAVAILABLE, "the kernel does not take its messages");
    return err_set(err, ERR_INTERNAL, "message to the kernel: %s", zmq_strerror(e));
}

int jp_client_forward(struct jp_client *c, enum jp_channel channel, struct slice ident,
                      const struct slice frames[4], const struct slice *buffers, size_t n_buffers,
                      struct err *err)
{
    struct slice out[JP_FRAMES_MAX];
    char sig[CRYPTO_HEX_SIZE];
    if (channel == JP_IOPUB)
        return err_set(err, ERR_INVALID, "nothing can be sent on iopub");
    if (frames[JP_HEADER].len > JP_HEADER_MAX || frames[JP_PARENT].len > JP_HEADER_MAX)
        return err_set(err, ERR_TOO_LARGE, "header longer than %zu bytes", JP_HEADER_MAX);
    size_t n = jp_wire_encode(out, sig, &c->key, ident, frames, buffers, n_buffers);
    if (n == 0)
        return err_set(err, ERR_TOO_LARGE, "more than %d buffers", JP_BUFFERS_MAX);
    return send_frames(c, channel, out, n, err);
}

int jp_client_send(struct jp_client *c, const struct jp_send *send, char ret_msg_id[JP_ID_SIZE],
                   struct err *err)
{
    char made[JP_ID_SIZE];
    const char *msg_id = send->msg_id;
    if (!msg_id) {
        snprintf(made, sizeof(made), "%s_%lu", c->session, ++c->msg_count);
        msg_id = made;
    } else if (!*msg_id || strlen(msg_id) >= JP_ID_SIZE) {
        return err_set(err, ERR_INVALID, "message ids have 1 to %d bytes", JP_ID_SIZE - 1);
    }
    struct buf header;
    buf_init(&header, HEADER_BYTES);
    int r = jp_wire_header(&header, msg_id, c->session, send->msg_type, clk_wall_us());
    if (r < 0) {
        buf_done(&header);
        return err_set(err, ERR_TOO_LARGE, "message header longer than %zu bytes", HEADER_BYTES);
    }
    const struct slice frames[JP_JSON_FRAMES] = {
        [JP_HEADER] = buf_slice(&header),
        [JP_PARENT] = send->parent,
        [JP_CONTENT] = send->content.len ? send->content : slice_str("{}"),
    };
    r = jp_client_forward(c, send->channel, send->ident, frames, NULL, 0, err);
    buf_done(&header);
    if (r == 0 && ret_msg_id)
        memcpy(ret_msg_id, msg_id, strlen(msg_id) + 1);
    return r;
}
