/*
 * One WebSocket at a time over one tunnel. Both are freed together, the frames first; every failure
 * ends in down(), which arms the timer for the next attempt or gives up:
 *
 *   WAITING → OPENING → UP → WAITING → …      and from OPENING or WAITING to the end
 *
 * Before it was open once, a mistake is likelier than an outage: patience is short. A refusal that
 * names the thing or the caller is final at any time.
 *
 * Marks are pings that carry a number: a WebSocket keeps its order, so the pong tells that what
 * went before was read. One is under way at a time, so that a flood of requests costs one ping a
 * round trip. The same pings, every PING_MS, find out that the other side has silently gone.
 */
#include "attach/attach_link.h"

#include "attach/attach_http.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"
#include "lib/httpc/httpc_tunnel.h"
#include "lib/jupyter/jp_ws.h"
#include "lib/loop/loop.h"
#include "lib/ws/ws.h"
#include "lib/ws/ws_handshake.h"

#define MESSAGE_MAX MIB(512)
#define BACKOFF_MS  10000
#define PATIENCE_MS 10000 /* for the first connection */
#define STABLE_MS   5000  /* open for so long, the next break begins with a short wait */
#define PING_MS     20000
#define SILENCE_MS  60000

static const char protocol_header[] = "Sec-WebSocket-Protocol: " JP_WS_V1_PROTOCOL;

struct attach_link {
    struct attach_link_cfg cfg;
    char *path, *what, *auth;
    char session[ID_UUID_SIZE];
    char key[WS_KEY_SIZE];
    struct httpc_tunnel *tunnel;
    struct ws_conn *ws;
    struct loop_timer *retry, *ping;
    int64_t started_ms, up_ms, heard_ms;
    unsigned attempts;
    bool was_up, paused;
    uint64_t mark_wanted, mark_sent, mark_back; /* the newest of each */
};

static void dial(struct attach_link *l);

static void hang_up(struct attach_link *l)
{
    l->ws = ws_conn_free(l->ws);
    l->tunnel = httpc_tunnel_free(l->tunnel);
    loop_timer_stop(l->ping);
}

/* The attempt failed, or the connection is over; tries again. */
static void down(struct attach_link *l, bool refused, const char *why)
{
    bool was_open = l->ws != NULL;
    int64_t now = loop_now_ms(l->cfg.loop);
    hang_up(l);
    if (was_open && now - l->up_ms >= STABLE_MS)
        l->attempts = 0;
    loop_timer_start(l->retry, attach_backoff_ms(l->attempts++, BACKOFF_MS), 0);
    if (was_open)
        l->cfg.on_down(l->cfg.ctx, refused, why);
}

static void fail(struct attach_link *l, const struct err *err)
{
    hang_up(l);
    l->cfg.on_failed(l->cfg.ctx, err);
}

/* ---- open ---- */

static void send_mark(struct attach_link *l)
{
    uint64_t number = l->mark_wanted;
    l->mark_sent = number;
    ws_conn_ping(l->ws, slice_make((const char *)&number, sizeof(number)));
}

static void on_pong(void *ctx, struct slice payload)
{
    struct attach_link *l = ctx;
    uint64_t number;
    l->heard_ms = loop_now_ms(l->cfg.loop);
    if (payload.len != sizeof(number))
        return;
    memcpy(&number, payload.ptr, sizeof(number));
    if (number > l->mark_sent || number < l->mark_back)
        return;
    l->mark_back = number;
    if (l->mark_wanted > l->mark_sent)
        send_mark(l);
    l->cfg.on_arrived(l->cfg.ctx, number);
}

static void on_ping_time(void *ctx)
{
    struct attach_link *l = ctx;
    if (!l->paused && loop_now_ms(l->cfg.loop) - l->heard_ms > SILENCE_MS)
        down(l, /* refused= */ false, "nothing was heard for a minute");
    else
        send_mark(l);
}

static void on_message(void *ctx, enum ws_type type, struct slice data)
{
    struct attach_link *l = ctx;
    l->heard_ms = loop_now_ms(l->cfg.loop);
    if (type == WS_BINARY)
        l->cfg.on_message(l->cfg.ctx, data);
}

static void on_drained(void *ctx)
{
    struct attach_link *l = ctx;
    l->cfg.on_room(l->cfg.ctx);
}

static void on_closed(void *ctx, int code, struct slice reason)
{
    _cleanup_(freep) char *why = mem_printf("closed with %d%s%.*s", code, reason.len ? ": " : "",
                                            (int)reason.len, reason.len ? reason.ptr : "");
    bool refused =
        code == WS_CLOSE_TOO_BIG || code == WS_CLOSE_INVALID || code == WS_CLOSE_PROTOCOL;
    down(ctx, refused, why);
}

static ssize_t io_recv(void *ctx, void *out, size_t max)
{
    struct attach_link *l = ctx;
    return httpc_tunnel_recv(l->tunnel, out, max);
}

static ssize_t io_send(void *ctx, const void *data, size_t len)
{
    struct attach_link *l = ctx;
    return httpc_tunnel_send(l->tunnel, data, len);
}

static void io_want(void *ctx, int events)
{
    struct attach_link *l = ctx;
    httpc_tunnel_want(l->tunnel, events);
}

