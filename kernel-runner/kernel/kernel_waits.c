/*
 * Waits for a kernel to settle. One that is over is in no list and belongs to the loop until it has
 * been told, so that it outlives the kernel.
 */
#include "kernel-runner/kernel/kernel_waits.h"

#include "lib/base/mem.h"

#include <utlist.h>

struct kernel_wait {
    struct kernel_waits *in; /* NULL: it is over */
    struct loop *loop;
    struct loop_post post;
    void (*fn)(void *ctx);
    void *ctx;
    struct kernel_wait *prev, *next;
};

static void tell(void *ctx)
{
    struct kernel_wait *w = ctx;
    void (*fn)(void *) = w->fn;
    void *fn_ctx = w->ctx;
    free(w);
    fn(fn_ctx);
}

struct kernel_wait *kernel_waits_add(struct kernel_waits *ws, struct loop *loop,
                                     void (*fn)(void *ctx), void *ctx)
{
    struct kernel_wait *w = MEM_NEW(struct kernel_wait);
    *w = (struct kernel_wait){.in = ws, .loop = loop, .fn = fn, .ctx = ctx};
    DL_APPEND(ws->first, w);
    return w;
}

void kernel_waits_end(struct kernel_waits *ws)
{
    while (ws->first) {
        struct kernel_wait *w = ws->first;
        DL_DELETE(ws->first, w);
        w->in = NULL;
        loop_post(&w->post, w->loop, tell, w);
    }
}

void kernel_wait_cancel(struct kernel_wait *w)
{
    if (w->in)
        DL_DELETE(w->in->first, w);
    loop_post_cancel(&w->post);
    free(w);
}
