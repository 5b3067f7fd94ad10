#pragma once
#include "lib/base/err.h"

#include <sys/types.h>

/*
 * Opening where user code can write. What lies there may become a link at any moment, also to
 * /proc/self/fd/N, which leads to whatever this process holds of the host; so no path there is
 * opened in any other way. Each returns a close-on-exec descriptor, or -1 with errno. They are
 * async-signal-safe and may be called on any thread.
 *
 * EXDEV: the path leads out. ELOOP: it has a link where none is allowed.
 */

/* Beneath `dir_fd`; links are followed as long as they are relative and stay beneath. */
int beneath_open(int dir_fd, const char *path, int flags, mode_t mode);
/* Beneath `dir_fd`, without any link. */
int beneath_open_plain(int dir_fd, const char *path, int flags, mode_t mode);
/* From the root, without any link: the path of something that only we make. */
int beneath_open_real(const char *absolute, int flags);
/*
 * From the root, by ordinary links, never by the magic ones of /proc: a path that a user named,
 * which may lead anywhere that the names of this mount namespace lead to.
 */
int beneath_open_named(const char *absolute, int flags);

/* -ERR_UNAVAILABLE with a sentence where the host has no openat2: then none of these works. */
int beneath_check(struct err *err);
