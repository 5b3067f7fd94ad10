/* The seam's one implementation in the program: a kernel as kernel.h has it. */
#include "kernel-runner/exec/exec_kernel.h"

static enum kernel_state state(void *ctx)
{
    return kernel_state(ctx);
}

static unsigned generation(void *ctx)
{
    return kernel_generation(ctx);
}

static const char *last_words(void *ctx)
{
    return kernel_last_words(ctx);
}

static int send_request(void *ctx, const struct jp_send *send, struct err *err)
{
    return kernel_send(ctx, send, err);
}

static void withdraw(void *ctx, const char *msg_id)
{
    kernel_withdraw(ctx, msg_id);
}

static void interrupt(void *ctx)
{
    kernel_interrupt(ctx);
}

static void restart(void *ctx)
{
    kernel_restart(ctx);
}

static void expect_exit(void *ctx, bool again)
{
    kernel_expect_exit(ctx, again);
}

static void listen_to(void *ctx, struct kernel_listener *l)
{
    kernel_listen(ctx, l);
}

static void unlisten(void *ctx, struct kernel_listener *l)
{
    kernel_unlisten(ctx, l);
}

static const struct exec_kernel_ops ops = {.state = state,
                                           .generation = generation,
                                           .last_words = last_words,
                                           .send = send_request,
                                           .withdraw = withdraw,
                                           .interrupt = interrupt,
                                           .restart = restart,
                                           .expect_exit = expect_exit,
                                           .listen = listen_to,
                                           .unlisten = unlisten};

struct exec_kernel exec_kernel_of(struct kernel *k)
{
    return (struct exec_kernel){.ops = &ops, .id = kernel_id(k), .ctx = k};
}

struct kernel *exec_kernel_real(const struct exec_kernel *k)
{
    return k->ops == &ops ? k->ctx : NULL;
}
