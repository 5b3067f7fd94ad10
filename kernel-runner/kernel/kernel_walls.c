/*
 * Limits first, as the filter would refuse them; Landlock while its rules' descriptor is still
 * open.
 *
 * Signals: when as many are queued as PID 1's own limit allows, Linux drops the sender of one more,
 * and a forged SIGTERM looks like the controller's. A process's queue is filled up to its own
 * limit, so kernels' lies far below.
 */
#include "kernel-runner/kernel/kernel_walls.h"

#include "kernel-runner/kernel/kernel_filter.h"
#include "kernel-runner/kernel/kernel_landlock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define KERNEL_NICE       10 /* beside the runner, which answers for it */
#define KERNEL_FILES      4096
#define KERNEL_SIGNALS    512
#define KERNEL_MSG_QUEUES (800 * 1024) /* bytes, Linux's usual limit */

struct kernel_walls {
    struct kernel_filter *filter;
    struct kernel_landlock landlock;
    rlim_t signals;
    int nice;
};

/* One line at the start says what is weaker here. */
static void log_landlock(const struct kernel_landlock *l)
{
    char abi[12];
    snprintf(abi, sizeof(abi), "%d", l->abi);
    if (l->abi == 0)
        log_event(LOG_WARN, "landlock_absent", "reason",
                  "this host has no Landlock: kernels are held by namespaces and the filter alone",
                  NULL);
    else
        log_event(LOG_DEBUG, "landlock", "version", abi, "signals",
                  l->scopes_signals ? "each kernel's own" : "the sandbox's", NULL);
}

int kernel_walls_new(struct kernel_walls **ret, struct err *err)
{
    struct rlimit signals;
    if (getrlimit(RLIMIT_SIGPENDING, &signals) < 0)
        return err_errno(err, "RLIMIT_SIGPENDING");
    struct kernel_walls *w = MEM_NEW(struct kernel_walls);
    w->landlock.ruleset_fd = -1;
    w->signals = MIN(signals.rlim_cur / 2, KERNEL_SIGNALS);
    w->nice = MIN(getpriority(PRIO_PROCESS, 0) + KERNEL_NICE, 19);
    int r = kernel_filter_new(&w->filter, err);
    if (r == 0)
        r = kernel_landlock_init(&w->landlock, err);
    if (r < 0) {
        kernel_walls_free(w);
        return r;
    }
    log_landlock(&w->landlock);
    *ret = w;
    return 0;
}

struct kernel_walls *kernel_walls_free(struct kernel_walls *w)
{
    if (w) {
        kernel_filter_free(w->filter);
        kernel_landlock_done(&w->landlock);
        free(w);
    }
    return NULL;
}

/* Never more than the host gave us. */
static int limit(__rlimit_resource_t resource, rlim_t value)
{
    struct rlimit r;
    if (getrlimit(resource, &r) < 0)
        return -1;
    r.rlim_cur = r.rlim_max = MIN(value, r.rlim_max);
    return setrlimit(resource, &r);
}

static int set_limits(const struct kernel_walls *w, const struct kernel_cfg *cfg)
{
    if (limit(RLIMIT_CORE, 0) < 0 || limit(RLIMIT_NOFILE, KERNEL_FILES) < 0 ||
        limit(RLIMIT_SIGPENDING, w->signals) < 0 || limit(RLIMIT_MSGQUEUE, KERNEL_MSG_QUEUES) < 0 ||
        setpriority(PRIO_PROCESS, 0, w->nice) < 0 ||
        (cfg->memory_bytes && limit(RLIMIT_DATA, cfg->memory_bytes) < 0) ||
        (cfg->pids && limit(RLIMIT_NPROC, cfg->pids) < 0))
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

enum kernel_wall kernel_walls_enter(const struct kernel_walls *w, const struct kernel_cfg *cfg)
{
    if (set_limits(w, cfg) < 0)
        return KERNEL_WALL_LIMITS;
    if (kernel_landlock_enter(&w->landlock) < 0)
        return KERNEL_WALL_LANDLOCK;
    if (kernel_filter_install(w->filter) < 0)
        return KERNEL_WALL_FILTER;
    return KERNEL_WALL_NONE;
}

const char *kernel_wall_name(enum kernel_wall wall)
{
    switch (wall) {
    case KERNEL_WALL_NONE:
        break;
    case KERNEL_WALL_LIMITS:
        return "the kernel's limits";
    case KERNEL_WALL_LANDLOCK:
        return "the kernel's Landlock rules";
    case KERNEL_WALL_FILTER:
        return "the kernel's filter of system calls";
    }
    return "the kernel";
}
