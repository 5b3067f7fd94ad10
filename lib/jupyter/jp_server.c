/*
 * Bound sockets for local clients. Replies to a client that does not read wait up to a ceiling and
 * are dropped behind it: they concern nobody else. Outputs concern everybody: with ZMQ_XPUB_NODROP
 * the queue of the slowest subscriber tells when to wait, and the publisher decides for how long.
 * Whoever reaches the port can subscribe without a key, so a subscriber must not be able to stop
 * the others for ever: for one message the option is taken back, and only full queues lose it.
 */
#include "lib/jupyter/jp_server.h"

#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"
#include "lib/base/utf8.h"
#include "lib/json/jsonx.h"
#include "lib/jupyter/jp_channel.h"

#include <errno.h>

enum {
    HEARTBEAT = JP_IOPUB + 1,
    CHANNELS,
    REQUESTS_MAX = 1000, /* of one client, while nobody reads */
    LINGER_MS = 1000,
};
#define TOPIC_MAX     255
#define WELCOME_BYTES KIB(4)
#define SMALL_BYTES   KIB(64) /* heartbeats and subscriptions */

static const int ports[CHANNELS] = {
    [JP_SHELL] = JP_PORT_SHELL, [JP_CONTROL] = JP_PORT_CONTROL, [JP_STDIN] = JP_PORT_STDIN,
    [JP_IOPUB] = JP_PORT_IOPUB, [HEARTBEAT] = JP_PORT_HB,
};
static const char *const names[CHANNELS] = {
    [JP_SHELL] = "shell", [JP_CONTROL] = "control",  [JP_STDIN] = "stdin",
    [JP_IOPUB] = "iopub", [HEARTBEAT] = "heartbeat",
};

struct jp_server {
    struct jp_channels channels;
    struct jp_guard *guard;
    struct jp_server_cfg cfg;
    struct jp_conn conn; /* without its key: what must be unlinked */
    struct jp_server_counts counts;
    struct jp_request request;
    char session[ID_UUID_SIZE];
    unsigned long welcomes;
    bool full; /* publishing was refused; on_room is owed */
};

static void *socket_of(const struct jp_server *s, unsigned id)
{
    return s->channels.channels[id].socket;
}

/* ---- sending ---- */

bool jp_server_reply(struct jp_server *s, enum jp_channel channel, const struct slice *idents,
                     size_t n_idents, const struct jp_outgoing *msg)
{
    struct slice out[JP_IDENTS_MAX + JP_FRAMES_MAX];
    char sig[CRYPTO_HEX_SIZE];
    if (n_idents == 0 || n_idents > JP_IDENTS_MAX)
        return false;
    memcpy(out, idents, n_idents * sizeof(*idents));
    size_t n = jp_wire_encode(out + n_idents, sig, jp_guard_key(s->guard), slice_str(""), msg->json,
                              msg->buffers, msg->n_buffers);
    if (n > 0 && jp_channels_send(&s->channels, channel, out, n_idents + n) == 0)
        return true;
    s->counts.undelivered++;
    return false;
}

static void set_nodrop(struct jp_server *s, int on)
{
    zmq_setsockopt(socket_of(s, JP_IOPUB), ZMQ_XPUB_NODROP, &on, sizeof(on));
}

int jp_server_publish(struct jp_server *s, struct slice topic, const struct jp_outgoing *msg,
                      bool lossy)
{
    struct slice out[JP_FRAMES_MAX];
    char sig[CRYPTO_HEX_SIZE];
    size_t n = jp_wire_encode(out, sig, jp_guard_key(s->guard), topic, msg->json, msg->buffers,
                              msg->n_buffers);
    if (n == 0)
        return 0;
    int r = jp_channels_publish(&s->channels, JP_IOPUB, out, n);
    s->full = r < 0 && errno == EAGAIN;
    if (!s->full || !lossy)
        return s->full ? JP_SERVER_FULL : 0;
    s->counts.lost++;
    s->full = false;
    set_nodrop(s, 0);
    jp_channels_publish(&s->channels, JP_IOPUB, out, n);
    set_nodrop(s, 1);
    return 0;
}

