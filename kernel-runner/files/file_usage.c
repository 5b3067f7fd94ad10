/* What the files take, where no limit of the file system itself guards it. */
#include "kernel-runner/files/file_usage.h"

#include "kernel-runner/files/file_root.h"
#include "lib/base/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

static void add_dir(int parent, const char *name, unsigned depth, uint64_t max, uint64_t *sum)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int fd = openat(parent, name, flags);
    _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *e; *sum <= max && (e = readdir(dir));) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISREG(st.st_mode))
            *sum += MIN((uint64_t)st.st_size, (uint64_t)st.st_blocks * 512);
        else if (S_ISDIR(st.st_mode) && depth < FILE_DEPTH_MAX)
            add_dir(dirfd(dir), e->d_name, depth + 1, max, sum);
    }
}

uint64_t file_usage(int dir_fd, uint64_t max)
{
    uint64_t sum = 0;
    add_dir(dir_fd, ".", 0, max, &sum);
    return sum;
}

uint64_t file_room(int root_fd, uint64_t max_bytes)
{
    struct statvfs fs;
    if (fstatvfs(root_fd, &fs) == 0 && (uint64_t)fs.f_blocks * fs.f_frsize <= max_bytes)
        return max_bytes;
    uint64_t used = file_usage(root_fd, max_bytes);
    return used < max_bytes ? max_bytes - used : 0;
}

int file_no_space(uint64_t max_bytes, uint64_t room, struct err *err)
{
    return err_set(err, ERR_NO_SPACE, "the files may take %llu bytes together; %llu are left",
                   (unsigned long long)max_bytes, (unsigned long long)room);
}
