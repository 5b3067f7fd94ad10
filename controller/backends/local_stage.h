#pragma once
#include <stddef.h>
#include <sys/types.h>

/*
 * Makes trees below folders that only root may enter reachable for a sandbox's own user id, and
 * becomes that id. For a controller that is root, in the child between fork and exec: the calls
 * are async-signal-safe, everything else is prepared before.
 */
#define LOCAL_STAGE_DIR  "/tmp"
#define LOCAL_STAGE_PATH 16 /* size of "/tmp/<number>" */

struct local_stage {
    const char *const *sources; /* absolute host paths, folders or files; source i is bound … */
    size_t n_sources;           /* … at LOCAL_STAGE_DIR "/<i>" */
    int *fds;                   /* room for n_sources descriptors */
    uid_t uid;                  /* also the gid */
};

enum local_stage_step {
    LOCAL_STAGE_NAMESPACE = 1, /* a mount namespace of its own */
    LOCAL_STAGE_SOURCE,        /* a tree is not there */
    LOCAL_STAGE_MOUNT,
    LOCAL_STAGE_IDS,
};
/* 0, or the step that failed, with errno set and *ret_source telling which source. */
int local_stage_enter(const struct local_stage *s, size_t *ret_source);
/* "/tmp/7" */
void local_stage_path(size_t i, char out[LOCAL_STAGE_PATH]);
