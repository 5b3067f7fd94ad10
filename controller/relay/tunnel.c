/*
 * Why: Jupyter clients keep a WebSocket open for days and say little. One relay_tunnel lives from
 * the handler to the request's on_close. Idle it is this struct and two watched descriptors: bytes
 * are read into the relay's scratch, and only what the other side does not take is kept, in a heap
 * buffer. While one is kept, nothing more is read from its sender: that is the back-pressure.
 *
 *   way    UP: client → runner, DOWN: runner → client
 *   end    one side's end or failure, or the sandbox's: what is kept is still written, for at most
 *          RELAY_DRAIN_MS, then both sides are closed
 *
 * A sandbox that ends may have said something before: its connection is read to its end. Who is
 * still there then is told why by a close frame, where the bytes that went before allow one: 1001
 * when the sandbox is gone, 1012 when only its connection is, or this controller stops. Clients
 * connect again on each; the runner has kept what they missed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "controller/exec/runner_ask.h"
#include "controller/relay/relay_head.h"
#include "controller/relay/relay_internal.h"
#include "controller/sandbox/runner_client.h"
#include "lib/api/jupyter_api.h"
#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/http/http.h"
#include "lib/httpc/httpc_tunnel.h"
#include "lib/loop/loop.h"
#include "lib/ws/ws.h"
#include "lib/ws/ws_border.h"
#include "lib/ws/ws_handshake.h"

#define HEADERS_MAX 12
#define OPEN_MS     10000
#define WORD_MS     200 /* a dying runner's connections break a moment before its end is told */

enum way { UP, DOWN, WAYS };

struct kept {
    char *bytes; /* NULL: nothing */
    size_t len, at;
};

struct relay_tunnel {
    struct relay *relay;
    struct relay_tunnel *prev, *next;
    struct http_request *req;
    struct sandbox_watch watch;
    struct err *gone; /* what the watch said */
    struct httpc_tunnel *up;
    struct http_upgrade *upgrade; /* NULL: not yet, or closed */
    struct loop_poll *poll;       /* of the client's socket */
    struct loop_timer *timer;     /* once it is ending */
    int fd;
    struct kept kept[WAYS];
    struct ws_border border; /* of what goes to the client */
    bool broken[WAYS];       /* that way's receiver takes nothing any more */
    bool over[WAYS];         /* that way's sender has ended */
    bool counted;
    bool waits; /* its runner's side broke: for the backend's word, then it ends */
};

/* ---- the end ---- */

