#pragma once
#include "kernel-runner/kernel/kernel_cfg.h"
#include "lib/base/err.h"

/*
 * What holds the processes of a kernel, beside the namespaces they are in: limits, priority,
 * Landlock and the filter of system calls. Made once, by the runner; each kernel's child enters
 * them between fork and exec, for good and for all that it starts.
 */
struct kernel_walls;

/* -ERR_UNAVAILABLE with a sentence when one of them cannot stand on this host. Logs what is weaker
 * here than elsewhere. */
int kernel_walls_new(struct kernel_walls **ret, struct err *err);
struct kernel_walls *kernel_walls_free(struct kernel_walls *w); /* NULL ok; returns NULL */

enum kernel_wall { KERNEL_WALL_NONE, KERNEL_WALL_LIMITS, KERNEL_WALL_LANDLOCK, KERNEL_WALL_FILTER };

/* In the child: async-signal-safe. The wall that does not stand, with errno, or KERNEL_WALL_NONE.
 */
enum kernel_wall kernel_walls_enter(const struct kernel_walls *w, const struct kernel_cfg *cfg);
/* "the kernel's filter of system calls" */
const char *kernel_wall_name(enum kernel_wall wall);
