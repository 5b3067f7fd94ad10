/*
 * Why: a WebSocket to a runner must cost little while nobody speaks. So libcurl only makes the
 * connection; the request's head is written and the answer's read by httpc_tunnel_open.c, and
 * afterwards a plain connection is a descriptor. Under TLS the bytes go on through libcurl.
 *
 * Bytes may be there that the descriptor does not tell of: those that came with the head, and those
 * TLS has taken from it. `defer` tells of them as long as they are wanted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/macros.h"
#include "lib/httpc/httpc_tunnel_internal.h"

#define STASH_MAX KIB(16) /* TLS: accepted, not yet written */

/* ---- bytes, of whichever kind of connection ---- */

ssize_t tunnel_recv(struct httpc_tunnel *t, void *out, size_t max)
{
    return t->tls ? httpc_dial_recv(t->tls, out, max) : recv(t->fd, out, max, MSG_DONTWAIT);
}

ssize_t tunnel_send(struct httpc_tunnel *t, const void *data, size_t len)
{
    return t->tls ? httpc_dial_send(t->tls, data, len)
                  : send(t->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool tunnel_is_again(void)
{
    return errno == EAGAIN || errno == EINTR;
}

/* ---- the API ---- */

const char *httpc_tunnel_header(const struct httpc_tunnel *t, const char *name)
{
    return httpc_head_get(&t->head, name);
}

static bool has_hidden(const struct httpc_tunnel *t)
{
    return t->early.len > 0 || t->tls_more;
}

static void on_defer(void *ctx);

static void arm(struct httpc_tunnel *t)
{
    int events = t->want | (t->stash.len > 0 ? LOOP_WRITE : 0);
    loop_poll_set(t->poll, events);
    if (!(t->want & LOOP_READ) || !has_hidden(t))
        return;
    if (!t->defer)
        t->defer = loop_defer_new(t->loop, on_defer, t);
    loop_defer_post(t->defer);
}

/* What TLS accepted and did not take; false: it broke, or is still not taken. */
static bool flush_stash(struct httpc_tunnel *t)
{
    while (t->stash.len > 0) {
        ssize_t n = tunnel_send(t, t->stash.ptr, t->stash.len);
        if (n < 0)
            return !tunnel_is_again(); /* broken: the next send says so */
        buf_consume(&t->stash, (size_t)n);
    }
    return true;
}

static void ready(struct httpc_tunnel *t, int events)
{
    if (events & LOOP_WRITE && t->stash.len > 0 && !flush_stash(t))
        events &= ~LOOP_WRITE;
    events &= t->want;
    arm(t);
    if (events)
        t->on_ready(t->ctx, events);
}

static void on_defer(void *ctx)
{
    struct httpc_tunnel *t = ctx;
    if ((t->want & LOOP_READ) && has_hidden(t))
        ready(t, LOOP_READ);
}

void tunnel_on_poll(void *ctx, int events)
{
    struct httpc_tunnel *t = ctx;
    /* A broken connection shows in whatever is wanted. */
    if (t->phase == TUNNEL_OPEN)
        ready(t, events & LOOP_HANGUP ? t->want : events);
    else
        tunnel_opening_ready(t);
}

ssize_t httpc_tunnel_recv(struct httpc_tunnel *t, void *out, size_t max)
{
    if (t->early.len > 0) {
        size_t n = MIN(max, t->early.len);
        memcpy(out, t->early.ptr, n);
        buf_consume(&t->early, n);
        if (t->early.len == 0)
            buf_done(&t->early);
        return (ssize_t)n;
    }
    ssize_t n = tunnel_recv(t, out, max);
    t->tls_more = t->tls && n > 0;
    return n;
}

ssize_t httpc_tunnel_send(struct httpc_tunnel *t, const void *data, size_t len)
{
    if (!t->tls)
        return tunnel_send(t, data, len);
    if (t->stash.max == 0)
        buf_init(&t->stash, STASH_MAX);
    if (t->stash.len > 0 && !flush_stash(t)) {
        errno = EAGAIN;
        return -1;
    }
    if (t->stash.len > 0) {
        errno = EPIPE;
        return -1;
    }
    size_t n = MIN(len, STASH_MAX);
    buf_append(&t->stash, data, n);
    (void)flush_stash(t);
    if (t->stash.len > 0)
        arm(t);
    return (ssize_t)n;
}

void httpc_tunnel_want(struct httpc_tunnel *t, int events)
{
    t->want = events;
    arm(t);
}

struct httpc_tunnel *httpc_tunnel_free(struct httpc_tunnel *t)
{
    if (!t)
        return NULL;
    tunnel_opening_free(t);
    loop_poll_free(t->poll);
    loop_defer_free(t->defer);
    if (t->tls)
        httpc_dial_free(t->tls);
    else if (t->fd >= 0)
        close(t->fd);
    httpc_head_done(&t->head);
    buf_done(&t->early);
    buf_done(&t->stash);
    free(t);
    return NULL;
}
