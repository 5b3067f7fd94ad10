/*
 * A client's four channels. A client may be freed in its own on_msg: its sockets close at once, its
 * memory goes when the receive has unwound (jp_channel.c).
 */
#include "lib/jupyter/jp_client.h"

#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/jupyter/jp_channel.h"
#include "lib/jupyter/jp_conn_file.h"

#include <errno.h>

enum {
    SEND_QUEUE_MAX = 10000,
    IOPUB_QUEUE_MAX = 128, /* then the kernel waits; the launcher sees to it that nothing is lost */
    RECONNECT_MS = 3,      /* libzmq adds up to as much again, at random */
    CHANNELS = JP_IOPUB + 1,
};
#define HEADER_BYTES (KIB(4))

struct jp_client {
    struct jp_channels channels;
    struct crypto_hmac key;
    struct jp_client_cfg cfg;
    char session[ID_UUID_SIZE];
    unsigned long dropped;
    unsigned long msg_count;
    struct jp_msg msg;
};

static void on_frames(void *ctx, unsigned id, const struct jp_frames *f)
{
    struct jp_client *c = ctx;
    c->msg.channel = (enum jp_channel)id;
    if (f->whole && jp_wire_decode(&c->msg, f->slices, f->n, c->cfg.trusted ? NULL : &c->key) == 0)
        c->cfg.on_msg(c->cfg.ctx, &c->msg);
    else
        c->dropped++;
}

static void on_gone(void *ctx)
{
    struct jp_client *c = ctx;
    crypto_hmac_done(&c->key);
    free(c);
}

static int set_options(struct jp_client *c, unsigned id, struct err *err)
{
    const struct jp_option options[] = {
        {ZMQ_RCVHWM, id == JP_IOPUB ? IOPUB_QUEUE_MAX : 0},
        {ZMQ_SNDHWM, SEND_QUEUE_MAX},
        {ZMQ_LINGER, 0},
        {ZMQ_RECONNECT_IVL, RECONNECT_MS},
        {ZMQ_RECONNECT_IVL_MAX, RECONNECT_MS},
    };
    void *socket = c->channels.channels[id].socket;
    int r = jp_set_options(socket, options, ARRAY_LEN(options), err);
    if (r < 0)
        return r;
    int z = id == JP_IOPUB ? zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0)
                           : zmq_setsockopt(socket, ZMQ_ROUTING_ID, c->session, strlen(c->session));
    return z < 0 ? jp_zmq_failed(err, "ZeroMQ option") : 0;
}

static int open_channel(struct jp_client *c, unsigned id, const char *ipc_prefix, struct err *err)
{
    static const int ports[CHANNELS] = {
        [JP_SHELL] = JP_PORT_SHELL,
        [JP_CONTROL] = JP_PORT_CONTROL,
        [JP_STDIN] = JP_PORT_STDIN,
        [JP_IOPUB] = JP_PORT_IOPUB,
    };
    int r = jp_channels_open(&c->channels, id, id == JP_IOPUB ? ZMQ_SUB : ZMQ_DEALER, err);
    if (r < 0 || (r = set_options(c, id, err)) < 0)
        return r;
    _cleanup_(freep) char *url = mem_printf("ipc://%s-%d", ipc_prefix, ports[id]);
    if (zmq_connect(c->channels.channels[id].socket, url) < 0)
        return jp_zmq_failed(err, url);
    return jp_channels_watch(&c->channels, id, err);
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
    c->cfg =
        (struct jp_client_cfg){.trusted = cfg->trusted, .on_msg = cfg->on_msg, .ctx = cfg->ctx};
    crypto_hmac_init(&c->key, cfg->key, strlen(cfg->key));
    crypto_new_uuid(c->session);
    const struct jp_channels_cfg channels = {.on_frames = on_frames, .on_gone = on_gone, .ctx = c};
    jp_channels_init(&c->channels, context, CHANNELS, &channels);
    for (unsigned i = 0; i < CHANNELS; i++) {
        r = open_channel(c, i, cfg->ipc_prefix, err);
        if (r < 0) {
            jp_client_free(c);
            return r;
        }
    }
    *ret = c;
    return 0;
}

struct jp_client *jp_client_free(struct jp_client *c)
{
    if (c && !c->channels.closed)
        jp_channels_close(&c->channels);
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

static int send_frames(struct jp_client *c, enum jp_channel id, const struct slice *frames,
                       size_t n, struct err *err)
{
    if (jp_channels_send(&c->channels, id, frames, n) == 0)
        return 0;
    if (errno == EAGAIN)
        return err_set(err, ERR_UNAVAILABLE, "the kernel does not take its messages");
    return err_set(err, ERR_INTERNAL, "message to the kernel: %s", zmq_strerror(errno));
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
