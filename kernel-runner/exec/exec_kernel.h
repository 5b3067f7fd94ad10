#pragma once
#include "kernel-runner/kernel/kernel.h"

/*
 * What the queue needs of a kernel: the seam at which tests put one that does what they say
 * (tests/unit). No call tells a listener before it returns.
 */
struct exec_kernel_ops {
    enum kernel_state (*state)(void *ctx);
    unsigned (*generation)(void *ctx);
    const char *(*last_words)(void *ctx);
    int (*send)(void *ctx, const struct jp_send *send, struct err *err);
    void (*withdraw)(void *ctx, const char *msg_id);
    void (*interrupt)(void *ctx);
    void (*restart)(void *ctx);
    void (*expect_exit)(void *ctx, bool restart);
    void (*listen)(void *ctx, struct kernel_listener *l);
    void (*unlisten)(void *ctx, struct kernel_listener *l);
};

struct exec_kernel {
    const struct exec_kernel_ops *ops;
    const char *id;
    void *ctx;
};

struct exec_kernel exec_kernel_of(struct kernel *k);
struct kernel *exec_kernel_real(const struct exec_kernel *k); /* NULL: it is another one */
static inline bool exec_kernel_live(const struct exec_kernel *k)
{
    return kernel_state_live(k->ops->state(k->ctx));
}
