#pragma once
#include "kernel-runner/kernel/mem_cgroup.h"
#include "kernel-runner/kernel/mem_scan.h"
#include "lib/loop/loop.h"

/*
 * The watchdog over the memory of a sandbox: above the limit, the kernel that holds most is killed.
 *
 *   RESTING ─BEAT, fits→ RESTING
 *   RESTING ─BEAT, must look→ LOOKING ─FITS→ RESTING
 *                             LOOKING ─OVER→ SETTLING     (a kernel was told to be killed)
 *   RESTING ─BEAT, over, one kernel→ SETTLING
 *   SETTLING ─BEAT, it is gone or took too long→ RESTING
 *
 * With a cgroup a beat is one read, and it is looked at processes only to see which of several
 * kernels holds most. Without one every beat looks at all of them, on the pool; there is at most
 * one look at a time, and the next beat comes after it.
 */
enum mem_watch_state { MEM_WATCH_RESTING, MEM_WATCH_LOOKING, MEM_WATCH_SETTLING };
enum mem_watch_event {
    MEM_WATCH_LOOK, /* processes are being looked at */
    MEM_WATCH_FITS,
    MEM_WATCH_KILL, /* it is too much: a kernel was told to be killed */
    MEM_WATCH_GONE, /* what was killed is gone, or did not go in time */
};
#define MEM_WATCH_STATES 3
#define MEM_WATCH_EVENTS 4
/* The state after it, or -1: not expected. */
int mem_watch_next(enum mem_watch_state from, enum mem_watch_event ev);

struct mem_watch_cfg {
    struct loop *loop;
    const struct mem_cgroup *cgroup; /* NULL: processes are counted */
    uint64_t limit_bytes;            /* > 0 */
    bool is_init;
    const char *files[4]; /* folders whose file systems do not count; ended by NULL */
    bool (*busy)(void *ctx);
    /* What this process holds by its own rules, within their ceilings: no kernel dies for it. */
    uint64_t (*known)(void *ctx); /* NULL: nothing */
    size_t (*roots)(void *ctx, struct mem_root *out, size_t max);
    /* Kills the kernel if it is still of that generation; false: it is not. */
    bool (*kill)(void *ctx, const struct mem_root *whom, uint64_t bytes);
    void *ctx;
};

struct mem_watch;
struct mem_watch *mem_watch_new(const struct mem_watch_cfg *cfg);
struct mem_watch *mem_watch_free(struct mem_watch *w); /* no callback after; NULL ok */
/* Did the kernel of the system kill one of the processes for their cgroup's limit, just now? */
bool mem_watch_was_oom(struct mem_watch *w);
/* Something begins to run: the beat is that of a busy sandbox from now on. */
void mem_watch_hurry(struct mem_watch *w);
