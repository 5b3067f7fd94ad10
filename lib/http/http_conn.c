/*
 * Connections: their deadlines and the discovery of clients that left. libmicrohttpd's own timeout
 * restarts with each byte, so deadlines are ours: three lists, each sorted because its kind has one
 * duration, and one timer. A suspended connection is out of libmicrohttpd's epoll set and does not
 * see its peer leave; one that awaits headers or a body misses a FIN that came together with data,
 * for the set is edge-triggered and a short read ends the edge. One poll() a second over all of
 * them sees both. The memory of a connection follows libmicrohttpd's notifications; nothing here
 * frees one, so lists may be walked while callbacks run.
 */
#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/http/http_internal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <utlist.h>

static struct http_conn *conn_new(struct http_server *s, struct MHD_Connection *mhd)
{
    struct http_conn *c = MEM_NEW(struct http_conn);
    c->server = s;
    c->mhd = mhd;
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    c->deadline = HTTP_DL_NONE;
    DL_APPEND(s->conns, c);
    s->n_conns++;
    return c;
}

static void update_watch(struct http_conn *c)
{
    struct http_server *s = c->server;
    bool watched = c->suspended || c->streaming || c->deadline == HTTP_DL_HEADERS ||
                   c->deadline == HTTP_DL_BODY;
    if (watched == c->watched)
        return;
    c->watched = watched;
    if (!watched) {
        s->watched--;
        return;
    }
    s->watched++;
    if (!loop_timer_active(s->scan_timer))
        loop_timer_start(s->scan_timer, HTTP_SCAN_MS, 0);
}

static void conn_free(struct http_conn *c)
{
    struct http_server *s = c->server;
    if (c->linger)
        http_linger_start(s, c->fd);
    c->suspended = c->streaming = false;
    http_conn_deadline(c, HTTP_DL_NONE);
    DL_DELETE(s->conns, c);
    s->n_conns--;
    s->n_cut -= c->cut;
    free(c);
}

void http_conn_on_notify(void *cls, struct MHD_Connection *mhd, void **socket_context,
                         enum MHD_ConnectionNotificationCode code)
{
    struct http_server *s = cls;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*socket_context)
            conn_free(*socket_context);
        *socket_context = NULL;
        return;
    }
    struct http_conn *c = conn_new(s, mhd);
    *socket_context = c;
    http_conn_deadline(c, HTTP_DL_HEADERS);
}

static int64_t duration_ms(const struct http_server *s, enum http_deadline kind)
{
    switch (kind) {
    case HTTP_DL_HEADERS:
        return s->cfg.header_deadline_ms;
    case HTTP_DL_BODY:
        return s->cfg.body_deadline_ms;
    case HTTP_DL_FRESH:
        return MIN(HTTP_FRESH_MS, s->cfg.keepalive_ms);
    case HTTP_DL_IDLE:
        return s->cfg.keepalive_ms - MIN(HTTP_FRESH_MS, s->cfg.keepalive_ms);
    case HTTP_DL_NONE:
        break;
    }
    return 0;
}

static void arm(struct http_server *s, int64_t at_ms, int64_t now_ms)
{
    if (loop_timer_active(s->deadline_timer) && s->deadline_armed_ms <= at_ms)
        return;
    s->deadline_armed_ms = at_ms;
    loop_timer_start(s->deadline_timer, at_ms - now_ms, 0);
}

void http_conn_deadline(struct http_conn *c, enum http_deadline kind)
{
    struct http_server *s = c->server;
    if (c->deadline != HTTP_DL_NONE)
        DL_DELETE2(s->deadlines[c->deadline], c, dl_prev, dl_next);
    c->first_byte = loop_poll_free(c->first_byte);
    c->deadline = kind;
    update_watch(c);
    if (kind == HTTP_DL_NONE)
        return;
    int64_t now = clk_mono_ms();
    c->deadline_ms = now + duration_ms(s, kind);
    DL_APPEND2(s->deadlines[kind], c, dl_prev, dl_next);
    arm(s, c->deadline_ms, now);
}

static void on_first_byte(void *ctx, int events)
{
    struct http_conn *c = ctx;
    char byte;
    bool left = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
    http_conn_deadline(c, left ? HTTP_DL_NONE : HTTP_DL_HEADERS);
    if (left)
        http_conn_cut(c);
}

/*
 * libmicrohttpd tells of a request only when its first line is whole. A second look at the
 * descriptor finds its first byte, or its end; busy connections never get that far and pay nothing
 * for it.
 */
