/*
 * Why: what every multi handle of libcurl needs of a loop. Watchers of sockets belong to libcurl's
 * say-so (CURL_POLL_REMOVE) and are freed at the latest with the handle.
 */
#include "lib/httpc/httpc_multi.h"

#include <stdlib.h>
#include <utlist.h>

#include "lib/base/mem.h"

struct httpc_sock {
    struct httpc_multi *multi;
    struct loop_poll *poll;
    curl_socket_t fd;
    struct httpc_sock *prev, *next;
};

static void on_poll(void *ctx, int events)
{
    struct httpc_sock *s = ctx;
    int mask = 0;
    if (events & (LOOP_READ | LOOP_HANGUP))
        mask |= CURL_CSELECT_IN;
    if (events & LOOP_WRITE)
        mask |= CURL_CSELECT_OUT;
    s->multi->run(s->multi->ctx, s->fd, mask);
}

static void on_timer(void *ctx)
{
    struct httpc_multi *m = ctx;
    m->run(m->ctx, CURL_SOCKET_TIMEOUT, 0);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    struct httpc_multi *m = ctx;
    if (timeout_ms < 0)
        loop_timer_stop(m->timer);
    else
        loop_timer_start(m->timer, timeout_ms, 0);
    return 0;
}

static void sock_free(struct httpc_sock *s)
{
    DL_DELETE(s->multi->socks, s);
    loop_poll_free(s->poll);
    free(s);
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *sock)
{
    struct httpc_multi *m = ctx;
    struct httpc_sock *s = sock;
    if (what == CURL_POLL_REMOVE) {
        if (s)
            sock_free(s);
        return 0;
    }
    if (!s) {
        s = MEM_NEW(struct httpc_sock);
        s->multi = m;
        s->fd = fd;
        if (loop_poll_new(&s->poll, m->loop, fd, on_poll, s, NULL) < 0) {
            free(s);
            return -1;
        }
        DL_APPEND(m->socks, s);
        curl_multi_assign(m->curl, fd, s);
    }
    int events = 0;
    if (what & CURL_POLL_IN)
        events |= LOOP_READ;
    if (what & CURL_POLL_OUT)
        events |= LOOP_WRITE;
    loop_poll_set(s->poll, events);
    return 0;
}

void httpc_multi_init(struct httpc_multi *m, struct loop *loop, httpc_multi_run_fn run, void *ctx)
{
    *m = (struct httpc_multi){.loop = loop, .run = run, .ctx = ctx};
    m->curl = curl_multi_init();
    if (!m->curl)
        abort();
    m->timer = loop_timer_new(loop, on_timer, m);
    curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
    curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
    curl_multi_setopt(m->curl, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
}

void httpc_multi_done(struct httpc_multi *m)
{
    curl_multi_cleanup(m->curl);
    while (m->socks)
        sock_free(m->socks);
    loop_timer_free(m->timer);
}
