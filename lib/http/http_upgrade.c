/*
 * Connections given away after a 101. libmicrohttpd suspends such a connection and forgets its
 * descriptor until it is told that the upgrade is over; the request stays until then. Facts of
 * 0.9.75 this relies on: on the way out it tells the completion of an upgraded request while it
 * holds the lock that resuming another connection takes, so the owner hears of the end before, from
 * here; it turns Nagle's algorithm on for the connection; a peer that left is no more its business.
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
    /* Fails on AF_UNIX, which has nothing to turn off. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void on_upgrade(void *cls, struct MHD_Connection *mhd, void *con_cls, const char *extra,
                       size_t extra_len, MHD_socket fd, struct MHD_UpgradeResponseHandle *handle)
{
    struct http_request *req = cls;
    struct http_upgrade *u = &req->upgrade;
    u->handle = handle;
    DL_APPEND(req->server->upgrades, u);
    prepare_socket(fd);
    u->on_open(u->ctx, u, fd, slice_make(extra_len ? extra : "", extra_len));
}

void http_answer_upgrade(struct http_request *req, http_upgrade_fn on_open, void *ctx)
{
    struct err err;
    assert(req->phase == HTTP_AT_END);
    if (req->http_1_0) {
        err_set(&err, ERR_INVALID, "only an HTTP/1.1 connection can be upgraded");
        http_answer_err(req, &err);
        return;
    }
    struct MHD_Response *r = MHD_create_response_for_upgrade(on_upgrade, req);
    if (!r)
        abort(); /* out of memory, as everywhere */
    req->upgrade = (struct http_upgrade){.req = req, .on_open = on_open, .ctx = ctx};
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

void http_upgrade_end(struct http_server *s)
{
    while (s->upgrades_over) {
        struct http_upgrade *u = s->upgrades_over;
        DL_DELETE(s->upgrades_over, u);
        http_serve_finish(u->req, /* complete= */ true);
        MHD_upgrade_action(u->handle, MHD_UPGRADE_ACTION_CLOSE);
    }
}

void http_upgrade_end_all(struct http_server *s)
{
    while (s->upgrades)
        http_upgrade_close(s->upgrades);
    http_upgrade_end(s);
}
