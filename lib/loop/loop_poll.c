/* Descriptors and signals on the loop. The descriptor of a loop_poll stays its owner's. */
#include "lib/base/mem.h"
#include "lib/loop/loop_internal.h"

#include <errno.h>
#include <signal.h>

struct loop_poll {
    uv_poll_t uv;
    loop_poll_fn fn;
    void *ctx;
};

static void free_data(uv_handle_t *h)
{
    free(h->data);
}

int loop_poll_new(struct loop_poll **ret, struct loop *loop, int fd, loop_poll_fn fn, void *ctx,
                  struct err *err)
{
    struct loop_poll *p = MEM_NEW(struct loop_poll);
    int r = uv_poll_init(&loop->uv, &p->uv, fd);
    if (r < 0) {
        free(p);
        return err_set(err, ERR_INTERNAL, "cannot watch a descriptor: %s", uv_strerror(r));
    }
    p->uv.data = p;
    p->fn = fn;
    p->ctx = ctx;
    *ret = p;
    return 0;
}

static void on_poll(uv_poll_t *uv, int status, int events)
{
    struct loop_poll *p = uv->data;
    int ours = 0;
    if (events & UV_READABLE)
        ours |= LOOP_READ;
    if (events & UV_WRITABLE)
        ours |= LOOP_WRITE;
    if (status < 0 || (events & UV_DISCONNECT))
        ours |= LOOP_HANGUP | LOOP_READ;
    p->fn(p->ctx, ours);
}

void loop_poll_set(struct loop_poll *p, int events)
{
    int uv = 0;
    if (events & LOOP_READ)
        uv |= UV_READABLE;
    if (events & LOOP_WRITE)
        uv |= UV_WRITABLE;
    if (events & LOOP_HANGUP)
        uv |= UV_DISCONNECT;
    if (uv)
        uv_poll_start(&p->uv, uv, on_poll);
    else
        uv_poll_stop(&p->uv);
}

struct loop_poll *loop_poll_free(struct loop_poll *p)
{
    if (p)
        uv_close((uv_handle_t *)&p->uv, free_data);
    return NULL;
}

struct loop_signals {
    struct loop_poll *poll;
    int fd;
    loop_signal_fn fn;
    void *ctx;
    bool freed;
    bool in_callback;
};

static void fill(sigset_t *set, const int *sigs)
{
    sigemptyset(set);
    for (; *sigs; sigs++)
        sigaddset(set, *sigs);
}

void loop_signals_block(const int *sigs)
{
    sigset_t set;
    fill(&set, sigs);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static void on_signalfd(void *ctx, int events)
{
    struct loop_signals *s = ctx;
    struct signalfd_siginfo info;
    s->in_callback = true;
    while (!s->freed && read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        s->fn(s->ctx, &info);
    s->in_callback = false;
    if (s->freed) {
        close(s->fd);
        free(s);
    }
}

int loop_signals_new(struct loop_signals **ret, struct loop *loop, const int *sigs,
                     loop_signal_fn fn, void *ctx, struct err *err)
{
    sigset_t set;
    fill(&set, sigs);
    _cleanup_(closep) int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "signalfd");
    struct loop_signals *s = MEM_NEW(struct loop_signals);
    int r = loop_poll_new(&s->poll, loop, fd, on_signalfd, s, err);
    if (r < 0) {
        free(s);
        return r;
    }
    s->fd = TAKE_FD(fd);
    s->fn = fn;
    s->ctx = ctx;
    loop_poll_set(s->poll, LOOP_READ);
    *ret = s;
    return 0;
}

struct loop_signals *loop_signals_free(struct loop_signals *s)
{
    if (!s)
        return NULL;
    loop_poll_free(s->poll);
    s->freed = true;
    if (!s->in_callback) {
        close(s->fd);
        free(s);
    }
    return NULL;
}
