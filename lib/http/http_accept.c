/*
 * New connections. We accept ourselves, for libmicrohttpd at its limit, or without descriptors,
 * stops accepting until a connection ends by itself, and with none open it tries again without
 * rest: who holds all connections in silence then shuts out everybody else. Here the one that is
 * least in the middle of something gives way to the new one (see victim()); a request whose answer
 * is being made never does. Where nothing can give way the new one is closed, or, without a
 * descriptor to take it by, waits in the socket's queue for a moment.
 */
#include "lib/base/clk.h"
#include "lib/http/http_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_BATCH    32
#define ACCEPT_PAUSE_MS 100
#define UNREAD_MS       1000 /* who reads, however slowly, has mostly read by then */

/* Those that were cut end in the next run. */
static unsigned taken(const struct http_server *s)
{
    return s->n_conns - s->n_cut + s->n_upgrades;
}

/* Its body is only read to be thrown away: it was refused, or asked for what takes none. */
static bool is_body_unwanted(const struct http_conn *c)
{
    const struct http_request *req = c->req;
    const struct http_route *route = req ? req->match.route : NULL;
    return req && (req->problem || (route && route->body == HTTP_BODY_NONE));
}

/* The whole answer that waits longest for its client to read it: it takes no token to ask for one.
 */
static struct http_conn *unread(const struct http_server *s)
{
    int64_t before_us = clk_mono_us() - UNREAD_MS * 1000LL;
    struct http_conn *found = NULL;
    for (struct http_conn *c = s->conns; c; c = c->next) {
        if (!c->req || !c->req->queued || c->streaming || c->cut || c->req->queued_us > before_us)
            continue;
        if (!found || c->req->queued_us < found->req->queued_us)
            found = c;
    }
    return found;
}

/* The oldest that has not sent a whole head; that waits for another request; that sends a body
 * nobody wants; or that does not read its answer. */
static struct http_conn *victim(const struct http_server *s)
{
    static const enum http_deadline order[] = {HTTP_DL_HEADERS, HTTP_DL_IDLE, HTTP_DL_FRESH};
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        if (s->deadlines[order[i]])
            return s->deadlines[order[i]];
    for (struct http_conn *c = s->deadlines[HTTP_DL_BODY]; c; c = c->dl_next)
        if (is_body_unwanted(c))
            return c;
    return unread(s);
}

static bool give_way(struct http_server *s)
{
    struct http_conn *c = victim(s);
    if (!c)
        return false;
    http_conn_deadline(c, HTTP_DL_NONE);
    http_conn_cut(c);
    s->shortage.gave_way++;
    return true;
}

static void take(struct http_server *s, int fd, const struct sockaddr *addr, socklen_t len)
{
    if (taken(s) >= s->cfg.max_connections && !give_way(s)) {
        s->shortage.refused++;
        close(fd);
        return;
    }
    /* It closes what it does not take. */
    if (MHD_add_connection(s->daemon, fd, addr, len) != MHD_YES)
        s->shortage.refused++;
}

/* Of what accept() may say, what has nothing to do with the connection that was there to take. */
static bool is_shortage(int e)
{
    return e == EMFILE || e == ENFILE || e == ENOBUFS || e == ENOMEM;
}

/* Linux looks for a descriptor before it looks for a connection: without both it names the first.
 */
static bool is_waiting(const struct http_server *s)
{
    struct pollfd p = {.fd = s->listen_fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

/* Returns false when the socket has no more, or none can be taken now. */
static bool accept_one(struct http_server *s)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    int fd = accept4(s->listen_fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        take(s, fd, (struct sockaddr *)&addr, len);
        return true;
    }
    if (errno == EAGAIN || (is_shortage(errno) && !is_waiting(s)))
        return false;
    if (!is_shortage(errno)) /* that connection's own error: the next may do */
        return true;
    s->shortage.no_descriptor++;
    if (!give_way(s)) {
        loop_poll_set(s->listen_poll, 0);
        loop_timer_start(s->accept_timer, ACCEPT_PAUSE_MS, 0);
    }
    return false;
}

static bool is_short(const struct http_server *s)
{
    return s->shortage.gave_way || s->shortage.refused || s->shortage.no_descriptor;
}

static void report(struct http_server *s)
{
    struct http_shortage since = s->shortage;
    s->shortage = (struct http_shortage){0};
    loop_timer_start(s->shortage_timer, s->cfg.shortage_ms, 0);
    if (s->cfg.shortage)
        s->cfg.shortage(s->cfg.ctx, &since);
}

static void on_shortage_timer(void *ctx)
{
    struct http_server *s = ctx;
    if (is_short(s))
        report(s);
}

static void on_listen(void *ctx, int events)
{
    struct http_server *s = ctx;
    /* libmicrohttpd counts those that were cut until they have ended. */
    unsigned room = s->cfg.max_connections + HTTP_SPARE_CONNECTIONS - s->n_conns;
    for (unsigned i = 0; i < MIN(room, ACCEPT_BATCH) && accept_one(s); i++) {
    }
    if (is_short(s) && !loop_timer_active(s->shortage_timer))
        report(s);
    http_server_run(s);
}

static void on_pause_over(void *ctx)
{
    struct http_server *s = ctx;
    loop_poll_set(s->listen_poll, LOOP_READ);
}

int http_accept_start(struct http_server *s, struct err *err)
{
    s->accept_timer = loop_timer_new(s->loop, on_pause_over, s);
    s->shortage_timer = loop_timer_new(s->loop, on_shortage_timer, s);
    int r = loop_poll_new(&s->listen_poll, s->loop, s->listen_fd, on_listen, s, err);
    if (r == 0)
        loop_poll_set(s->listen_poll, LOOP_READ);
    return r;
}

void http_accept_stop(struct http_server *s)
{
    s->listen_poll = loop_poll_free(s->listen_poll);
    s->accept_timer = loop_timer_free(s->accept_timer);
    s->shortage_timer = loop_timer_free(s->shortage_timer);
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    s->listen_fd = -1;
}

void http_shortage_text(const struct http_shortage *s, char *out, size_t max)
{
    snprintf(out, max,
             "%u connections without a request gave way to new ones, %u new ones were refused, %u "
             "times there was no descriptor for one",
             s->gave_way, s->refused, s->no_descriptor);
}
