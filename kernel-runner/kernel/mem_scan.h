#pragma once
#include "lib/api/limits.h"
#include "lib/base/ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * One look at the memory of all processes, on a thread of the pool: only the struct is touched. How
 * long it takes is up to user code (processes, mappings, descriptors).
 */
struct mem_root { /* a kernel */
    char id[ID_UUID_SIZE];
    unsigned generation;
    pid_t pid; /* 0: no process now */
};

struct mem_scan {
    /* asked */
    struct mem_root roots[LIMIT_KERNELS];
    size_t n_roots;
    bool is_init;         /* all processes of the namespace count, not only the roots' */
    bool only_blame;      /* that it is too much is known: who holds most? */
    uint64_t limit_bytes; /* above it the look becomes exact */
    uint64_t own_bytes;   /* what the runner holds for them */
    const char *files[4]; /* folders whose file systems do not count; ended by NULL */
    /* found */
    uint64_t bytes;
    size_t worst; /* of roots: who holds most; what nobody owns counts to the first */
};

void mem_scan_run(struct mem_scan *s);

/* The sums of one smaps: what is mapped and not covered by `objects`. Pure but for what reads it.
 */
struct mem_objects;
uint64_t mem_scan_smaps(const char *path, const struct mem_objects *objects,
                        uint64_t if_unreadable);
