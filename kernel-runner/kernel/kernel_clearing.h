#pragma once
#include <stddef.h>
#include <sys/types.h>

#include "lib/loop/loop.h"

/*
 * Clears on the pool what a kernel's processes left in memory (leftovers.h): there may be much of
 * it. Outlives the kernel. Only where the runner is PID 1 of the sandbox.
 */
struct kernel_clearing;

struct kernel_clearing_start {
    struct loop *loop;
    const char *kernel_id;   /* for the log */
    pid_t dying;             /* was swept just now, and is waited for with all its; 0: all gone */
    const pid_t *others;     /* only for that: the processes of the other kernels that live */
    size_t n_others;         /* how many those are */
    void (*done)(void *ctx); /* in a turn of the loop; NULL: nobody waits */
    void *ctx;
};

/* NULL: the pool is full (it says so in the log); it is left to the next time. */
struct kernel_clearing *kernel_clearing_start(const struct kernel_clearing_start *start);
void kernel_clearing_forget(struct kernel_clearing *c); /* it goes on, done never comes; NULL ok */