/* Why it ends, to a client that may be there to read it. */
static void say_why(struct relay_tunnel *t)
{
    char frame[WS_BORDER_CLOSE_MAX];
    size_t len;
    if (!t->upgrade || t->over[UP] || t->broken[DOWN] || t->kept[DOWN].bytes ||
        !ws_border_is_free(&t->border))
        return;
    if (t->gone)
        len = ws_border_close(frame, WS_CLOSE_GOING_AWAY, "the sandbox is gone");
    else if (t->relay->no_tunnels)
        len = ws_border_close(frame, WS_CLOSE_RESTART, "the controller stops: connect again");
    else
        len = ws_border_close(frame, WS_CLOSE_RESTART,
                              "the connection to the sandbox broke: connect again");
    while (send(t->fd, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

/* Closes both sides. on_close follows. */
static void close_tunnel(struct relay_tunnel *t)
{
    say_why(t);
    t->poll = loop_poll_free(t->poll);
    t->timer = loop_timer_free(t->timer);
    t->up = httpc_tunnel_free(t->up);
    sandbox_watch_stop(&t->watch);
    struct http_upgrade *u = TAKE_PTR(t->upgrade);
    if (u)
        http_upgrade_close(u);
}

static void on_close(void *ctx)
{
    struct relay_tunnel *t = ctx;
    struct relay *r = t->relay;
    t->upgrade = NULL; /* it has ended */
    close_tunnel(t);
    DL_DELETE(r->tunnels, t);
    r->stats.open--;
    if (t->counted)
        r->stats.tunnels--;
    for (enum way w = UP; w < WAYS; w++)
        free(t->kept[w].bytes);
    free(t->gone);
    free(t);
}

static void on_gone(void *ctx)
{
    struct relay_tunnel *t = ctx;
    t->up = httpc_tunnel_free(t->up);
}

static void on_timer(void *ctx)
{
    close_tunnel(ctx);
}

static void begin_end(struct relay_tunnel *t)
{
    if (t->timer)
        return;
    t->timer = loop_timer_new(t->relay->loop, on_timer, t);
    loop_timer_start(t->timer, RELAY_DRAIN_MS, 0);
}

/* ---- bytes ---- */

static ssize_t side_recv(struct relay_tunnel *t, enum way w, void *out, size_t max)
{
    return w == UP ? recv(t->fd, out, max, MSG_DONTWAIT) : httpc_tunnel_recv(t->up, out, max);
}

static ssize_t side_send(struct relay_tunnel *t, enum way w, const void *data, size_t len)
{
    return w == UP ? httpc_tunnel_send(t->up, data, len)
                   : send(t->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* How many the receiver took; the rest is of no use once it is broken. */
static size_t give(struct relay_tunnel *t, enum way w, const char *data, size_t len)
{
    size_t done = 0;
    while (done < len && !t->broken[w]) {
        ssize_t n = side_send(t, w, data + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0)
            t->broken[w] = true;
        else
            done += (size_t)n;
    }
    if (w == UP)
        t->relay->stats.bytes_up += done;
    else
        t->relay->stats.bytes_down += done;
    return t->broken[w] ? len : done;
}

static void pass(struct relay_tunnel *t, enum way w, const char *data, size_t len)
{
    if (w == DOWN)
        ws_border_pass(&t->border, data, len);
    size_t done = give(t, w, data, len);
    if (done == len)
        return;
    t->kept[w] = (struct kept){.bytes = mem_dup_n(data + done, len - done), .len = len - done};
}

static void flush(struct relay_tunnel *t, enum way w)
{
    struct kept *k = &t->kept[w];
    if (!k->bytes)
        return;
    k->at += give(t, w, k->bytes + k->at, k->len - k->at);
    if (k->at < k->len)
        return;
    free(k->bytes);
    *k = (struct kept){0};
}

/* One piece, so that no tunnel holds up the others. */
static void read_once(struct relay_tunnel *t, enum way w)
{
    if (t->kept[w].bytes || t->over[w])
        return;
    ssize_t n = side_recv(t, w, t->relay->scratch, RELAY_SCRATCH);
    if (n > 0)
        pass(t, w, t->relay->scratch, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        t->over[w] = true;
}

/* Is it still to be known what the client is to be told? */
static bool awaits_word(const struct relay_tunnel *t)
{
    return (t->over[DOWN] || t->broken[UP]) && !t->over[UP] && !t->broken[DOWN] && !t->gone &&
           !t->relay->no_tunnels && ws_border_is_free(&t->border);
}

/* What each side is watched for, or the end. The last thing a callback does. */
static void settle(struct relay_tunnel *t)
{
    /* A runner that takes nothing any more may have said why: that is read to its end. */
    bool says = t->broken[UP] && !t->over[DOWN] && !t->broken[DOWN];
    bool ending = t->over[UP] || t->over[DOWN] || t->broken[UP] || t->broken[DOWN];
    int events[WAYS]; /* of the sender of that way */
    bool done = ending && !says && !t->kept[UP].bytes && !t->kept[DOWN].bytes;
    if (done && !awaits_word(t)) {
        close_tunnel(t);
        return;
    }
    if (ending)
        begin_end(t);
    if (done) {
        t->waits = true;
        loop_timer_start(t->timer, WORD_MS, 0);
    }
    for (enum way w = UP; w < WAYS; w++) {
        enum way other = w == UP ? DOWN : UP;
        bool reads = (!ending || (says && w == DOWN)) && !t->kept[w].bytes;
        events[w] = (reads ? LOOP_READ : 0) | (t->kept[other].bytes ? LOOP_WRITE : 0);
    }
    loop_poll_set(t->poll, events[UP]);
    httpc_tunnel_want(t->up, events[DOWN]);
}

static void on_client(void *ctx, int events)
{
    struct relay_tunnel *t = ctx;
    if (events & (LOOP_WRITE | LOOP_HANGUP))
        flush(t, DOWN);
    if (events & LOOP_READ)
        read_once(t, UP);
    settle(t);
}

static void on_ready(void *ctx, int events)
{
    struct relay_tunnel *t = ctx;
    if (events & LOOP_WRITE)
        flush(t, UP);
    if (events & LOOP_READ)
        read_once(t, DOWN);
    settle(t);
}

/* ---- opening ---- */

static void on_upgraded(void *ctx, struct http_upgrade *u, int fd, struct slice early)
{
    struct relay_tunnel *t = ctx;
    t->upgrade = u;
    t->fd = fd;
    if (!t->up || t->relay->no_tunnels ||
        loop_poll_new(&t->poll, t->relay->loop, fd, on_client, t, NULL) < 0) {
        close_tunnel(t);
        return;
    }
    if (early.len > 0)
        pass(t, UP, early.ptr, early.len);
    settle(t);
}

static void give_back(struct relay_tunnel *t, const char *const *names)
{
    for (; *names; names++) {
        const char *value = httpc_tunnel_header(t->up, *names);
        if (value && value[0])
            http_set_header(t->req, *names, value);
    }
}

static void on_open(void *ctx)
{
    static const char *const names[] = {"Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", NULL};
    struct relay_tunnel *t = ctx;
    give_back(t, names);
    http_set_header(t->req, "Upgrade", "websocket");
    t->counted = true;
    t->relay->stats.tunnels++;
    http_answer_upgrade(t->req, on_upgraded, t);
}

static void answer_failure(struct relay_tunnel *t, const struct err *why)
{
    struct err said = {0};
    if (!t->watch.sandbox)
        runner_lost_err(t->gone, &said);
    else
        runner_failure(why, &said);
    t->relay->stats.lost += said.code == ERR_SANDBOX_LOST;
    http_answer_err(t->req, &said);
}

static void on_refused(void *ctx, int status, struct slice body, const struct err *err)
{
    static const char *const names[] = {"Retry-After", "Sec-WebSocket-Version", NULL};
    struct relay_tunnel *t = ctx;
    struct err said = {0};
    if (err) {
        answer_failure(t, err);
        return;
    }
    if (status == 401 || status > 599) {
        err_set(&said, ERR_INTERNAL,
                status == 401 ? "the runner does not accept this controller's key"
                              : "the runner's answer has no status");
        http_answer_err(t->req, &said);
        return;
    }
    const char *type = httpc_tunnel_header(t->up, "Content-Type");
    give_back(t, names);
    http_answer_bytes(t->req, status, type, body.ptr, body.len);
}

static void on_sandbox_gone(void *ctx, const struct err *err)
{
    struct relay_tunnel *t = ctx;
    t->gone = MEM_NEW(struct err);
    *t->gone = *err;
    if (t->upgrade && t->waits) {
        close_tunnel(t);
        return;
    }
    if (t->upgrade) {
        begin_end(t);
        return;
    }
    if (t->counted || !t->up)
        return; /* answered: on_upgraded() finds the connection's end */
    t->up = httpc_tunnel_free(t->up);
    answer_failure(t, err);
}

/* ---- the request to the runner ---- */

struct head {
    char *lines[HEADERS_MAX + 1];
    size_t n;
};

static void add_line(struct head *h, const char *name, const char *value)
{
    if (value && h->n < HEADERS_MAX)
        h->lines[h->n++] = mem_printf("%s: %s", name, value);
}

static void write_head(struct head *h, struct http_request *req, const struct sandbox *sb)
{
    static const char *const passed[] = {"Sec-WebSocket-Key", "Sec-WebSocket-Version",
                                         "Sec-WebSocket-Protocol", "User-Agent"};
    _cleanup_(mem_free_secretp) char *bearer = mem_printf("Bearer %s", sb->token);
    add_line(h, "Authorization", bearer);
    add_line(h, "Connection", "Upgrade");
    add_line(h, "Upgrade", "websocket");
    add_line(h, "X-Request-Id", http_request_id(req));
    if (relay_is_for_all(http_path(req)))
        add_line(h, JUPYTER_SCOPE_HEADER, JUPYTER_SCOPE_ALL);
    for (size_t i = 0; i < ARRAY_LEN(passed); i++)
        add_line(h, passed[i], http_header(req, passed[i]));
}

static int open_up(struct relay_tunnel *t, const struct sandbox *sb, struct err *err)
{
    bool is_unix = sb->endpoint.unix_path[0] != '\0';
    struct head head = {0};
    struct buf target;
    buf_init(&target, RUNNER_URL_MAX * 8);
    buf_printf(&target, "http://%s", is_unix ? sb->id : sb->endpoint.host_port);
    int r = relay_target(&target, http_path(t->req), http_query_raw(t->req), err);
    _cleanup_(freep) char *url = buf_take(&target);
    if (r == 0) {
        write_head(&head, t->req, sb);
        const struct httpc_tunnel_cfg cfg = {.url = url,
                                             .unix_path = is_unix ? sb->endpoint.unix_path : NULL,
                                             .headers = (const char *const *)head.lines,
                                             .timeout_ms = OPEN_MS,
                                             .on_open = on_open,
                                             .on_refused = on_refused,
                                             .on_ready = on_ready,
                                             .ctx = t};
        r = httpc_tunnel_open(&t->up, t->relay->http, &cfg, err);
    }
    for (size_t i = 0; i < head.n; i++)
        mem_free_secret(head.lines[i]);
    return r;
}

/* ---- the API ---- */

static int check(const struct relay *r, struct http_request *req, const struct sandbox *sb,
                 struct err *err)
{
    if (!ws_list_has(http_header(req, "Upgrade"), "websocket") ||
        !ws_list_has(http_header(req, "Connection"), "upgrade"))
        return err_set(err, ERR_INVALID,
                       "this is a WebSocket: open it as one (Upgrade: websocket)");
    if (r->no_tunnels)
        return err_set(err, ERR_UNAVAILABLE, "the controller is stopping");
    return relay_usable(sb, err);
}

void relay_tunnel(struct relay *r, struct http_request *req, struct sandbox *sb)
{
    struct err err = {0};
    if (check(r, req, sb, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    struct relay_tunnel *t = MEM_NEW(struct relay_tunnel);
    t->relay = r;
    t->req = req;
    t->fd = -1;
    DL_APPEND(r->tunnels, t);
    r->stats.open++;
    http_on_close(req, on_close, t);
    if (open_up(t, sb, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    sandbox_watch_start(&t->watch, sb, on_sandbox_gone, t);
    http_on_gone(req, on_gone, t);
}

void relay_drain_tunnels(struct relay *r)
{
    struct relay_tunnel *t, *next;
    struct err err = {0};
    r->no_tunnels = true;
    err_set(&err, ERR_UNAVAILABLE, "the controller is stopping");
    DL_FOREACH_SAFE (r->tunnels, t, next) {
        if (t->upgrade) {
            close_tunnel(t);
        } else if (!t->counted && t->up) {
            t->up = httpc_tunnel_free(t->up);
            http_answer_err(t->req, &err);
        }
    }
}
