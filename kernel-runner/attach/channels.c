/*
 * One connection of a Jupyter client. It owns the WebSocket and the upgraded socket below; it ends
 * by on_closed (then it closes the socket, and http tells on_close) or by on_close alone (the
 * server is going); memory goes in on_close.
 *
 * How far a client is: WebSocket clients answer pings in order, so a ping with the number of the
 * last entry sent comes back when everything before it has arrived. One is under way at a time.
 */
#include "kernel-runner/attach/channels.h"

#include "kernel-runner/attach/attach.h"
#include "lib/api/jupyter_api.h"
#include "lib/api/limits.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/http/http.h"
#include "lib/ws/ws.h"
#include "lib/ws/ws_handshake.h"

#include <strings.h>

#define ACK_MS       10 /* from a message to the ping that asks for it */
#define LEGACY_SPARE KIB(8)
#define SEND_MAX     MIB(128) /* one message; what is larger is said to be missing */
#define VERSION      "13"

struct channels {
    struct runner *runner;
    struct hub_session *session; /* NULL: detached */
    struct http_upgrade *upgrade;
    struct ws_fd *fd;
    struct ws_conn *ws;
    struct send_room_user room;
    struct loop_timer *ack_timer;
    uint64_t pinged; /* the number of the ping under way; 0: none */
    bool legacy;
    bool all;
    bool no_binary; /* a client that breaks on binary frames */
    bool told;      /* that messages are dropped for it */
    bool open;
    char kernel_id[ID_UUID_SIZE];
    char session_id[JP_ID_SIZE];
};

/* ---- acknowledgements ---- */

static void send_ping(void *ctx)
{
    struct channels *c = ctx;
    uint64_t sent = c->session ? hub_sent(c->session) : 0;
    if (!c->session || c->pinged)
        return;
    c->pinged = sent + 1; /* 0 is none */
    ws_conn_ping(c->ws, slice_make((const char *)&sent, sizeof(sent)));
}

static void on_pong(void *ctx, struct slice payload)
{
    struct channels *c = ctx;
    uint64_t seq;
    if (!c->session || !c->pinged || payload.len != sizeof(seq))
        return;
    memcpy(&seq, payload.ptr, sizeof(seq));
    if (seq + 1 != c->pinged)
        return;
    c->pinged = 0;
    hub_acked(c->session, seq);
    if (hub_sent(c->session) > seq)
        loop_timer_start(c->ack_timer, ACK_MS, 0);
}

static void ask_for_ack(struct channels *c)
{
    if (c->session_id[0] && !c->pinged && !loop_timer_active(c->ack_timer))
        loop_timer_start(c->ack_timer, ACK_MS, 0);
}

/* ---- to the client ---- */

static void drop_binary(struct channels *c, const char *type)
{
    metrics_count(runner_metrics(c->runner), RUNNER_M_CLIENT_DROPPED, 0, 1);
    if (c->told)
        return;
    c->told = true;
    log_event(LOG_WARN, "binary_message_dropped", "kernel", c->kernel_id, "type", type, "why",
              "this client (Jupyter Server as a gateway's client) breaks on binary frames", NULL);
}

/* Without its buffers a comm message is another message; an output is the same one. */
static bool may_strip(const char *msg_type)
{
    return strncmp(msg_type, "comm_", 5) != 0;
}

static void send_legacy(struct channels *c, struct slice v1)
{
    struct jp_ws_msg msg;
    char id[JP_ID_SIZE] = "", type[JP_ID_SIZE] = "";
    bool binary = false;
    struct buf text;
    if (jp_ws_v1_decode(&msg, v1, NULL) != 0 || !jsonx_valid(msg.frames[JP_HEADER]))
        return;
    jsonx_decode(jsonx_find(msg.frames[JP_HEADER], "msg_id"), id, sizeof(id));
    jsonx_decode(jsonx_find(msg.frames[JP_HEADER], "msg_type"), type, sizeof(type));
    if (msg.n_buffers && c->no_binary) {
        if (!may_strip(type)) {
            drop_binary(c, type);
            return;
        }
        msg.n_buffers = 0;
    }
    buf_init(&text, v1.len + LEGACY_SPARE);
    if (jp_ws_legacy_encode(&text, &msg, id, type, &binary) == 0) {
        struct slice part = buf_slice(&text);
        ws_conn_send(c->ws, binary ? WS_BINARY : WS_TEXT, &part, 1);
    } else {
        metrics_count(runner_metrics(c->runner), RUNNER_M_CLIENT_DROPPED, 0, 1);
    }
    buf_done(&text);
}

static void send_v1(struct channels *c, struct slice v1)
{
    if (c->legacy)
        send_legacy(c, v1);
    else
        ws_conn_send(c->ws, WS_BINARY, &v1, 1);
}

