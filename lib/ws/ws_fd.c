/* The bytes below the frames from a socket on the loop. The descriptor stays its owner's. */
#include "lib/base/mem.h"
#include "lib/loop/loop.h"
#include "lib/ws/ws.h"

#include <errno.h>
#include <sys/socket.h>

struct ws_fd {
    int fd;
    struct loop_poll *poll;
    struct ws_conn *conn;
};

static void on_event(void *ctx, int events)
{
    struct ws_fd *f = ctx;
    if (f->conn)
        ws_conn_ready(f->conn, events);
}

static ssize_t fd_recv(void *ctx, void *out, size_t max)
{
    struct ws_fd *f = ctx;
    ssize_t n;
    do
        n = recv(f->fd, out, max, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n;
}

static ssize_t fd_send(void *ctx, const void *data, size_t len)
{
    struct ws_fd *f = ctx;
    ssize_t n;
    do
        n = send(f->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

static void fd_want(void *ctx, int events)
{
    struct ws_fd *f = ctx;
    loop_poll_set(f->poll, events);
}

int ws_fd_new(struct ws_fd **ret, struct loop *loop, int fd, struct err *err)
{
    struct ws_fd *f = MEM_NEW(struct ws_fd);
    f->fd = fd;
    int r = loop_poll_new(&f->poll, loop, fd, on_event, f, err);
    if (r < 0) {
        free(f);
        return r;
    }
    *ret = f;
    return 0;
}

struct ws_io ws_fd_io(struct ws_fd *f)
{
    return (struct ws_io){.recv = fd_recv, .send = fd_send, .want = fd_want, .ctx = f};
}

void ws_fd_attach(struct ws_fd *f, struct ws_conn *c)
{
    f->conn = c;
}

struct ws_fd *ws_fd_free(struct ws_fd *f)
{
    if (!f)
        return NULL;
    loop_poll_free(f->poll);
    free(f);
    return NULL;
}
