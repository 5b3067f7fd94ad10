#pragma once
#include "lib/base/buf.h"
#include "lib/base/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What bubblewrap is told: pure, from what was learnt about the host (local_host). */

struct local_bwrap_tree {
    const char *source; /* as bubblewrap sees it */
    const char *path;   /* inside, absolute */
};
struct local_bwrap_link {
    const char *target;
    const char *path;
};
struct local_bwrap_file { /* a small file of the synthetic /etc */
    const char *path;
    int fd;
};
struct local_bwrap_env {
    const char *name;
    const char *value;
};

struct local_bwrap {
    bool network_host;
    uint64_t files_bytes, tmp_bytes, run_bytes, shm_bytes;
    const struct local_bwrap_env *env;
    size_t n_env;
    /* /bin, /lib64, …: links into /usr, or folders (target NULL) */
    const struct local_bwrap_link *tops;
    size_t n_tops;
    const struct local_bwrap_file *etc;
    size_t n_etc;
    /* files of /proc that show the host, not the sandbox: covered; each must exist */
    const char *const *masks;
    size_t n_masks;
    const struct local_bwrap_tree *trees; /* read-only */
    size_t n_trees;
    const struct local_bwrap_link *links;
    size_t n_links;
};

#define LOCAL_BWRAP_ARGS_MAX KIB(256)

/* Appends the arguments for `bwrap --args FD`, each ended by NUL. */
int local_bwrap_args(struct buf *out, const struct local_bwrap *b, struct err *err);