static void watch_first_byte(struct http_conn *c)
{
    http_conn_deadline(c, HTTP_DL_IDLE);
    if (loop_poll_new(&c->first_byte, c->server->loop, c->fd, on_first_byte, c, NULL) == 0)
        loop_poll_set(c->first_byte, LOOP_READ);
}

static void expire(struct http_conn *c, enum http_deadline kind)
{
    if (kind == HTTP_DL_FRESH) {
        watch_first_byte(c);
        return;
    }
    http_conn_deadline(c, HTTP_DL_NONE);
    if (kind == HTTP_DL_BODY) {
        struct err err;
        err_set(&err, ERR_TIMEOUT, "the body of the request did not arrive in time");
        http_conn_answer_raw(c, &err);
    }
    http_conn_cut(c);
}

void http_conn_on_deadline(void *server)
{
    struct http_server *s = server;
    int64_t now = clk_mono_ms(), next = INT64_MAX;
    for (enum http_deadline kind = HTTP_DL_HEADERS; kind < HTTP_DL_NONE; kind++) {
        while (s->deadlines[kind] && s->deadlines[kind]->deadline_ms <= now)
            expire(s->deadlines[kind], kind);
        if (s->deadlines[kind])
            next = MIN(next, s->deadlines[kind]->deadline_ms);
    }
    if (next != INT64_MAX)
        arm(s, next, now);
}

void http_conn_suspend(struct http_conn *c)
{
    MHD_suspend_connection(c->mhd);
    c->suspended = true;
    update_watch(c);
}

void http_conn_resume(struct http_conn *c)
{
    if (!c->suspended)
        return;
    c->suspended = false;
    update_watch(c);
    MHD_resume_connection(c->mhd);
    http_server_kick(c->server);
}

void http_conn_streaming(struct http_conn *c)
{
    c->streaming = true;
    update_watch(c);
}

void http_conn_idle(struct http_conn *c)
{
    c->req = NULL;
    c->streaming = false;
    http_conn_deadline(c, HTTP_DL_FRESH);
    if (c->server->quiesced)
        http_conn_cut(c);
}

void http_conn_cut(struct http_conn *c)
{
    if (c->req)
        c->req->dead = true;
    c->server->n_cut += !c->cut;
    c->cut = true;
    shutdown(c->fd, SHUT_RDWR);
    http_conn_resume(c);
    http_server_kick(c->server);
}

void http_conn_answer_raw(struct http_conn *c, const struct err *err)
{
    struct http_request *req = c->req;
    if (!req || req->dead || req->queued)
        return;
    _cleanup_(freep) char *body = http_problem_text(req, err);
    int status = http_problem_status(err);
    _cleanup_(freep) char *text =
        mem_printf("HTTP/1.1 %d %s\r\n"
                   "Content-Type: application/problem+json\r\n"
                   "Cache-Control: no-store\r\n"
                   "X-Content-Type-Options: nosniff\r\n"
                   "X-Request-Id: %s\r\n"
                   "Content-Length: %zu\r\n"
                   "Connection: close\r\n\r\n%s",
                   status, err_code_title(err->code), req->id, strlen(body), body);
    /* Nothing of this request's answer was sent, so the socket's buffer takes it whole. */
    if (send(c->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        req->status = status;
    req->aborted = true;
    c->linger = true;
}

/* The client's end is not yet reached: libmicrohttpd has something to read before it. */
static bool is_something_left(const struct http_conn *c, short events)
{
    int n = 0;
    bool reading = !c->suspended && !c->streaming;
    return reading && !(events & ~POLLRDHUP) && ioctl(c->fd, FIONREAD, &n) == 0 && n > 0;
}

static void look_at(struct http_conn *c, short events)
{
    if (!(events & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) || is_something_left(c, events))
        return;
    if (c->req && c->req->phase != HTTP_AT_URI)
        http_serve_gone(c->req);
    http_conn_cut(c);
}

void http_conn_on_scan(void *server)
{
    struct http_server *s = server;
    if (s->watched == 0)
        return;
    _cleanup_(freep) struct pollfd *fds = MEM_NEW_N(struct pollfd, s->watched);
    _cleanup_(freep) struct http_conn **conns = MEM_NEW_N(struct http_conn *, s->watched);
    nfds_t n = 0;
    struct http_conn *c;
    DL_FOREACH (s->conns, c) {
        if (!c->watched)
            continue;
        fds[n] = (struct pollfd){.fd = c->fd, .events = POLLRDHUP};
        conns[n++] = c;
    }
    if (poll(fds, n, 0) > 0)
        for (nfds_t i = 0; i < n; i++)
            look_at(conns[i], fds[i].revents);
    loop_timer_start(s->scan_timer, HTTP_SCAN_MS, 0);
}
