#pragma once
#include "kernel-runner/kernel/kernel_cfg.h"
#include "lib/base/err.h"
#include "lib/jupyter/jp_client.h"
#include "lib/loop/loop.h"

/*
 * One kernel process and its sockets, from spawn to the last message: what a restart replaces as a
 * whole. It is `ready` when kernel_info was answered and IOPub is known to be connected; `ended`
 * comes once, after the process is gone *and* what it had already sent was read.
 */
struct kernel_process_cfg {
    struct loop *loop;
    struct jp_context *jupyter;
    const struct kernel_cfg *kernel;
    const char *cwd;
    const char *const *env;
    void (*on_msg)(void *ctx, const struct jp_msg *msg);
    void (*on_ready)(void *ctx);
    void (*on_ended)(void *ctx, const struct loop_exit *exit);
    void *ctx;
};

struct kernel_proc;
int kernel_proc_start(struct kernel_proc **ret, const struct kernel_process_cfg *cfg,
                      struct err *err);
struct jp_client *kernel_proc_client(struct kernel_proc *p);
pid_t kernel_proc_pid(const struct kernel_proc *p);
/* The session in the headers of its messages; "" before the first came. */
const char *kernel_proc_session(const struct kernel_proc *p);
bool kernel_proc_alive(const struct kernel_proc *p);
void kernel_proc_interrupt(struct kernel_proc *p);
void kernel_proc_kill(struct kernel_proc *p); /* SIGKILL to the process and its group */
/* The last 2 KiB it wrote before ipykernel took fd 1 and 2 over, and why it was not started. */
const char *kernel_proc_words(struct kernel_proc *p);
/* Kills what lives, closes everything, removes the directory; no callback after. NULL ok. */
struct kernel_proc *kernel_proc_free(struct kernel_proc *p);
