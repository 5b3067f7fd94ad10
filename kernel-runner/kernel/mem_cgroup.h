#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the kernel counts of memory: the figures of the cgroup that holds the kernels. Its
 * descriptors are inherited (a sandbox made by the controller), or are those of the pod that we
 * find ourselves in; then the runner's own memory is among it.
 */
struct mem_cgroup;

enum mem_cgroup_version { MEM_CGROUP_V1 = 1, MEM_CGROUP_V2 };

/*
 * `version` is "v1" or "v2", `fds` a list "7,8,9": memory in use, statistics, OOM events,
 * statistics of the runner's own cgroup, and (v1) the buffers of TCP. Takes the descriptors over.
 */
int mem_cgroup_new(struct mem_cgroup **ret, const char *version, const char *fds, struct err *err);
/* That of the pod, below `top` (/sys/fs/cgroup); NULL: it shows none with a limit. */
struct mem_cgroup *mem_cgroup_of_pod(const char *top);
struct mem_cgroup *mem_cgroup_free(struct mem_cgroup *m); /* NULL ok */

/* All memory in use, buffers of sockets too: one or two reads. 0 when it cannot be read. */
uint64_t mem_cgroup_used(const struct mem_cgroup *m);
/*
 * How much of that is not held by processes: pages of files that the kernel drops when it needs to,
 * and what `files_bytes` of the file systems in memory are charged here.
 */
uint64_t mem_cgroup_not_held(const struct mem_cgroup *m, uint64_t files_bytes);
/* How often the kernel killed a process for this cgroup's limit. */
uint64_t mem_cgroup_oom_kills(const struct mem_cgroup *m);
uint64_t mem_cgroup_limit(const struct mem_cgroup *m); /* of a pod; otherwise 0: not ours to know */
const char *mem_cgroup_name(const struct mem_cgroup *m); /* "cgroup v1", "pod's cgroup v2" */

/* "7,8,9" → numbers. -ERR_INVALID: not such a list, or more than max. */
int mem_cgroup_parse_fds(const char *text, int *ret, size_t max, size_t *ret_n, struct err *err);
/* The number behind `name` at the start of a line of "name number" lines; 0: not there. */
uint64_t mem_cgroup_field(const char *text, const char *name);

DEFINE_CLEANUP(struct mem_cgroup *, mem_cgroup_free)
