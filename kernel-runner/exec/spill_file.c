#include "kernel-runner/exec/spill_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int spill_file_open(int dir_fd)
{
    if (dir_fd >= 0) {
        int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        /* A full disk is no reason to fill the memory in its place. */
        if (fd >= 0 || errno == ENOSPC || errno == EDQUOT || errno == EMFILE || errno == ENFILE)
            return fd;
    }
    return memfd_create("caesarion-log", MFD_CLOEXEC);
}

int spill_file_write(int fd, const char *p, size_t len, uint64_t offset)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int spill_file_read(int fd, char *out, size_t len, uint64_t offset)
{
    while (len > 0) {
        ssize_t n = pread(fd, out, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        out += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}
