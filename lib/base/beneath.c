/* The one home of openat2. */
#include "lib/base/beneath.h"

#include "lib/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/syscall.h>

#define RACE_RETRIES 32

static int open_by(int dir_fd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC), .resolve = resolve};
    /* openat2 refuses what open() would ignore. */
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
        how.mode = mode;
    /* EAGAIN: something was renamed meanwhile, and Linux cannot say whether we are beneath. */
    for (int i = 0;; i++) {
        long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR) || i >= RACE_RETRIES)
            return (int)fd;
    }
}

int beneath_open(int dir_fd, const char *path, int flags, mode_t mode)
{
    return open_by(dir_fd, path, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
}

int beneath_open_plain(int dir_fd, const char *path, int flags, mode_t mode)
{
    return open_by(dir_fd, path, flags, mode,
                   RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS);
}

int beneath_open_real(const char *absolute, int flags)
{
    return open_by(AT_FDCWD, absolute, flags, 0, RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS);
}

int beneath_open_named(const char *absolute, int flags)
{
    return open_by(AT_FDCWD, absolute, flags, 0, RESOLVE_NO_MAGICLINKS);
}

int beneath_check(struct err *err)
{
    _cleanup_(closep) int fd = beneath_open_real("/", O_PATH | O_DIRECTORY);
    if (fd >= 0)
        return 0;
    if (errno == ENOSYS || errno == EPERM)
        return err_set(err, ERR_UNAVAILABLE,
                       "this host has no openat2 (Linux 5.6), or a filter refuses it; without it "
                       "user code could lead the runner to files of the host");
    return err_errno(err, "openat2 of /");
}