/* ---- receiving ---- */

static void welcome(struct jp_server *s, struct slice topic)
{
    char msg_id[JP_ID_SIZE];
    snprintf(msg_id, sizeof(msg_id), "%s_%lu", s->session, ++s->welcomes);
    struct buf header, content;
    buf_init(&header, WELCOME_BYTES);
    buf_init(&content, WELCOME_BYTES);
    jp_wire_header(&header, msg_id, s->session, "iopub_welcome", clk_wall_us());
    buf_append_str(&content, "{\"subscription\":");
    jsonx_append_string(&content, topic);
    buf_append_str(&content, "}");
    const struct slice json[JP_JSON_FRAMES] = {
        [JP_HEADER] = buf_slice(&header), [JP_CONTENT] = buf_slice(&content)};
    const struct jp_outgoing msg = {.json = json};
    bool full = s->full;
    jp_server_publish(s, topic, &msg, /* lossy= */ true);
    s->full = full;
    buf_done(&header);
    buf_done(&content);
}

/* 1 and a topic is a subscription, 0 and a topic its end. */
static void on_subscription(struct jp_server *s, const struct jp_frames *f)
{
    struct slice first = f->slices[0];
    if (f->n != 1 || first.len == 0 || first.len > 1 + TOPIC_MAX || first.ptr[0] != 1)
        return;
    struct slice topic = slice_make(first.ptr + 1, first.len - 1);
    if (utf8_valid(topic))
        welcome(s, topic);
}

static void on_frames(void *ctx, unsigned id, const struct jp_frames *f)
{
    struct jp_server *s = ctx;
    if (id == HEARTBEAT) {
        if (f->whole)
            jp_channels_send(&s->channels, id, f->slices, f->n);
        return;
    }
    if (id == JP_IOPUB) {
        on_subscription(s, f);
        return;
    }
    /* Of a message that is not whole the end is missing, and the guard finds out. */
    s->request.msg.channel = (enum jp_channel)id;
    int r = jp_guard_take(s->guard, &s->request, f->slices, f->whole ? f->n : 0);
    if (r == 0)
        s->cfg.on_request(s->cfg.ctx, &s->request);
    else
        s->cfg.on_dropped(s->cfg.ctx, (enum err_code) - r);
}

static void on_round(void *ctx)
{
    struct jp_server *s = ctx;
    if (!s->full)
        return;
    s->full = false;
    s->cfg.on_room(s->cfg.ctx);
}

void jp_server_hold(struct jp_server *s, bool held)
{
    jp_channels_hold(&s->channels, JP_SHELL, held);
    jp_channels_hold(&s->channels, JP_CONTROL, held);
    jp_channels_hold(&s->channels, JP_STDIN, held);
}

/* ---- making and freeing ---- */

static void on_gone(void *ctx)
{
    struct jp_server *s = ctx;
    jp_guard_free(s->guard);
    jp_conn_done(&s->conn);
    free(s);
}

static int set_options(struct jp_server *s, unsigned id, struct err *err)
{
    static const struct jp_option common[] = {
        {ZMQ_RCVHWM, REQUESTS_MAX},
        {ZMQ_LINGER, LINGER_MS},
    };
    /* Mandatory: what cannot be delivered is said, not swallowed. */
    static const struct jp_option router[] = {
        {ZMQ_SNDHWM, JP_SERVER_REPLIES},
        {ZMQ_ROUTER_HANDOVER, 1},
        {ZMQ_ROUTER_MANDATORY, 1},
    };
    static const struct jp_option xpub[] = {
        {ZMQ_SNDHWM, JP_SERVER_OUTPUTS},
        {ZMQ_XPUB_VERBOSE, 1},
        {ZMQ_XPUB_NODROP, 1},
    };
    bool requests = id != HEARTBEAT && id != JP_IOPUB;
    int64_t max = requests ? (int64_t)JP_SERVER_FRAME_BYTES : (int64_t)SMALL_BYTES;
    if (zmq_setsockopt(socket_of(s, id), ZMQ_MAXMSGSIZE, &max, sizeof(max)) < 0)
        return jp_zmq_failed(err, "ZeroMQ option");
    int r = jp_set_options(socket_of(s, id), common, ARRAY_LEN(common), err);
    if (r < 0 || id == HEARTBEAT)
        return r;
    if (id == JP_IOPUB)
        return jp_set_options(socket_of(s, id), xpub, ARRAY_LEN(xpub), err);
    return jp_set_options(socket_of(s, id), router, ARRAY_LEN(router), err);
}

