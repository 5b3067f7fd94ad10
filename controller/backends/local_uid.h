#pragma once
#include "lib/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Host user ids for sandboxes of a controller that is root: one each, so that no two share signals,
 * limits or files. Taken from a window that nobody else uses and that this user namespace maps
 * (in a container, few ids are).
 */
struct local_uid_window {
    uint32_t first;
    uint32_t count;
};

/* Pure: reads the text of /proc/self/uid_map. ERR_UNAVAILABLE when it maps too few. */
int local_uid_parse(struct local_uid_window *ret, const char *uid_map, struct err *err);
/* The window of this process: what both uid_map and gid_map allow. */
int local_uid_window(struct local_uid_window *ret, struct err *err);
/*
 * An id of the window that `taken` does not claim and that no process has right now, searched from
 * the random number `seed` on. ERR_LIMIT when there is none.
 */
int local_uid_pick(uid_t *ret, const struct local_uid_window *w, uint32_t seed,
                   bool (*taken)(void *ctx, uid_t uid), void *ctx, struct err *err);