static void on_ready(void *ctx, int events)
{
    struct attach_link *l = ctx;
    ws_conn_ready(l->ws, events);
}

/* ---- opening ---- */

static bool is_ours(const struct attach_link *l)
{
    char expected[WS_ACCEPT_SIZE];
    const char *accept = httpc_tunnel_header(l->tunnel, "Sec-WebSocket-Accept");
    const char *protocol = httpc_tunnel_header(l->tunnel, "Sec-WebSocket-Protocol");
    return accept && protocol && ws_accept(l->key, expected) && strcmp(accept, expected) == 0 &&
           strcmp(protocol, JP_WS_V1_PROTOCOL) == 0;
}

static void on_open(void *ctx)
{
    struct attach_link *l = ctx;
    struct err err;
    if (!is_ours(l)) {
        err_set(&err, ERR_INVALID, "%s: what answered there does not speak %s", l->what,
                JP_WS_V1_PROTOCOL);
        fail(l, &err);
        return;
    }
    struct ws_conn_cfg ws = {
        .role = WS_CLIENT,
        .io = {.recv = io_recv, .send = io_send, .want = io_want, .ctx = l},
        .max_message = MESSAGE_MAX,
        .on_message = on_message,
        .on_pong = on_pong,
        .on_drained = on_drained,
        .on_closed = on_closed,
        .ctx = l,
    };
    if (ws_conn_new(&l->ws, l->cfg.loop, &ws, &err) < 0) {
        fail(l, &err);
        return;
    }
    l->was_up = true;
    l->up_ms = l->heard_ms = loop_now_ms(l->cfg.loop);
    l->mark_wanted = l->mark_sent = l->mark_back; /* the others died with their connection */
    loop_timer_start(l->ping, PING_MS, PING_MS);
    if (l->paused)
        ws_conn_pause(l->ws);
    l->cfg.on_up(l->cfg.ctx);
}

static void on_refused(void *ctx, int status, struct slice body, const struct err *cause)
{
    struct attach_link *l = ctx;
    struct err err;
    attach_http_error(&err, l->what, status, body, cause);
    bool patient = l->was_up || (attach_http_passing(status) &&
                                 loop_now_ms(l->cfg.loop) - l->started_ms < PATIENCE_MS);
    if (attach_http_final(status) || !patient)
        fail(l, &err);
    else
        down(l, /* refused= */ false, err.text);
}

static void dial(struct attach_link *l)
{
    ws_new_key(l->key);
    _cleanup_(freep) char *url =
        mem_printf("%s%s?session_id=%s", l->cfg.url->base, l->path, l->session);
    _cleanup_(freep) char *key = mem_printf("Sec-WebSocket-Key: %s", l->key);
    const char *const headers[] = {"Upgrade: websocket",
                                   "Connection: Upgrade",
                                   "Sec-WebSocket-Version: 13",
                                   protocol_header,
                                   key,
                                   l->auth,
                                   NULL};
    const struct httpc_tunnel_cfg cfg = {.url = url,
                                         .unix_path = l->cfg.url->unix_path,
                                         .headers = headers,
                                         .on_open = on_open,
                                         .on_refused = on_refused,
                                         .on_ready = on_ready,
                                         .ctx = l};
    struct err err;
    if (httpc_tunnel_open(&l->tunnel, l->cfg.http, &cfg, &err) < 0)
        fail(l, &err);
}

static void on_retry(void *ctx)
{
    dial(ctx);
}

/* ---- for the owner ---- */

struct attach_link *attach_link_new(const struct attach_link_cfg *cfg)
{
    struct attach_link *l = MEM_NEW(struct attach_link);
    l->cfg = *cfg;
    l->path = mem_dup_str(cfg->path);
    l->what = mem_dup_str(cfg->what);
    l->auth = attach_http_auth(cfg->token);
    crypto_new_uuid(l->session);
    l->retry = loop_timer_new(cfg->loop, on_retry, l);
    l->ping = loop_timer_new(cfg->loop, on_ping_time, l);
    l->started_ms = loop_now_ms(cfg->loop);
    loop_timer_start(l->retry, 0, 0);
    return l;
}

struct attach_link *attach_link_free(struct attach_link *l)
{
    if (!l)
        return NULL;
    hang_up(l);
    loop_timer_free(l->retry);
    loop_timer_free(l->ping);
    mem_free_secret(l->auth);
    free(l->path);
    free(l->what);
    free(l);
    return NULL;
}

bool attach_link_is_up(const struct attach_link *l)
{
    return l->ws != NULL;
}

bool attach_link_may_send(const struct attach_link *l)
{
    return l->ws && ws_conn_may_send(l->ws);
}

void attach_link_send(struct attach_link *l, struct slice data)
{
    ws_conn_send(l->ws, WS_BINARY, &data, 1);
}

void attach_link_mark(struct attach_link *l, uint64_t number)
{
    l->mark_wanted = number;
    if (l->ws && l->mark_sent == l->mark_back)
        send_mark(l);
}

void attach_link_pause(struct attach_link *l, bool paused)
{
    if (l->paused == paused)
        return;
    l->paused = paused;
    if (!l->ws)
        return;
    if (paused) {
        ws_conn_pause(l->ws);
        return;
    }
    l->heard_ms = loop_now_ms(l->cfg.loop);
    ws_conn_resume(l->ws);
}