static int bind_failed(unsigned id, const char *url, struct err *err)
{
    int e = errno;
    enum err_code code = e == EADDRINUSE ? ERR_CONFLICT : ERR_INVALID;
    return err_set(err, code, "the %s socket cannot be at %s: %s", names[id], url, zmq_strerror(e));
}

/* Which port the system chose. */
static int read_port(void *socket, int *ret, struct err *err)
{
    char endpoint[JP_CONN_URL_SIZE];
    size_t size = sizeof(endpoint);
    uint64_t port = 0;
    if (zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size) < 0)
        return jp_zmq_failed(err, "ZeroMQ endpoint");
    const char *colon = strrchr(endpoint, ':');
    int r = parse_u64(colon ? colon + 1 : "", 1, 65535, &port, err);
    *ret = (int)port;
    return r;
}

static int open_channel(struct jp_server *s, unsigned id, struct err *err)
{
    char url[JP_CONN_URL_SIZE];
    int *port = &s->conn.ports[ports[id]];
    int r = jp_channels_open(&s->channels, id, id == JP_IOPUB ? ZMQ_XPUB : ZMQ_ROUTER, err);
    if (r < 0 || (r = set_options(s, id, err)) < 0)
        return r;
    jp_conn_url(&s->conn, ports[id], url);
    if (zmq_bind(socket_of(s, id), url) < 0)
        return bind_failed(id, url, err);
    if (*port == 0 && (r = read_port(socket_of(s, id), port, err)) < 0)
        return r;
    return jp_channels_watch(&s->channels, id, err);
}

int jp_server_new(struct jp_server **ret, struct jp_context *context,
                  const struct jp_server_cfg *cfg, struct err *err)
{
    struct jp_server *s = MEM_NEW(struct jp_server);
    s->cfg = *cfg;
    s->cfg.conn = NULL;
    s->conn.ipc = cfg->conn->ipc;
    s->conn.ip = mem_dup_str(cfg->conn->ip);
    memcpy(s->conn.ports, cfg->conn->ports, sizeof(s->conn.ports));
    s->guard = jp_guard_new(cfg->conn->key);
    crypto_new_uuid(s->session);
    const struct jp_channels_cfg channels = {
        .on_frames = on_frames, .on_round = on_round, .on_gone = on_gone, .ctx = s};
    jp_channels_init(&s->channels, context, CHANNELS, &channels);
    int r = 0;
    for (unsigned id = 0; id < CHANNELS && r == 0; id++)
        r = open_channel(s, id, err);
    if (r < 0) {
        jp_server_free(s);
        return r;
    }
    memcpy(cfg->conn->ports, s->conn.ports, sizeof(s->conn.ports));
    *ret = s;
    return 0;
}

static void unlink_sockets(const struct jp_server *s)
{
    char url[JP_CONN_URL_SIZE];
    for (unsigned id = 0; id < CHANNELS; id++) {
        jp_conn_url(&s->conn, ports[id], url);
        unlink(url + strlen("ipc://"));
    }
}

struct jp_server *jp_server_free(struct jp_server *s)
{
    if (!s || s->channels.closed)
        return NULL;
    if (s->conn.ipc)
        unlink_sockets(s); /* libzmq leaves them */
    jp_channels_close(&s->channels);
    return NULL;
}

struct jp_server_counts jp_server_counts(const struct jp_server *s)
{
    struct jp_server_counts counts = s->counts;
    counts.dropped = *jp_guard_counts(s->guard);
    return counts;
}
