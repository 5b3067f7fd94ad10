/*
 * Lingering close. When a request is refused while its body is still on the way, closing the socket
 * answers the rest with RST, and many clients then lose the answer they had received. So the socket
 * outlives libmicrohttpd's descriptor a little: its writing side is shut down, what comes is thrown
 * away until the client closes, a time, or a number of bytes.
 */
#include "lib/base/mem.h"
#include "lib/http/http_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <utlist.h>

#define LINGER_MS    5000
#define LINGER_BYTES ((uint64_t)1 << 30)
#define LINGER_COUNT 32

struct http_linger {
    struct http_server *server;
    int fd;
    struct loop_poll *poll;
    struct loop_timer *timer;
    uint64_t seen;
    struct http_linger *prev, *next;
};

static void linger_end(void *ctx)
{
    struct http_linger *l = ctx;
    DL_DELETE(l->server->lingers, l);
    l->server->n_lingers--;
    loop_poll_free(l->poll);
    loop_timer_free(l->timer);
    close(l->fd);
    free(l);
}

static void on_readable(void *ctx, int events)
{
    struct http_linger *l = ctx;
    static char nowhere[KIB(64)];
    ssize_t n = recv(l->fd, nowhere, sizeof(nowhere), MSG_DONTWAIT);
    l->seen += n > 0 ? (uint64_t)n : 0;
    bool over = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
    if (over || l->seen > LINGER_BYTES)
        linger_end(l);
}

void http_linger_start(struct http_server *s, int fd)
{
    if (s->stopping || s->n_lingers >= LINGER_COUNT)
        return;
    /* A duplicate, as in http_upgrade.c only: libmicrohttpd closes the original now. */
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0)
        return;
    struct http_linger *l = MEM_NEW(struct http_linger);
    *l = (struct http_linger){.server = s, .fd = own};
    if (loop_poll_new(&l->poll, s->loop, own, on_readable, l, NULL) < 0) {
        close(own);
        free(l);
        return;
    }
    l->timer = loop_timer_new(s->loop, linger_end, l);
    DL_APPEND(s->lingers, l);
    s->n_lingers++;
    loop_poll_set(l->poll, LOOP_READ);
    loop_timer_start(l->timer, LINGER_MS, 0);
}

void http_linger_end_all(struct http_server *s)
{
    struct http_linger *l, *tmp;
    DL_FOREACH_SAFE (s->lingers, l, tmp) {
        linger_end(l);
    }
}
