#pragma once
#include "kernel-runner/kernel/kernel.h"

/* Who waits for a kernel to settle. They are posted, never called by whoever settles it. */
struct kernel_waits {
    struct kernel_wait *first;
};

struct kernel_wait *kernel_waits_add(struct kernel_waits *ws, struct loop *loop,
                                     void (*fn)(void *ctx), void *ctx);
/* Every wait is over: each is told in a turn of the loop, once, unless it is taken back before. */
void kernel_waits_end(struct kernel_waits *ws);
