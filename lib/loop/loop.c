/*
 * The loop itself, timers, deferred calls and the hook before each poll, over libuv. A watcher is
 * a heap object that embeds its uv handle: x_free() clears the callback and closes the handle, and
 * the memory goes in libuv's close callback. So an owner may free a watcher at any time, also from
 * inside its own callback, and needs no close callback of its own.
 */
#include "lib/loop/loop.h"

#include <utlist.h>

#include "lib/base/mem.h"
#include "lib/loop/loop_internal.h"

#define WORK_MAX 64

int loop_new(struct loop **ret, struct err *err)
{
    struct loop *loop = MEM_NEW(struct loop);
    int r = uv_loop_init(&loop->uv);
    if (r < 0) {
        free(loop);
        return err_set(err, ERR_INTERNAL, "event loop: %s", uv_strerror(r));
    }
    uv_idle_init(&loop->uv, &loop->posts_idle);
    loop->posts_idle.data = loop;
    *ret = loop;
    return 0;
}

struct loop *loop_free(struct loop *loop)
{
    if (!loop)
        return NULL;
    uv_close((uv_handle_t *)&loop->posts_idle, NULL);
    /* Close callbacks of freed watchers may be outstanding; nothing else can be. */
    while (uv_loop_close(&loop->uv) == UV_EBUSY)
        uv_run(&loop->uv, UV_RUN_ONCE);
    free(loop);
    return NULL;
}

void loop_run(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *loop)
{
    uv_stop(&loop->uv);
}

int64_t loop_now_ms(struct loop *loop)
{
    return (int64_t)uv_now(&loop->uv);
}

static void free_data(uv_handle_t *h)
{
    free(h->data);
}

struct loop_timer {
    uv_timer_t uv;
    loop_fn fn;
    void *ctx;
};

struct loop_timer *loop_timer_new(struct loop *loop, loop_fn fn, void *ctx)
{
    struct loop_timer *t = MEM_NEW(struct loop_timer);
    uv_timer_init(&loop->uv, &t->uv);
    t->uv.data = t;
    t->fn = fn;
    t->ctx = ctx;
    return t;
}

static void on_timer(uv_timer_t *uv)
{
    struct loop_timer *t = uv->data;
    t->fn(t->ctx);
}

void loop_timer_start(struct loop_timer *t, int64_t delay_ms, int64_t repeat_ms)
{
    /* libuv counts from its cached time, which is old when a callback took long. */
    uv_update_time(t->uv.loop);
    uv_timer_start(&t->uv, on_timer, (uint64_t)MAX(delay_ms, 0), (uint64_t)MAX(repeat_ms, 0));
}

void loop_timer_stop(struct loop_timer *t)
{
    uv_timer_stop(&t->uv);
}

bool loop_timer_active(const struct loop_timer *t)
{
    return uv_is_active((const uv_handle_t *)&t->uv);
}

struct loop_timer *loop_timer_free(struct loop_timer *t)
{
    if (t)
        uv_close((uv_handle_t *)&t->uv, free_data);
    return NULL;
}

/* An idle handle keeps the turn from waiting, a check handle runs after its I/O. */
struct loop_defer {
    uv_idle_t uv;
    loop_fn fn;
    void *ctx;
};

struct loop_defer *loop_defer_new(struct loop *loop, loop_fn fn, void *ctx)
{
    struct loop_defer *d = MEM_NEW(struct loop_defer);
    uv_idle_init(&loop->uv, &d->uv);
    d->uv.data = d;
    d->fn = fn;
    d->ctx = ctx;
    return d;
}

static void on_idle(uv_idle_t *uv)
{
    struct loop_defer *d = uv->data;
    uv_idle_stop(uv);
    d->fn(d->ctx);
}

void loop_defer_post(struct loop_defer *d)
{
    uv_idle_start(&d->uv, on_idle);
}

struct loop_defer *loop_defer_free(struct loop_defer *d)
{
    if (d)
        uv_close((uv_handle_t *)&d->uv, free_data);
    return NULL;
}

/* What is posted meanwhile waits for the next turn, so that the loop goes on looking at I/O. */
static void on_posts(uv_idle_t *uv)
{
    struct loop *loop = uv->data;
    for (size_t n = loop->n_posts; n > 0 && loop->posts; n--) {
        struct loop_post *p = loop->posts;
        loop_fn fn = p->fn;
        void *ctx = p->ctx;
        loop_post_cancel(p);
        fn(ctx); /* may free p */
    }
}

void loop_post(struct loop_post *p, struct loop *loop, loop_fn fn, void *ctx)
{
    if (p->loop)
        return;
    p->loop = loop;
    p->fn = fn;
    p->ctx = ctx;
    DL_APPEND(loop->posts, p);
    loop->n_posts++;
    uv_idle_start(&loop->posts_idle, on_posts);
}

void loop_post_cancel(struct loop_post *p)
{
    struct loop *loop = p->loop;
    if (!loop)
        return;
    p->loop = NULL;
    DL_DELETE(loop->posts, p);
    if (--loop->n_posts == 0)
        uv_idle_stop(&loop->posts_idle);
}

bool loop_post_is_posted(const struct loop_post *p)
{
    return p->loop != NULL;
}

struct loop_hook {
    uv_prepare_t uv;
    loop_fn fn;
    void *ctx;
};

static void on_prepare(uv_prepare_t *uv)
{
    struct loop_hook *h = uv->data;
    h->fn(h->ctx);
}

struct loop_hook *loop_hook_new(struct loop *loop, loop_fn fn, void *ctx)
{
    struct loop_hook *h = MEM_NEW(struct loop_hook);
    uv_prepare_init(&loop->uv, &h->uv);
    h->uv.data = h;
    h->fn = fn;
    h->ctx = ctx;
    uv_prepare_start(&h->uv, on_prepare);
    /* A hook alone must not keep the loop alive. */
    uv_unref((uv_handle_t *)&h->uv);
    return h;
}

struct loop_hook *loop_hook_free(struct loop_hook *h)
{
    if (h)
        uv_close((uv_handle_t *)&h->uv, free_data);
    return NULL;
}

struct work {
    uv_work_t uv;
    struct loop *loop;
    loop_fn run;
    loop_fn done;
    void *ctx;
};

static void on_work(uv_work_t *uv)
{
    struct work *w = uv->data;
    w->run(w->ctx);
}

static void on_work_done(uv_work_t *uv, int status)
{
    struct work *w = uv->data;
    w->loop->work_queued--;
    w->done(w->ctx);
    free(w);
}

int loop_work(struct loop *loop, loop_fn run, loop_fn done, void *ctx, struct err *err)
{
    if (loop->work_queued >= WORK_MAX)
        return err_set(err, ERR_UNAVAILABLE, "too many file operations are under way; try again");
    struct work *w = MEM_NEW(struct work);
    w->uv.data = w;
    w->loop = loop;
    w->run = run;
    w->done = done;
    w->ctx = ctx;
    int r = uv_queue_work(&loop->uv, &w->uv, on_work, on_work_done);
    if (r < 0) {
        free(w);
        return err_set(err, ERR_INTERNAL, "thread pool: %s", uv_strerror(r));
    }
    loop->work_queued++;
    return 0;
}