static void send_lost(struct channels *c, const struct hub_view *view)
{
    struct buf v1;
    buf_init(&v1, JP_HEADER_MAX + KIB(8));
    hub_put_lost(c->session, view, &v1);
    send_v1(c, buf_slice(&v1));
    buf_done(&v1);
}

static void check_size(struct hub_view *view)
{
    struct jp_ws_msg msg;
    if (view->v1.len <= SEND_MAX)
        return;
    view->lost_messages = 1;
    view->lost_bytes = view->v1.len;
    if (jp_ws_v1_decode(&msg, view->v1, NULL) == 0)
        view->parent = msg.frames[JP_PARENT];
}

static void pump(void *ctx)
{
    struct channels *c = ctx;
    struct hub_view view;
    bool any = false;
    while (c->session && ws_conn_may_send(c->ws) && hub_peek(c->session, &view)) {
        check_size(&view);
        if (!view.lost_messages && !send_room_take(&c->room, view.v1.len))
            break;
        if (view.lost_messages)
            send_lost(c, &view);
        else
            send_v1(c, view.v1);
        hub_advance(c->session, &view);
        any = true;
    }
    if (any)
        ask_for_ack(c);
}

static void on_drained(void *ctx)
{
    struct channels *c = ctx;
    send_room_give(&c->room);
    pump(c);
}

/* ---- from the client ---- */

static int decode(struct channels *c, struct jp_ws_msg *msg, enum ws_type type, struct slice data,
                  struct err *err)
{
    if (c->legacy)
        return jp_ws_legacy_decode(msg, data, type == WS_BINARY, err);
    if (type == WS_TEXT)
        return err_set(err, ERR_INVALID, "messages of this protocol are binary");
    return jp_ws_v1_decode(msg, data, err);
}

static void on_message(void *ctx, enum ws_type type, struct slice data)
{
    struct channels *c = ctx;
    struct jp_ws_msg msg;
    struct err err;
    if (!c->session)
        return;
    int r = decode(c, &msg, type, data, &err);
    if (r < 0) {
        ws_conn_close(c->ws, r == -ERR_TOO_LARGE ? WS_CLOSE_TOO_BIG : WS_CLOSE_INVALID, err.text);
        return;
    }
    if (r == JP_WS_UNKNOWN_CHANNEL) {
        metrics_count(runner_metrics(c->runner), RUNNER_M_CLIENT_DROPPED, 0, 1);
        return;
    }
    if (hub_send(c->session, &msg) == HUB_FULL)
        ws_conn_pause(c->ws);
}

static void on_room(void *ctx)
{
    struct channels *c = ctx;
    ws_conn_resume(c->ws);
}

/* ---- beginning and end ---- */

static void detach(struct channels *c)
{
    if (!c->session)
        return;
    hub_detach(c->session);
    c->session = NULL;
    runner_client_left(c->runner);
}

static void release(struct channels *c)
{
    detach(c);
    send_room_leave(&c->room);
    c->ws = ws_conn_free(c->ws);
    c->fd = ws_fd_free(c->fd);
}

static void on_closed(void *ctx, int code, struct slice reason)
{
    struct channels *c = ctx;
    char text[16];
    snprintf(text, sizeof(text), "%d", code);
    log_event(LOG_DEBUG, "client_closed", "kernel", c->kernel_id, "code", text, NULL);
    release(c);
    http_upgrade_close(c->upgrade);
}

static void on_over(void *ctx, int code, const char *reason)
{
    struct channels *c = ctx;
    c->session = NULL; /* detached already */
    runner_client_left(c->runner);
    ws_conn_close(c->ws, code, reason);
}

static void give_way(void *ctx)
{
    struct channels *c = ctx;
    detach(c);
    ws_conn_close(c->ws, WS_CLOSE_TRY_LATER, "this client does not read, and others wait");
}

static void on_request_close(void *ctx)
{
    struct channels *c = ctx;
    release(c);
    loop_timer_free(c->ack_timer);
    free(c);
}

static int open_ws(struct channels *c, int fd, struct slice early, struct err *err)
{
    int r = ws_fd_new(&c->fd, runner_loop(c->runner), fd, err);
    if (r < 0)
        return r;
    struct ws_conn_cfg cfg = {.role = WS_SERVER,
                              .io = ws_fd_io(c->fd),
                              .early = early,
                              .max_message = LIMIT_CLIENT_MESSAGE_BYTES,
                              .gather_left = attach_gather_left(runner_attach(c->runner)),
                              .on_message = on_message,
                              .on_pong = on_pong,
                              .on_drained = on_drained,
                              .on_closed = on_closed,
                              .ctx = c};
    r = ws_conn_new(&c->ws, runner_loop(c->runner), &cfg, err);
    if (r < 0)
        return r;
    ws_fd_attach(c->fd, c->ws);
    c->room = (struct send_room_user){.on_room = pump, .give_way = give_way, .ctx = c};
    send_room_join(attach_send_room(runner_attach(c->runner)), &c->room);
    return 0;
}

