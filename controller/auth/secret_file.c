/*
 * Small files that hold secrets: the key, the generated token. Made whole or not at all (O_TMPFILE
 * would need procfs to be linked; a temporary name and link() do the same), and refused when others
 * could have read or written them.
 */
#include "controller/auth/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/write_all.h"

static int read_all(int fd, char *out, size_t max, size_t *ret_len)
{
    size_t len = 0;

    while (len < max) {
        ssize_t n = read(fd, out + len, max - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *ret_len = len;
    return 0;
}

int secret_file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    size_t len = 0;

    if (fd < 0)
        return err_errno(err, "cannot read %s", path);
    if (fstat(fd, &st) < 0)
        return err_errno(err, "cannot read %s", path);
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
        return err_set(err, ERR_FORBIDDEN, "%s must be a plain file of the user who starts this",
                       path);
    if ((st.st_mode & 077) != 0)
        return err_set(err, ERR_FORBIDDEN,
                       "%s may be read by others (mode %04o); run: chmod 600 %s", path,
                       (unsigned)st.st_mode & 07777, path);
    _cleanup_(freep) char *data = mem_alloc(max + 2);
    int r = read_all(fd, data, max + 1, &len);
    if (r < 0) {
        errno = -r;
        return err_errno(err, "cannot read %s", path);
    }
    if (len > max)
        return err_set(err, ERR_TOO_LARGE, "%s is longer than %zu bytes", path, max);
    data[len] = 0;
    *ret = TAKE_PTR(data);
    *ret_len = len;
    return 0;
}

int secret_file_create(const char *path, const void *data, size_t len, struct err *err)
{
    _cleanup_(freep) char *tmp = mem_printf("%s.new", path);

    unlink(tmp); /* of a start that was cut off; the lock says we are alone */
    _cleanup_(closep) int fd =
        open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, "cannot make %s", tmp);
    if (write_all(fd, slice_make(data, len)) == 0 && fsync(fd) == 0 && rename(tmp, path) == 0)
        return 0;
    int r = err_errno(err, "cannot write %s", path);
    unlink(tmp);
    return r;
}
