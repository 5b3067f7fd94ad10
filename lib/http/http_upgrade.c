/*
 * Connections given away after a 101. libmicrohttpd 0.9.75 would keep such a connection suspended
 * with its 38 KiB of memory for as long as it lives, and tell its end while holding the lock that
 * resuming another connection takes. So the socket is duplicated and libmicrohttpd's connection
 * ends at once; what lives on is the request and one descriptor, which is closed after on_close.
 * libmicrohttpd still holds the request for the rest of its turn: it is freed when both let go.
 */
#include "lib/base/mem.h"
#include "lib/http/http_internal.h"

#include <assert.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <utlist.h>

static void prepare_socket(int fd)
{
    static const int on = 1;
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    /* libmicrohttpd has just turned it off. Fails on AF_UNIX, which has nothing of the kind. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void on_upgrade(void *cls, struct MHD_Connection *mhd, void *con_cls, const char *extra,
                       size_t extra_len, MHD_socket fd, struct MHD_UpgradeResponseHandle *handle)
{
    struct http_request *req = cls;
    struct http_server *s = req->server;
    struct http_upgrade *u = &req->upgrade;
    u->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    u->open = u->held = true;
    DL_APPEND(s->upgrades, u);
    MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
    http_server_kick(s);
    if (u->fd < 0) {
        http_upgrade_close(u);
        return;
    }
    prepare_socket(u->fd);
    u->on_open(u->ctx, u, u->fd, slice_make(extra_len ? extra : "", extra_len));
}

void http_answer_upgrade(struct http_request *req, http_upgrade_fn on_open, void *ctx)
{
    struct err err;
    assert(req->phase == HTTP_AT_END || req->dead);
    if (req->http_1_0) {
        err_set(&err, ERR_INVALID, "only an HTTP/1.1 connection can be upgraded");
        http_answer_err(req, &err);
        return;
    }
    struct MHD_Response *r = MHD_create_response_for_upgrade(on_upgrade, req);
    if (!r)
        abort(); /* out of memory, as everywhere */
    req->upgrade = (struct http_upgrade){.req = req, .on_open = on_open, .ctx = ctx, .fd = -1};
    http_answer_response(req, 101, NULL, r);
}

void http_upgrade_close(struct http_upgrade *u)
{
    struct http_server *s = u->req->server;
    if (u->over)
        return;
    u->over = true;
    DL_DELETE(s->upgrades, u);
    DL_APPEND(s->upgrades_over, u);
    http_server_kick(s);
}

static void let_go(struct http_upgrade *u)
{
    if (!u->held && u->ended)
        http_serve_free(u->req);
}

void http_upgrade_released(struct http_upgrade *u)
{
    u->held = false;
    u->req->conn = NULL;
    u->req->server->n_upgrades += !u->ended;
    let_go(u);
}

static void end(struct http_upgrade *u)
{
    struct http_server *s = u->req->server;
    DL_DELETE(s->upgrades_over, u);
    http_serve_finish(u->req, /* complete= */ u->fd >= 0);
    if (u->fd >= 0)
        close(u->fd);
    u->ended = true;
    s->n_upgrades -= !u->held;
    let_go(u);
}

void http_upgrade_end(struct http_server *s)
{
    while (s->upgrades_over)
        end(s->upgrades_over);
}

void http_upgrade_end_all(struct http_server *s)
{
    while (s->upgrades)
        http_upgrade_close(s->upgrades);
    http_upgrade_end(s);
}