/* The kernel may have been deleted between the answer and this. */
static void on_open(void *ctx, struct http_upgrade *u, int fd, struct slice early)
{
    struct channels *c = ctx;
    const struct hub_front front = {
        .on_more = pump, .on_room = on_room, .on_over = on_over, .ctx = c};
    struct kernel *k = kernel_table_find(runner_kernels(c->runner), c->kernel_id);
    struct err err;
    c->upgrade = u;
    if (open_ws(c, fd, early, &err) < 0) {
        log_event(LOG_ERROR, "client_failed", "kernel", c->kernel_id, "error", err.text, NULL);
        release(c);
        http_upgrade_close(u);
        return;
    }
    struct attach *a = runner_attach(c->runner);
    if (!k || hub_attach(attach_hub(a, k), c->session_id, c->all, &front, &c->session, &err) < 0) {
        c->session = NULL;
        ws_conn_close(c->ws, k ? WS_CLOSE_TRY_LATER : WS_CLOSE_NORMAL,
                      k ? err.text : "the kernel is gone");
        return;
    }
    runner_client_came(c->runner);
    /* What it acknowledges says whether it does so at all. */
    if (c->session_id[0])
        send_ping(c);
    pump(c);
}

static int check_upgrade(const struct http_request *req, char accept[WS_ACCEPT_SIZE],
                         struct err *err)
{
    const char *key = http_header(req, "Sec-WebSocket-Key");
    const char *version = http_header(req, "Sec-WebSocket-Version");
    if (!ws_list_has(http_header(req, "Upgrade"), "websocket") ||
        !ws_list_has(http_header(req, "Connection"), "upgrade"))
        return err_set(err, ERR_INVALID,
                       "this address is a WebSocket: ask for it with \"Upgrade: websocket\"");
    if (!version || strcmp(version, VERSION) != 0)
        return err_set(err, ERR_INVALID, "Sec-WebSocket-Version must be " VERSION);
    if (!key || !ws_accept(key, accept))
        return err_set(err, ERR_INVALID, "Sec-WebSocket-Key is not base64 of 16 bytes");
    return 0;
}

static struct channels *channels_new(struct runner *r, struct http_request *req,
                                     const struct kernel *k)
{
    const char *agent = http_header(req, "User-Agent");
    const char *session = http_query(req, "session_id");
    const char *scope = http_header(req, JUPYTER_SCOPE_HEADER);
    struct channels *c = MEM_NEW(struct channels);
    c->runner = r;
    c->legacy = !ws_list_has(http_header(req, "Sec-WebSocket-Protocol"), JP_WS_V1_PROTOCOL);
    c->no_binary = c->legacy && agent && strncasecmp(agent, "Tornado", 7) == 0;
    c->all = scope && strcmp(scope, JUPYTER_SCOPE_ALL) == 0;
    memcpy(c->kernel_id, kernel_id(k), sizeof(c->kernel_id));
    snprintf(c->session_id, sizeof(c->session_id), "%s", session ? session : "");
    c->ack_timer = loop_timer_new(runner_loop(r), send_ping, c);
    return c;
}

static int admit(struct runner *r, struct http_request *req, struct kernel **ret,
                 char accept[WS_ACCEPT_SIZE], struct err *err)
{
    const char *session = http_query(req, "session_id");
    int e = attach_find_kernel(r, http_param(req, "kid"), ret, err);
    if (e < 0 || (e = check_upgrade(req, accept, err)) < 0)
        return e;
    if (session && strlen(session) >= JP_ID_SIZE)
        return err_field(err, "session_id", "a session id has at most %d bytes", JP_ID_SIZE - 1);
    if (attach_connections(runner_attach(r), *ret) >= HUB_SESSIONS_MAX)
        return err_set(err, ERR_LIMIT, "%d clients are attached to this kernel already",
                       HUB_SESSIONS_MAX);
    return 0;
}

void channels_handler(void *ctx, struct http_request *req)
{
    struct runner *r = ctx;
    struct kernel *k = NULL;
    char accept[WS_ACCEPT_SIZE];
    struct err err;
    if (admit(r, req, &k, accept, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    struct channels *c = channels_new(r, req, k);
    http_on_close(req, on_request_close, c);
    http_set_header(req, "Upgrade", "websocket");
    http_set_header(req, "Sec-WebSocket-Accept", accept);
    if (!c->legacy)
        http_set_header(req, "Sec-WebSocket-Protocol", JP_WS_V1_PROTOCOL);
    http_answer_upgrade(req, on_open, c);
}
